"""What a model would write next: the most probable tokens after prompts."""

from collections.abc import Sequence

import torch

from accord.lm.marked import States
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.states import end_states

Likely = list[tuple[int, float]]
"""Tokens, as ids, each with its probability; the most probable first."""


@torch.no_grad()
def next_tokens(lm: LanguageModel, contexts: Sequence[Ids], n: int = 10) -> list[Likely]:
    """Of each context the `n` most probable next tokens.

    Raises AccordError if a context is longer than the model reads.
    """
    distinct = list(dict.fromkeys(contexts))
    found: dict[Ids, Likely] = {}

    def read(_: int, states: States, which: list[int]) -> None:
        found.update(zip((distinct[i] for i in which), likely_at(lm, states, n), strict=True))

    end_states(lm, distinct, read)
    return [found[context] for context in contexts]


@torch.no_grad()
def likely_at(lm: LanguageModel, states: States, n: int = 10) -> list[Likely]:
    """Of each of the top layer's states [k, d_model] the `n` most probable next tokens."""
    values, tokens = lm.lens(states).softmax(-1).topk(min(n, lm.vocab_size))
    return [list(zip(*each, strict=True)) for each in zip(tokens.tolist(), values.tolist(), strict=True)]
