"""Examples as people read them: the token, and the text before and after it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from accord.errors import AccordError
from accord.names.collect import AFTER, BEFORE
from accord.names.entries import Ints

_AT_ONCE = 1000


class Context(NamedTuple):
    """A token of a text, and up to `BEFORE` and `AFTER` tokens around it."""

    before: str
    token: str
    after: str


def contexts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], places: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Context]:
    """The contexts at (text, position of a token); each text that occurs is tokenised once.

    Raises AccordError if the tokenizer cannot tell which characters a token covers, or is not the one that the
    positions were counted with.
    """
    if not tokenizer.is_fast:
        raise AccordError(
            "this tokenizer cannot tell which characters a token covers",
            got=type(tokenizer).__name__,
            wanted="a fast tokenizer (tokenizer.json beside the weights)",
        )
    by_text: dict[int, set[int]] = {}
    for text, position in places:
        by_text.setdefault(text, set()).add(position)
    parts = {}
    for text, spans in token_spans(tokenizer, texts, sorted(by_text)):
        for position in by_text[text]:
            if position >= len(spans):
                got = f"token {position} of a text with {len(spans)}"
                raise AccordError("the embeddings were made with another tokenizer, or of other texts", got=got)
            begin, end = spans[position]
            first, last = spans[max(0, position - BEFORE)][0], spans[min(len(spans) - 1, position + AFTER)][1]
            whole = texts[text]
            parts[text, position] = Context(whole[first:begin], whole[begin:end], whole[end:last])
    return parts


def token_spans(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], numbers: Sequence[int]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Of each of these texts the characters that its tokens cover, as `accord.lm.windows.tokenize` cuts them."""
    for begin in range(0, len(numbers), _AT_ONCE):
        some = list(numbers[begin : begin + _AT_ONCE])
        encoded = tokenizer(
            [texts[i] for i in some], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        yield from zip(some, encoded["offset_mapping"], strict=True)


def token_types(tokenizer: PreTrainedTokenizerBase, size: int) -> tuple[Ints, list[str]]:
    """Types of tokens: `type` [size] of every token id, and how each type is written.

    Tokens that differ in case or in the white space around them are of one type.
    """
    known = min(size, len(tokenizer))
    words = [word.strip().casefold() or word for word in tokenizer.batch_decode([[i] for i in range(known)])]
    words += [f"<{i}>" for i in range(known, size)]  # rows of the head beyond the vocabulary
    codes, names = pd.factorize(np.array(words, dtype=object))
    return codes.astype(np.int64), [str(name) for name in names]
