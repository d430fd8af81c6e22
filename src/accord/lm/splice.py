"""Putting other states in the place of a layer's own while a backbone runs; the layers above read what was put.

The first position of a sequence is left alone. Most models rest their attention there: its state is the same in every
text and a hundred times as large as any other, so embedding stores leave it out, no concept model has seen it, and a
reconstruction of it would wreck all that follows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from accord.lm.backbone import Backbone
from accord.lm.tail import put_state, state_out

Change = Callable[[Tensor], Tensor]
"""From raw states [n, d] to the states [n, d] that take their place."""


def past(cache: Cache | None) -> int:
    """How many positions a cache holds."""
    return 0 if cache is None else int(cache.get_seq_length())


@contextmanager
def replaced(
    backbone: Backbone, layer: int, change: Change, *, start: int = 0, first: int = 1, stop: int | None = None
) -> Iterator[None]:
    """While open, what leaves `layer` is what `change` makes of it, at positions `first` to `stop` of the sequence.

    Args:
        layer: 0 for what enters the first block, l for what leaves block l.
        start: position of the first column; not 0 if the ids continue a cache, see `past`.
        first: the first position that is changed; at least 1, as the first of a sequence is left alone.
        stop: the position before which changes end; None: at every later position.
    """

    def put(state: Tensor) -> Tensor:
        width = state.shape[1]
        begin = min(max(max(first, 1) - start, 0), width)
        end = width if stop is None else min(max(stop - start, begin), width)
        if begin == end:
            return state
        rows = state[:, begin:end]
        given = rows.reshape(-1, rows.shape[-1]).to(backbone.device)  # whichever device the layer is on
        new = change(given).to(state).reshape(rows.shape)
        return torch.cat([state[:, :begin], new, state[:, end:]], dim=1)

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (put(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": put(kwargs["hidden_states"])}

    def after(_: Any, args: tuple[Any, ...], output: Any) -> Any:
        return put_state(output, put(state_out(output)))

    if layer == 0:
        handle = backbone.blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = backbone.blocks[layer - 1].register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def no_first(like: Tensor, at: Tensor | None, start: int) -> Tensor:
    """1 where a column is not the first position of its sequence, else 0, for states `like` [batch, p, d]: [batch, p].

    Args:
        at: the positions within the ids that were kept, as `LanguageModel.hidden` takes them.
        start: as for `replaced`.
    """
    mask = like.new_ones(like.shape[:2])
    if start == 0 and at is None:
        mask[:, 0] = 0.0
    elif start == 0 and at is not None:
        mask[(at == 0).to(mask.device)] = 0.0
    return mask
