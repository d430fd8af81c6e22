"""How strong each concept usually is, and what it goes with: the scale that doses are given in.

An autoencoder's latents have scales of their own, and a factor cannot wake a latent where it is not active. So a
concept is also set to so many times its typical strength, which one pass over stored embeddings measures.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from accord.arguments import checked
from accord.concepts.base import ConceptModel, Encoded, Set
from accord.errors import AccordError
from accord.heads.reader import decoder_rows
from accord.text.reader import Batch

# Strengths are counted in bins, 16 to a doubling: a quantile is right to 2.2 %, whatever the number of tokens.
_BINS_PER_OCTAVE, _LOWEST, _BINS = 16, -20, 640


@dataclass(frozen=True)
class Typical:
    """Statistics of every concept; NaN where it was never active. A concept is active where its hard strength is not 0.

    Attributes:
        rate: share of tokens on which it is active [K].
        mean: mean strength where active [K]: its typical strength.
        p99: 99th percentile of the strength where active [K], right to 2.2 %.
        association: Pearson's r of its strength with the label of the token's text, over tokens [K]; NaN without
            labels. It ranks concepts; it is no test, as the tokens of a text are not independent.
        latents: mean latents where active [K, E]: what a trained head on latents reads (E is 1 without content).
        written: what the concept adds to a state, in raw space, on average where it is active [K, d].
        tokens: how many were read.
    """

    rate: Tensor
    mean: Tensor
    p99: Tensor
    association: Tensor
    latents: Tensor
    written: Tensor
    tokens: int

    def edit(self, concept: int, dose: float) -> Set:
        """The concept at `dose` times its typical strength, at every position. Raises AccordError if it never fired."""
        if not 0 <= concept < len(self.mean) or not bool(self.rate[concept] > 0):
            raise AccordError(
                "this concept has no typical strength",
                got=concept,
                wanted=f"one of the {int((self.rate > 0).sum())} that are active in these texts",
            )
        return Set(dose * float(self.mean[concept]))

    def table(self) -> pd.DataFrame:
        """A row a concept: concept, rate, mean, p99, association."""
        columns = {name: getattr(self, name).numpy() for name in ("rate", "mean", "p99", "association")}
        return pd.DataFrame({"concept": range(len(self.rate)), **columns})


@checked
@torch.no_grad()
def measure_typical(
    concepts: ConceptModel, batches: Iterable[Batch], label: Callable[[Tensor], Tensor] | None = None
) -> Typical:
    """The statistics in one pass; memory goes with the number of concepts.

    >>> from accord.concepts import build, read_config
    >>> from accord.text import Batch
    >>> model = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4)
    >>> x, n = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(50, dtype=torch.long)
    >>> typical = measure_typical(model, [Batch(x, n, n, n, n)])
    >>> typical.tokens, typical.rate.sum().round().item()  # two of them are active on every token
    (50, 2.0)

    Args:
        batches: raw embeddings, as `accord.text.in_order` gives them.
        label: from numbers of texts [n] to their labels [n]; NaN where a text has none.

    Raises:
        AccordError: no rows.
    """
    concepts.check_decodes("typical strengths and what they write", alike=True)
    sums: _Sums | None = None
    for batch in batches:
        encoded = concepts.encode(batch.x.to(concepts.mean))
        sums = sums or _Sums(concepts, encoded)
        sums.add(encoded, concepts.harden(encoded))
        if label is not None:
            sums.relate(encoded, label(batch.text).double().to(concepts.device))
    if sums is None:
        raise AccordError("no embeddings to measure concepts on", wanted="at least one batch [n, d]")
    return sums.typical()


class _Sums:
    """Sums over tokens, float64."""

    def __init__(self, concepts: ConceptModel, like: Encoded) -> None:
        self.concepts, K = concepts, like.K
        self.n, self.width = 0, 1 if like.content is None else like.content.shape[2]
        wide = {"dtype": torch.float64, "device": concepts.device}
        self.count, self.total = torch.zeros(K, **wide), torch.zeros(K, **wide)  # type: ignore[call-overload]
        self.latents = torch.zeros(K, self.width, **wide)  # type: ignore[call-overload]
        self.bins = torch.zeros(K * _BINS, dtype=torch.int32, device=concepts.device)
        # Of labels, over the tokens that have one: n, Σy, Σy²; and Σs, Σs², Σsy of each concept.
        self.labels = torch.zeros(3, **wide)  # type: ignore[call-overload]
        self.strengths = torch.zeros(3, K, **wide)  # type: ignore[call-overload]

    def add(self, encoded: Encoded, hard: Encoded) -> None:
        rows, which = _active(hard)
        values = _at(encoded, rows, which)
        self.n += _rows(encoded)
        self.count += torch.bincount(which, minlength=encoded.K)
        self.total.index_add_(0, which, values.double())
        octave = values.clamp_min(1e-30).log2() - _LOWEST
        place = (octave * _BINS_PER_OCTAVE).floor().clamp(0, _BINS - 1).long()
        self.bins.index_add_(0, which * _BINS + place, torch.ones_like(which, dtype=torch.int32))
        own = values[:, None] if encoded.content is None else values[:, None] * encoded.content[rows, which]
        self.latents.index_add_(0, which, own.double())

    def relate(self, encoded: Encoded, y: Tensor) -> None:
        known = ~y.isnan()
        y = y[known]
        self.labels += torch.stack([known.sum().to(y), y.sum(), y.square().sum()])
        s = encoded.strength[known].double()
        self.strengths += torch.stack([s.sum(0), s.square().sum(0), y @ s])

    def typical(self) -> Typical:
        mean_latents = self.latents / self.count[:, None]
        rows = decoder_rows(self.concepts)[0].reshape(len(self.count), self.width, -1).double()
        return Typical(
            rate=(self.count / self.n).float().cpu(),
            mean=(self.total / self.count).float().cpu(),
            p99=self._quantile(0.99).cpu(),
            association=self._pearson().float().cpu(),
            latents=mean_latents.float().cpu(),
            written=torch.einsum("ke,ked->kd", mean_latents, rows).float().cpu(),
            tokens=self.n,
        )

    def _quantile(self, q: float) -> Tensor:
        """The middle, on a log scale, of the bin that holds the smallest strength with a share q at or below it."""
        counts = self.bins.view(-1, _BINS).double()
        below = counts.cumsum(1)
        place = (below < q * below[:, -1:]).sum(1).clamp_max(_BINS - 1)
        value = torch.exp2((place + 0.5) / _BINS_PER_OCTAVE + _LOWEST)
        return torch.where(below[:, -1] > 0, value, torch.nan).float()

    def _pearson(self) -> Tensor:
        n, y, yy = self.labels
        s, ss, sy = self.strengths
        spread = ((n * ss - s * s) * (n * yy - y * y)).clamp_min(0).sqrt()
        return torch.where(spread > 1e-9 * n, (n * sy - s * y) / spread, torch.nan)


def _active(hard: Encoded) -> tuple[Tensor, Tensor]:
    """Row and concept [nnz] of every active concept."""
    if hard.sparse is None:
        rows, which = (hard.strength != 0).nonzero(as_tuple=True)
        return rows, which
    on = hard.sparse.values != 0
    return hard.sparse.pattern.rows[on], hard.sparse.pattern.indices[on]


def _at(encoded: Encoded, rows: Tensor, which: Tensor) -> Tensor:
    if encoded.sparse is None:
        return encoded.strength[rows, which]
    return encoded.sparse.values[encoded.sparse.values != 0]  # the same order


def _rows(encoded: Encoded) -> int:
    return encoded.sparse.pattern.n if encoded.sparse is not None else len(encoded.strength)
