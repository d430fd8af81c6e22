"""What a model would write next: the most probable tokens after prompts."""

from collections.abc import Sequence

import torch

from accord.lm.marked import States
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.states import end_states


@torch.no_grad()
def next_tokens(lm: LanguageModel, contexts: Sequence[Ids], n: int = 10) -> list[list[tuple[int, float]]]:
    """Of each context the `n` most probable next tokens, as ids, each with its probability; the most probable first.

    Raises AccordError if a context is longer than the model reads.
    """
    distinct = list(dict.fromkeys(contexts))
    found: dict[Ids, list[tuple[int, float]]] = {}

    def read(_: int, states: States, which: list[int]) -> None:
        values, tokens = lm.lens(states).softmax(-1).topk(min(n, lm.vocab_size))
        for i, own, probabilities in zip(which, tokens.tolist(), values.tolist(), strict=True):
            found[distinct[i]] = list(zip(own, probabilities, strict=True))

    end_states(lm, distinct, read)
    return [found[context] for context in contexts]
