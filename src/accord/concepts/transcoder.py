"""Transcoder (Dunefsky et al. 2024, arXiv 2406.11944): reads the states of one place, reconstructs those of another.

z = ReLU(W_enc x + b_enc), ŷ = z W_dec + b_dec; loss = MSE of y + λ·Σ_k |z_k|·‖W_dec,k‖, the price of `l1.py`. Put
between the two ends of an MLP, or of some blocks, it tells by which concepts of x they compute y. It learns from, and
is judged on, pairs of rows: `(x [n, d], y [n, d])`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts.base import ConceptModel, Encoded
from accord.concepts.config import TranscoderConfig
from accord.concepts.moments import Moments
from accord.concepts.quality import check_pair
from accord.concepts.sae import dead_concepts, living_norm, worst_rows
from accord.concepts.step import Step

Pair = tuple[Tensor, Tensor]


class Transcoder(ConceptModel):
    """Strengths: ReLU(W_enc x + b_enc). W_enc and W_dec are `[K, d]`: a row a concept.

    What it reads and what it reconstructs are standardised each by its own: `mean` and `scale`, `mean_out` and
    `scale_out`.
    """

    by_ranks = True
    transcodes = True
    mean_out: Tensor
    scale_out: Tensor

    def __init__(self, config: TranscoderConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.sparsity, self.ramp, self.dead_after = config.sparsity, config.warmup, config.dead_after
        self.register_buffer("mean_out", torch.zeros(d))
        self.register_buffer("scale_out", torch.ones(d))
        self.W_enc = nn.Parameter(F.normalize(torch.randn(self.K, d), dim=1))
        self.b_enc = nn.Parameter(torch.zeros(self.K))
        self.W_dec = nn.Parameter(F.normalize(torch.randn(self.K, d), dim=1))
        self.b_dec = nn.Parameter(torch.zeros(d))

    @torch.no_grad()
    def fit_scale(self, batches: Iterable[Pair]) -> None:  # type: ignore[override]
        """Set both ends' means and scales from training pairs, in one pass; raises AccordError as `ConceptModel`'s."""
        into, out = Moments(self.d, self.mean.device), Moments(self.d, self.mean.device)
        for batch in batches:
            check_pair(batch, self.d, self.d)
            into.add(batch[0])
            out.add(batch[1])
        into.give(self.mean, self.scale)
        out.give(self.mean_out, self.scale_out)

    def receive(self, batch: Pair) -> tuple[Pair, int]:  # type: ignore[override]
        """Pairs in the model's own precision, on its device."""
        check_pair(batch, self.d, self.d)
        x, y = batch
        return (x.to(self.mean), y.to(self.mean)), len(x)

    def rows_of(self, batch: Pair, rows: slice) -> Pair:
        """These rows of both ends."""
        return batch[0][rows], batch[1][rows]

    def phase(self, step: Step) -> tuple[float, ...]:
        """The price's weight."""
        return (step.ramp(self.ramp),)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` of the place that it reads, to concepts."""
        self.check(x)
        return Encoded(self._strengths(self.standardise(x)))

    def decode(self, encoded: Encoded) -> Tensor:
        """Concepts to raw embeddings `[n, d]` of the place that it reconstructs."""
        return (encoded.strength @ self.W_dec + self.b_dec) * self.scale_out + self.mean_out

    def directions(self) -> Tensor:
        """What a unit of each concept writes in raw space, `[K, d]`."""
        return self.W_dec.detach() * self.scale_out

    def loss(self, x: Pair, step: Step) -> dict[str, Tensor]:  # type: ignore[override]
        """`mse` over rows and dimensions of what it reconstructs, and `sparsity`, divided by d as `L1`'s."""
        xs, ys = self.standardise(x[0]), (x[1] - self.mean_out) / self.scale_out
        z = self._strengths(xs)
        price = step.mean(z @ self.W_dec.norm(dim=1)) / self.d
        self.count_idle((z > 0).any(0), len(z), step)
        mse = step.mean((ys - z @ self.W_dec - self.b_dec).square())
        return {"mse": mse, "sparsity": self.sparsity * step.ramp(self.ramp) * price}

    def concept_parameters(self) -> dict[str, nn.Parameter]:
        """Encoder rows and biases and decoder rows."""
        return {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec}

    @torch.no_grad()
    def reseed(self, x: Pair, step: Step) -> Tensor:
        """Make dead concepts fire on rows that are reconstructed badly, and write what these lack.

        Encoder row: the direction of the row that it reads, at a fifth of the living rows' mean norm; decoder row: that
        of the residual.
        """
        dead = dead_concepts(self, self.dead_after)
        if len(dead):
            xs, ys = self.standardise(x[0]), (x[1] - self.mean_out) / self.scale_out
            row, residual = worst_rows(xs, ys - self._strengths(xs) @ self.W_dec - self.b_dec, len(dead), step)
            size = living_norm(self.W_enc, dead)
            self.W_enc[dead], self.b_enc[dead] = 0.2 * size * F.normalize(row, dim=1), 0.0
            self.W_dec[dead] = F.normalize(residual, dim=1)
            self.idle[dead] = 0
        return dead

    def _strengths(self, xs: Tensor) -> Tensor:
        return F.linear(xs, self.W_enc, self.b_enc).relu()
