"""What an edit does to the probability of given tokens, on texts as they stand: nothing is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import AccordError
from accord.heads.reader import Reader
from accord.lm.batching import in_batches
from accord.lm.marked import backbone_states
from accord.lm.windows import TokenTexts, Window, tokenize
from accord.steering.arms import Arm
from accord.steering.target import Target

Floats = NDArray[np.float64]
_LOGIT_CHUNK = 2**24  # logits made at a time: 64 MB in float32


@dataclass(frozen=True)
class Reading:
    """Texts read once: the raw states of the target's layer at every position but a sequence's first.

    Attributes:
        states: [n, d] float32.
        row: number of the window of each [n], column: its position there, text: the number of its text.
        active: [n, K] bool, which concepts are active where.
    """

    target: Target
    tokens: TokenTexts
    windows: list[Window]
    states: Tensor
    row: Tensor
    column: Tensor
    text: NDArray[np.int64]
    active: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, target: Target, texts: Sequence[str], *, max_length: int = 512) -> "Reading":
        """Read texts, each cut to `max_length`; memory goes with their tokens. Raises AccordError on no tokens."""
        tokens = tokenize(target.lm, texts, max_length=max_length)
        windows = list(tokens.windows(None))
        parts: dict[int, Tensor] = {}
        source = target.source

        def compute(batch: list[int]) -> None:
            states = source.hidden(tokens.rows([windows[i] for i in batch]), layers=[target.layer])[target.layer]
            for row, i in enumerate(batch):
                parts[i] = backbone_states(states[row])[1 : _width(tokens, windows[i])].float().cpu()

        in_batches(target.lm, [_width(tokens, window) for window in windows], compute)
        if not sum(map(len, parts.values())):
            raise AccordError("no text has a position to edit", got=f"{len(texts)} texts")
        lengths = torch.tensor([len(parts[i]) for i in range(len(windows))])
        row = torch.repeat_interleave(torch.arange(len(windows)), lengths)
        column = torch.cat([torch.arange(1, n + 1) for n in lengths.tolist()])
        states = torch.cat([parts[i] for i in range(len(windows))])
        text = np.array([window.text for window in windows], dtype=np.int64)[row.numpy()]
        return cls(target, tokens, windows, states, row, column, text, _active(target, states))

    @property
    def texts(self) -> int:
        """How many texts were given."""
        return len(self.tokens.offsets) - 1

    def places(self, concept: int | None, most: int, seed: int) -> NDArray[np.int64]:
        """Where a concept is active, or with None any position: at most so many, drawn by the seed, in order."""
        all_ = np.arange(len(self.row)) if concept is None else self.active[:, concept].nonzero().flatten().numpy()
        if len(all_) <= most:
            return np.asarray(all_, dtype=np.int64)
        drawn = np.random.default_rng([seed, 0 if concept is None else concept + 1]).choice(all_, most, replace=False)
        return np.asarray(np.sort(drawn), dtype=np.int64)

    @torch.no_grad()
    def log_probs(self, arm: Arm | None, places: NDArray[np.int64], tokens: Sequence[int]) -> Floats:
        """Mean over `tokens` of log p, at each of `places` [p], of the model of an arm; None: the plain one."""
        arm = arm or Arm("none", 0, {})
        values = np.empty(len(places))
        if self.target.at_top:
            size = max(1, _LOGIT_CHUNK // self.target.lm.vocab_size)
            for begin in range(0, len(places), size):
                some = self.states[places[begin : begin + size]]
                values[begin : begin + size] = _mean_log_p(self.target.logits(some, arm.edits, arm.push), tokens)
            return values
        lm = arm.model(self.target)
        rows = self.row[places]
        needed = sorted(set(rows.tolist()))

        def compute(batch: list[int]) -> None:
            states = lm.hidden(self.tokens.rows([self.windows[needed[i]] for i in batch]))[lm.n_layers]
            for row, i in enumerate(batch):
                mine = (rows == needed[i]).nonzero().flatten()
                logits = lm.lens(states[row][self.column[places[mine.numpy()]]])
                values[mine.numpy()] = _mean_log_p(logits, tokens)

        in_batches(lm, [_width(self.tokens, self.windows[i]) for i in needed], compute)
        return values


def _mean_log_p(logits: Tensor, tokens: Sequence[int]) -> Floats:
    return np.asarray(logits.log_softmax(-1)[:, list(tokens)].mean(1).cpu().double().numpy())


def _width(tokens: TokenTexts, window: Window) -> int:
    return tokens.lead + window.end - window.begin


@torch.no_grad()
def _active(target: Target, states: Tensor) -> Tensor:
    reader = Reader("reconstruction", target.concepts, hard=True)
    parts = [reader.encode(part.to(target.lm.device)).strength != 0 for part in torch.split(states, 4096)]
    return torch.cat(parts).cpu()
