"""A beginning that several sequences share: its length, its keys and values, and a copy of them for every row.

This is for code that runs a model by hand: trainings, which carry gradients back through it; explanations and patching,
which put other states behind it. Scoring without gradients shares beginnings of beginnings: see `accord.lm.states`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.lm.kv import KeysValues, kv_cache, kv_pairs
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids, common


def shared_length(sequences: Sequence[Ids]) -> int:
    """How many tokens all sequences begin with; the last token of each is left out, as something is read at it.

    >>> shared_length([(5, 6, 7), (5, 6, 8, 9)]), shared_length([(5, 6), (5, 6, 7)])
    (2, 1)
    """
    first, last = min(sequences), max(sequences)  # all others lie between them
    return min(common(first, last), min(map(len, sequences)) - 1)


def passed(lm: LanguageModel, ids: Tensor | Ids, before: KeysValues = ()) -> KeysValues:
    """Keys and values of `ids` [row, position], or of a sequence, and of the positions before."""
    cache = kv_cache(before)
    lm.hidden(torch.tensor([ids]) if isinstance(ids, tuple) else ids, cache=cache)
    return kv_pairs(cache)


def for_rows(pairs: KeysValues, n: int) -> KeysValues:
    """Keys and values for a batch of n rows, each row repeated n / rows times, in order; a single row is not copied."""

    def rows(tensor: Tensor) -> Tensor:
        if len(tensor) == 1:
            return tensor.expand(n, -1, -1, -1)
        return tensor if len(tensor) == n else tensor.repeat_interleave(n // len(tensor), dim=0)

    return [(rows(keys), rows(values)) for keys, values in pairs]
