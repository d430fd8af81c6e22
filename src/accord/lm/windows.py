"""Texts to token windows that fit a model: each token counted once, and read with as much before it as allowed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import AccordError
from accord.lm.encoding import find_start
from accord.lm.model import LanguageModel

_TEXTS_AT_ONCE = 1000


class Window(NamedTuple):
    """Tokens `begin` to `end` of a text, of which those before `fresh` were in an earlier window."""

    text: int
    begin: int
    fresh: int
    end: int


@dataclass(frozen=True)
class TokenTexts:
    """The tokens of many texts, without special tokens, and what is put before every window.

    Attributes:
        ids: int32, all texts concatenated.
        offsets: text i is `ids[offsets[i]:offsets[i + 1]]`.
        start: BOS; or EOS, where that is what separates texts; or None if the tokenizer has neither. A model that
            was trained with a start token reads badly without, so later windows of a text get it too.
        max_length: tokens of a window, the start token among them.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    start: int | None
    max_length: int

    @property
    def lead(self) -> int:
        """How many tokens stand before a window's own: 1 with a start token, else 0."""
        return 0 if self.start is None else 1

    def of(self, text: int) -> NDArray[np.int32]:
        """The tokens of the text of this number."""
        return self.ids[self.offsets[text] : self.offsets[text + 1]]

    def windows(self, stride: int | None) -> Iterator[Window]:
        """The windows of all texts, in order; texts without tokens have none.

        >>> texts = TokenTexts(np.arange(5, dtype=np.int32), np.array([0, 5]), start=1, max_length=4)
        >>> [(window.begin, window.fresh, window.end) for window in texts.windows(stride=2)]
        [(0, 0, 3), (2, 3, 5)]

        Args:
            stride: tokens from the beginning of a window of a long text to that of the next (at most a window, so
                that nothing is left out); None keeps only the first window.
        """
        room = self.max_length - self.lead
        for text, length in enumerate(np.diff(self.offsets).tolist()):
            begin = end = 0
            while end < length and (stride is not None or end == 0):
                fresh, end = end, min(begin + room, length)
                yield Window(text, begin, fresh, end)
                begin += min(stride or room, room)

    def rows(self, windows: Sequence[Window]) -> Tensor:
        """Ids [window, position] as a model reads them: start token, the window's own, padding on the right."""
        width = self.lead + max(window.end - window.begin for window in windows)
        rows = np.zeros((len(windows), width), dtype=np.int64)
        if self.start is not None:
            rows[:, 0] = self.start
        for row, window in zip(rows, windows, strict=True):
            ids = self.of(window.text)[window.begin : window.end]
            row[self.lead : self.lead + len(ids)] = ids
        return torch.from_numpy(rows)


def tokenize(lm: LanguageModel, texts: Sequence[str], *, max_length: int) -> TokenTexts:
    """The tokens of every text.

    Args:
        lm: whose tokenizer makes them.
        max_length: tokens of a window; never more than the model can read, or its tokenizer says that it can.

    Raises:
        AccordError: a window could hold no token, or the model lacks a token.
    """
    tokenizer = lm.tokenizer
    max_length = min(max_length, int(tokenizer.model_max_length), lm.limits.length or max_length)
    start = find_start(tokenizer)
    if max_length < (1 if start is None else 2):
        raise AccordError("max_length leaves no room for a token", got=max_length, wanted="at least 2")
    parts: list[NDArray[np.int32]] = []
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        batch = list(texts[begin : begin + _TEXTS_AT_ONCE])
        encoded = tokenizer(batch, add_special_tokens=False, return_attention_mask=False, verbose=False)
        parts += [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)]).astype(np.int64)
    ids = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
    lm.limits.check(lm.name, longest=0, largest=max(int(ids.max(initial=0)), start or 0))
    return TokenTexts(ids, offsets, start, max_length)
