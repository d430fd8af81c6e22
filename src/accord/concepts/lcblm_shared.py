"""LCBLM with a shared encoder: one embedding a token, compared with every concept's prototype.

e(x) ∈ R^E, α_k = σ(s · sim(e, h_k)), z_k = c_k h_k. What a concept writes is the same wherever it is on, as
in an autoencoder; there is no prototype term, since nothing but the prototypes is decoded.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts.base import Encoded
from accord.concepts.config import LCBLMSharedConfig
from accord.concepts.lcblm import LCBLMBase
from accord.concepts.sae import dead_concepts, worst_rows
from accord.concepts.step import Step


class LCBLMShared(LCBLMBase):
    """Strength α_k, no content: z_k = strength_k · h_k."""

    def __init__(self, config: LCBLMSharedConfig, d: int) -> None:
        super().__init__(config, d)
        self.W_enc = nn.Parameter(torch.randn(self.E, d) / d**0.5)
        self.b_enc = nn.Parameter(torch.zeros(self.E))

    def embed(self, xs: Tensor) -> Tensor:
        """The embedding of each token, `[n, E]`."""
        e = F.linear(self.features(xs), self.W_enc, self.b_enc)
        return F.gelu(e) if self.c.encoder == "gelu" else e

    def _writes(self) -> Tensor:
        """What each concept writes in standardised space, h_k through its block: `[K, d]`."""
        if self.c.decoder == "sum":
            return self.h @ self.W_dec
        return torch.einsum("ke,ked->kd", self.h, self.W_dec)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to soft gates."""
        self.check(x)
        return Encoded(self.logits(self.embed(self.standardise(x))).sigmoid())

    def decode(self, encoded: Encoded) -> Tensor:
        """Concepts to raw embeddings `[n, d]`."""
        return self.restore(encoded.strength @ self._writes() + self.b_dec)

    def directions(self) -> Tensor:
        """What each concept writes in raw space, `[K, d]`."""
        return self._writes().detach() * self.scale

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` with sampled gates, and the gate terms."""
        xs = self.standardise(x)
        logits = self.logits(self.embed(xs))
        z = self.sampled(logits, self.h[None], step)
        return {"mse": step.mean((xs - self.write(z)).square())} | self.gate_terms(logits, step)

    @torch.no_grad()
    def reseed(self, x: Tensor, step: Step) -> Tensor:
        """Give each dead concept the embedding of a badly reconstructed token, and its residual to write."""
        dead = dead_concepts(self, self.c.dead_after)
        if len(dead):
            xs = self.standardise(x)
            gates = self.logits(self.embed(xs)).sigmoid()
            row, residual = worst_rows(xs, xs - (gates @ self._writes() + self.b_dec), len(dead), step)
            h = self.embed(row)
            self.h[dead] = h
            if self.offset is not None:
                self.offset[dead] = h.norm(dim=1) * 0.7
            self._write_residual(dead, h, residual)
            self.idle[dead] = 0
        return dead
