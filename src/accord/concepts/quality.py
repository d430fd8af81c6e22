"""A pass over held-out embeddings: what a concept model leaves unexplained, how many of its concepts it uses."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accord.concepts.moments import Moments
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.concepts.base import ConceptModel, Encoded

ALIVE = 1e-3  # a concept is alive if it fires on at least this share of tokens
# Upper edges of the histogram of firing rates: a decade each, and one bin for concepts that never fire.
DENSITY_EDGES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Quality:
    """A concept model judged on held-out embeddings, in their original space.

    FVU is Σ‖x − x̂‖² / Σ‖x − mean‖² with the per-dimension mean of the same embeddings; the hard one with
    gates open or shut (equal for kinds without gates). A concept fires where its hard strength is not zero. Of a
    transcoder the embeddings are those that it reconstructs.
    """

    fvu: float
    fvu_hard: float
    l0: float  # mean number of concepts that fire on a token
    alive: float  # share of concepts that fire on at least 0.1 % of tokens
    rates: Tensor  # [K] share of tokens each concept fires on
    tokens: int
    parameters: int
    seconds: float

    @property
    def r2(self) -> float:
        """Share of variance explained, 1 − FVU."""
        return 1 - self.fvu

    @property
    def r2_hard(self) -> float:
        """The same with hard gates."""
        return 1 - self.fvu_hard

    def density(self) -> dict[float, int]:
        """Concepts by firing rate: upper edge of the bin (inclusive; 0: never fires) -> how many."""
        edges = torch.tensor(DENSITY_EDGES, dtype=self.rates.dtype)
        bins = torch.bucketize(self.rates, edges)
        counts = torch.bincount(bins, minlength=len(edges))
        return {edge: int(count) for edge, count in zip(DENSITY_EDGES, counts, strict=True)}


def check_pair(batch: Any, d: int, d_out: int) -> None:
    """Raise AccordError unless this is a pair `(x [n, d], y [n, d_out])`, which transcoders learn from."""
    pair = batch if isinstance(batch, tuple | list) else (batch,)
    shapes = [tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__ for rows in pair]
    n = len(pair[0]) if pair and isinstance(pair[0], Tensor) and pair[0].ndim else None
    if shapes != [(n, d), (n, d_out)]:
        problem = "These rows do not fit the transcoder, which needs what it reads and what it reconstructs."
        raise AccordError(problem, got=shapes, wanted=f"a pair: [n, {d}] and [n, {d_out}]")


def _ends(model: "ConceptModel", batch: Any) -> tuple[Tensor, Tensor]:
    """What the model reads of a batch `[n, d]`, and what it is to give `[n, d_out]`; raises AccordError."""
    if model.transcodes:
        check_pair(batch, model.d, model.d_out)
        return batch[0].to(model.mean), batch[1].to(model.mean)
    x = (batch[0] if model.labels and isinstance(batch, tuple) else batch).to(model.mean)
    return x, x


@torch.no_grad()
def quality_of(model: "ConceptModel", batches: Iterable[Any]) -> Quality:
    """See `accord.concepts.evaluate`, which checks its arguments."""
    start = time.monotonic()
    left = left_hard = torch.zeros((), dtype=torch.float64, device=model.mean.device)
    moments = Moments(model.d_out, model.mean.device)
    fired = torch.zeros(model.K, dtype=torch.int64, device=model.mean.device)
    for batch in batches:
        x, y = _ends(model, batch)
        encoded = model.encode(x)
        hard = model.harden(encoded)
        error = _squared(y - model.decode(encoded))
        left = left + error
        left_hard = left_hard + (_squared(y - model.decode(hard)) if model.gated else error)
        moments.add(y)
        fired += fires(hard)
    n = moments.n
    if n == 0:
        raise AccordError("no embeddings to evaluate on", wanted="at least one batch [n, d]")
    variance = moments.variation.clamp_min(1e-30)
    rates = (fired.double() / n).cpu()
    return Quality(
        fvu=float(left / variance),
        fvu_hard=float(left_hard / variance),
        l0=float(rates.sum()),
        alive=float((rates >= ALIVE).double().mean()),
        rates=rates,
        tokens=n,
        parameters=sum(p.numel() for p in model.parameters()),
        seconds=time.monotonic() - start,
    )


def fires(hard: "Encoded") -> Tensor:
    """How many rows each concept fires on, `[K]`."""
    if hard.sparse is None:
        return (hard.strength != 0).sum(0)
    return torch.bincount(hard.sparse.pattern.indices[hard.sparse.values != 0], minlength=hard.K)


def _squared(error: Tensor) -> Tensor:
    return error.double().square().sum()
