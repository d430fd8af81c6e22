"""Matryoshka sparse autoencoder (Bussmann et al. 2025, arXiv 2503.17547): a BatchTopK whose beginnings suffice alone.

Latents are chosen as BatchTopK chooses them, over all K. The first m of them must reconstruct by themselves, for every
m of a few rising sizes: the loss is the sum of Σ ‖x − x̂_m‖², x̂_m = Σ_{k < m} z_k W_dec,k + b_dec. So the first concepts
become the general ones, and a special one that comes later cannot take over part of what they say (absorption).
"""

import torch
from torch import Tensor

from accord.concepts.base import Sparse
from accord.concepts.batchtopk import BatchTopK
from accord.concepts.config import MatryoshkaConfig
from accord.concepts.sparse import sparse_decode
from accord.concepts.step import Step


class Matryoshka(BatchTopK):
    """Strengths and threshold as `BatchTopK` has them.

    Attributes:
        ends: `[m]` number of concepts in each prefix, rising; the last is K.
    """

    ends: Tensor

    def __init__(self, config: MatryoshkaConfig, d: int) -> None:
        super().__init__(config, d)
        ends = [*config.sizes, self.K]
        # Not part of what is saved: the settings tell it.
        self.register_buffer("ends", torch.tensor(ends), persistent=False)

    def reconstructions(self, z: Sparse) -> Tensor:
        """Standardised embeddings by each prefix alone, `[n, m, d]`; the last is that by all concepts."""
        # Every row cut at the ends of the prefixes: each active concept is decoded once, however many there are.
        parts = sparse_decode(z.values, z.pattern.cut(self.ends), self.W_dec)
        return parts.reshape(-1, len(self.ends), self.d).cumsum(1) + self.b_dec

    def errors(self, xs: Tensor, z: Sparse, step: Step) -> tuple[dict[str, Tensor], Tensor]:
        """`mse` of all concepts, and `prefixes`: the sum of those of the shorter prefixes."""
        residuals = xs[:, None] - self.reconstructions(z)
        each = step.mean_row(residuals.square().mean(2))
        return {"mse": each[-1], "prefixes": each[:-1].sum()}, residuals[:, -1]
