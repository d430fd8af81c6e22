"""Batches on their way to a model: on a GPU they are read, checked and copied while it computes."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from accord.concepts.base import Learner

T = TypeVar("T")
_AHEAD = 2  # batches that lie ready on the device
_PATIENCE = 0.1  # seconds until the thread looks whether anybody still waits for it


def received(model: Learner, supply: Iterator[Any]) -> Generator[tuple[Any, int]]:
    """What `model.receive` makes of each batch, in order; its errors come in the batch's turn."""
    if model.device.type != "cuda":
        yield from map(model.receive, supply)
        return
    side = torch.cuda.Stream(model.device)  # type: ignore[no-untyped-call]

    def copied() -> Iterator[tuple[Any, int, torch.cuda.Event]]:
        for batch in supply:
            with torch.cuda.stream(side):
                x, rows = model.receive(batch)
            yield x, rows, side.record_event()

    for x, rows, arrived in ahead(copied(), _AHEAD):
        stream = torch.cuda.current_stream(model.device)
        stream.wait_event(arrived)
        for tensor in x if isinstance(x, tuple) else (x,):
            if isinstance(tensor, Tensor):
                tensor.record_stream(stream)  # its memory is not given away before this stream has read it
        yield x, rows


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items in order, made by a thread that is at most `count` ahead. It ends when this iterator does.

    >>> list(ahead(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(count)
    over = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not over.is_set():
            try:
                return ready.put((kind, value), timeout=_PATIENCE)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put("item", item)
                if over.is_set():
                    return
            put("end", None)
        except BaseException as error:  # it is raised where the item is wanted
            put("error", error)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        over.set()
        maker.join()
