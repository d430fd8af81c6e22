"""Perplexity of texts under any language model, whatever wrote them: a judge reads them with its own tokenizer.

Each text is scored from the start token on (BOS, or EOS where that separates texts), so its first token counts too.
The numbers are those of texts read singly: `tests/lm/test_perplexity.py` holds them to such a reference.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.intervals import mean_estimate, ratio_estimate
from accord.lm.backbone import not_finite
from accord.lm.batching import in_batches
from accord.lm.marked import States
from accord.lm.model import LanguageModel
from accord.lm.windows import TokenTexts, Window, tokenize
from accord.progress import Progress

Floats = NDArray[np.float64]
Visit = Callable[[NDArray[np.int64], NDArray[np.int64], States, Tensor], None]
"""Called with tokens to score: the text of each, its place in it, the state [token, d_model] before it, its id."""

# Logits are made this many numbers at a time: 64 MB in float32, whatever the vocabulary.
_LOGIT_CHUNK = 2**24

__all__ = ["Perplexity", "perplexity"]


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts texts, an entry a text; natural logarithms.

    >>> Perplexity(np.log([4.0, 16.0]), np.array([1, 2])).per_text.round(6)
    array([4., 4.])


    Attributes:
        nll: −log p of the text's tokens together; 0 where none could be scored.
        tokens: how many tokens that is; 0 for an empty text (and, without any start token, for a single token).
    """

    nll: Floats
    tokens: NDArray[np.int64]

    @property
    def per_text(self) -> Floats:
        """Perplexity of each text; NaN where no token could be scored."""
        tokens = np.where(self.tokens > 0, self.tokens, np.nan)
        return np.asarray(np.exp(self.nll / tokens))

    @property
    def unscored(self) -> int:
        """How many texts have no token to score: no mean counts them, so report them beside it."""
        return int((self.tokens == 0).sum())

    @property
    def mean(self) -> float:
        """Mean of the texts' perplexities: each text counts the same, and a single odd text counts a lot."""
        scored = self.per_text[self.tokens > 0]
        return float(scored.mean()) if len(scored) else float("nan")

    @property
    def token_weighted(self) -> float:
        """Perplexity of all tokens together."""
        return float(np.exp(self.nll.sum() / self.tokens.sum())) if self.tokens.sum() else float("nan")

    def summary(self) -> dict[str, dict[str, float]]:
        """`mean` and `token_weighted` as {value, low, high}: 95 % intervals over texts, NaN where there is none.

        See `accord.intervals.mean_estimate`, and `ratio_estimate` for the loss of all tokens.
        """
        scored = self.tokens > 0
        tokens = self.tokens[scored].astype(np.float64)
        each, losses = mean_estimate(self.per_text[scored], least=1.0), ratio_estimate(self.nll[scored], tokens)
        mean = {"value": each.value, "low": each.low, "high": each.high}
        weighted = {"value": losses.value, "low": losses.low, "high": losses.high}
        return {"mean": mean, "token_weighted": {name: math.exp(number) for name, number in weighted.items()}}


@checked
@torch.no_grad()
def perplexity(
    lm: LanguageModel,
    texts: Sequence[str],
    *,
    max_length: int = 1024,
    stride: int | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> Perplexity:
    """Score every text; the results do not depend on batches (to float error).

    >>> lm = accord.load("smollm2-135m")
    >>> perplexity(lm, ["Bees make honey.", "Honey bees make."]).per_text.round(0)
    array([ 1708., 10795.])

    Args:
        max_length: tokens of a window, start token included; never more than the model can read.
        stride: in a text longer than a window, each window starts so many tokens after the window before, and scores
            its new tokens with the others as context; half a window by default.
        batch_tokens: tokens of a forward pass; by default chosen for the device.
        progress: called with (tokens done, tokens in all).

    Raises:
        AccordError: max_length or stride leave no room, logits are not finite, or a window exceeds memory.
    """
    tokens = tokenize(lm, texts, max_length=max_length)
    nll, counts = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)

    def add(owner: NDArray[np.int64], _: NDArray[np.int64], states: States, targets: Tensor) -> None:
        losses = token_losses(lm, states, targets)  # all of them before any is added: memory may run out
        np.add.at(nll, owner, losses)
        np.add.at(counts, owner, 1)

    read_tokens(lm, tokens, add, stride=stride, batch_tokens=batch_tokens, progress=progress)
    return Perplexity(nll, counts)


@torch.no_grad()
def read_tokens(
    lm: LanguageModel,
    tokens: TokenTexts,
    visit: Visit,
    *,
    stride: int | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Give `visit` the state before every token of every text, each token once; options as for `perplexity`.

    `visit` is called anew with a part of a batch when memory runs out in it.
    """
    if stride is not None and stride < 1:
        raise AccordError("stride is a number of tokens", got=stride, wanted="at least 1")
    windows = list(tokens.windows(stride or max(1, tokens.max_length // 2)))

    def compute(batch: list[int]) -> None:
        part = [windows[i] for i in batch]
        rows, places, targets = _targets(tokens, part)
        states = lm.hidden(tokens.rows(part))[lm.n_layers]
        owner = np.array([window.text for window in part])[rows.numpy()]
        begin = np.array([window.begin for window in part])[rows.numpy()]
        visit(owner, begin + places.numpy() - tokens.lead + 1, states[rows, places], targets)

    lengths = [tokens.lead + window.end - window.begin for window in windows]
    in_batches(lm, lengths, compute, batch_tokens=batch_tokens, progress=progress)


def _targets(tokens: TokenTexts, windows: Sequence[Window]) -> tuple[Tensor, Tensor, Tensor]:
    """Of every token to score: its row, the position that predicts it, its id. All [token]."""
    rows, places, targets = [], [], []
    for row, window in enumerate(windows):
        # Without a start token nothing predicts the first token of a window.
        first = max(window.fresh, window.begin + 1 - tokens.lead)
        rows.append(np.full(window.end - first, row))
        places.append(np.arange(first, window.end) - window.begin + tokens.lead - 1)
        targets.append(tokens.of(window.text)[first : window.end])
    whole = [torch.from_numpy(np.concatenate(parts).astype(np.int64)) for parts in (rows, places, targets)]
    return whole[0], whole[1], whole[2]


def token_losses(lm: LanguageModel, states: States, targets: Tensor) -> Floats:
    """−log p of each target from the state [token, d_model] before it; logits never exceed a chunk."""
    size = max(1, _LOGIT_CHUNK // lm.vocab_size)
    parts = [np.empty(0)]
    for begin in range(0, len(targets), size):
        logits = lm.lens(states[begin : begin + size])
        chosen = logits.gather(-1, targets[begin : begin + size, None].to(logits.device)).squeeze(-1)
        parts.append((logits.logsumexp(-1) - chosen).cpu().double().numpy())
    losses = np.concatenate(parts)
    if not np.isfinite(losses).all():
        raise not_finite(lm.name)
    return losses
