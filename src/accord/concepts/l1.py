"""L1 sparse autoencoder: ReLU latents, and a price on the size of what they write.

The price is λ·Σ_k |z_k|·‖W_dec,k‖ (Anthropic, "April 2024 update"): with the row norms in it the decoder is
free, and cannot dodge the price by growing while the latents shrink.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from accord.concepts.base import Encoded
from accord.concepts.config import L1Fields
from accord.concepts.sae import SAE, dead_concepts, living_norm, worst_rows
from accord.concepts.step import Step


class L1(SAE):
    """Strengths: ReLU(W_enc (x − b_dec) + b_enc)."""

    def __init__(self, config: L1Fields, d: int, K: int | None = None) -> None:
        super().__init__(config, d, config.size if K is None else K)
        self.sparsity, self.ramp, self.dead_after = config.sparsity, config.warmup, config.dead_after

    def phase(self, step: Step) -> tuple[float, ...]:
        """The price's weight."""
        return (step.ramp(self.ramp),)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to concepts."""
        self.check(x)
        return Encoded(self.pre(self.standardise(x)).relu())

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` over rows and dimensions, and `sparsity`: λ·Σ_k |z_k|‖W_dec,k‖ / d, mean over rows.

        Both are divided by d, so that λ weighs strength against summed squared error, as in the literature.
        """
        xs = self.standardise(x)
        return self.terms(xs, self.pre(xs).relu(), step)

    def terms(self, xs: Tensor, z: Tensor, step: Step) -> dict[str, Tensor]:
        """The loss of standardised embeddings `[n, d]`, given their strengths `[n, K]`."""
        price = step.mean(z @ self.W_dec.norm(dim=1)) / self.d
        self.count_idle((z > 0).any(0), len(z), step)
        mse = step.mean((xs - self.reconstruct(z)).square())
        return {"mse": mse, "sparsity": self.sparsity * step.ramp(self.ramp) * price}

    @torch.no_grad()
    def reseed(self, x: Tensor, step: Step) -> Tensor:
        """Point dead concepts at large residuals (Bricken et al. 2023, "Towards monosemanticity", appendix).

        Decoder row: the residual's direction; encoder row: the same at a fifth of the living rows' mean norm.
        """
        dead = dead_concepts(self, self.dead_after)
        if len(dead):
            xs = self.standardise(x)
            _, residual = worst_rows(xs, xs - self.reconstruct(self.pre(xs).relu()), len(dead), step)
            unit = F.normalize(residual, dim=1)
            size = living_norm(self.W_enc, dead)
            self.W_dec[dead], self.W_enc[dead], self.b_enc[dead] = unit, 0.2 * size * unit, 0.0
            self.idle[dead] = 0
        return dead
