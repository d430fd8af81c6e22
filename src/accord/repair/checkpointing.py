"""Training that keeps no states inside blocks: each block runs again when its gradients are due.

Transformers' own checkpointing works in train mode alone, where the model's dropout is on. This works on any blocks,
and with keys and values that blocks take and leave: one that runs again gets those that were there the first time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import Cache

from accord import on_cpu
from accord.lm.kv import kv_cache, kv_pairs


@contextmanager
def checkpointed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """While open, what a block computes inside is made anew for the gradient, not kept. The numbers are the same."""
    own = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        block.forward = _twice(block.forward)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward


def _twice(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The same forward pass, run again when its gradients are due."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        cache = next((value for value in (*args, *kwargs.values()) if isinstance(value, Cache)), None)
        before = [] if cache is None else kv_pairs(cache)
        runs = 0

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs > 1 and cache is not None:
                as_before = kv_cache(before)
                args = tuple(as_before if value is cache else value for value in args)
                kwargs = {name: as_before if value is cache else value for name, value in kwargs.items()}
            with on_cpu.quick():  # as the model's own run is, so that the same is saved
                return forward(*args, **kwargs)

        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    return call
