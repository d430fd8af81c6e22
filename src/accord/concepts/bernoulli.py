"""Bernoulli sparse autoencoder: every concept is either there or not, and is there at a prior rate.

α = σ(W_enc (x − b_dec) + b_enc), x̂ = c W_dec + b_dec, with relaxed samples c of the gates in training, α
itself in soft and α > .5 in hard evaluation; loss = MSE + β·mean_k KL(Bern(batch mean α_k) ‖ Bern(π)).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from accord.concepts.base import Encoded
from accord.concepts.config import BernoulliConfig
from accord.concepts.gates import rate_divergence, relaxed_bernoulli
from accord.concepts.sae import SAE, dead_concepts, worst_rows
from accord.concepts.step import Step


class Bernoulli(SAE):
    """Strengths: gate probabilities in (0, 1)."""

    gated = True

    def __init__(self, config: BernoulliConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.prior, self.rate_weight = config.prior, config.rate_weight
        self.temperature, self.dead_after = config.temperature, config.dead_after
        # Gates start at their prior rate: else the divergence shuts every gate before any has found its use.
        torch.nn.init.constant_(self.b_enc, math.log(self.prior / (1 - self.prior)))

    def phase(self, step: Step) -> tuple[float, ...]:
        """Always the same."""
        return ()

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to soft gates."""
        self.check(x)
        return Encoded(self.pre(self.standardise(x)).sigmoid())

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` over rows and dimensions with sampled gates, and `rate`."""
        xs = self.standardise(x)
        logits = self.pre(xs)
        c = relaxed_bernoulli(logits, self.temperature, step)
        self.count_idle((logits > 0).any(0), len(x), step)
        rate = rate_divergence(step.mean_row(logits.sigmoid()), self.prior)
        return {"mse": step.mean((xs - self.reconstruct(c)).square()), "rate": self.rate_weight * rate}

    @torch.no_grad()
    def reseed(self, x: Tensor, step: Step) -> Tensor:
        """Make each dead concept write one large residual, and fire for tokens that resemble its token."""
        dead = dead_concepts(self, self.dead_after)
        if len(dead):
            xs = self.standardise(x)
            row, residual = worst_rows(xs, xs - self.reconstruct(self.pre(xs).sigmoid()), len(dead), step)
            unit = F.normalize(residual, dim=1)
            reach = ((row - self.b_dec) * unit).sum(1).clamp_min(1e-3)
            # Logit 4 at the token itself, 0 half-way, −4 where the residual's direction is absent.
            self.W_enc[dead], self.b_enc[dead] = 8 * unit / reach[:, None], -4.0
            self.W_dec[dead] = residual
            self.idle[dead] = 0
        return dead
