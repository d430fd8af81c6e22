"""Steps of a training that a GPU is told of once: a CUDA graph of what they do, begun anew with each batch.

A small concept model trains in less time than a program needs to ask for its hundred operations one by one. Steps that
do the same (`Learner.phase`) are recorded the third time, and from then on asked for as one.

Source: PyTorch's notes on CUDA semantics, "CUDA Graphs".
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

Numbers = dict[str, Tensor]

_ALIKE = 3  # steps after which the next is expected to be as they were


class Replay:
    """Does the work of steps, `work(batch)`, on a GPU: by itself, or as a recording of one that did the same.

    The work draws from `generator` alone. What it returns is overwritten by the next step.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._kind: Hashable = None
        self._seen = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Any = None
        self._numbers: Numbers = {}

    def __call__(self, work: Callable[[Any], Numbers], batch: Any, phase: Hashable) -> Numbers:
        """The numbers of this step's work on its batch; what else it does depends on `phase` alone (None: on more)."""
        tensors = _tensors(batch)
        if phase is None or not all(isinstance(each, Tensor) for each in tensors):
            return work(batch)
        kind = phase, tuple((each.shape, each.dtype) for each in tensors)
        if kind != self._kind:
            self.end()
            self._kind = kind
        self._seen += 1
        if self._seen <= _ALIKE:
            return work(batch)
        if self._graph is None:
            self._record(work, batch)
        if self._graph is None:  # there was no room for it
            return work(batch)
        for mine, given in zip(_tensors(self._batch), tensors, strict=True):
            mine.copy_(given)
        self._graph.replay()
        return self._numbers

    def end(self) -> None:
        """Forget what was recorded, and give its memory back."""
        self._graph, self._batch, self._numbers, self._kind, self._seen = None, None, {}, None, 0

    def _record(self, work: Callable[[Any], Numbers], batch: Any) -> None:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        self._batch = tuple(each.clone() for each in batch) if isinstance(batch, tuple) else batch.clone()
        try:
            # Only this thread must keep still: another reads the next batch meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._numbers = work(self._batch)
        except torch.OutOfMemoryError:  # a recording keeps what it works with
            self._batch, self._seen = None, -(2**60)
            return
        self._graph = graph


def _tensors(batch: Any) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) else (batch,)
