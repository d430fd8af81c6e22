"""BatchTopK sparse autoencoder (Bussmann et al. 2024, arXiv 2412.06410).

In training the n·k largest latents of the whole batch are active, so that hard tokens may use more than k and
easy ones fewer. Outside training a token must not depend on its neighbours: a threshold takes over, the
running mean of the smallest active latent of the training batches.
"""

import math

import torch
from torch import Tensor

from accord.concepts.base import Encoded, Sparse
from accord.concepts.config import BatchTopKConfig
from accord.concepts.sae import SAE, dead_concepts
from accord.concepts.sparse import Pattern, sparse_encode
from accord.concepts.step import Step
from accord.concepts.topk import aux_k, count_fired

MEMORY = 0.99  # of the running mean: the last few hundred batches


class BatchTopK(SAE):
    """Strengths: ReLU of the pre-activations above `threshold`, kept sparse."""

    unit_norm = True
    threshold: Tensor

    def __init__(self, config: BatchTopKConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.k, self.aux_weight, self.dead_after = config.k, config.aux_weight, config.dead_after
        # One number for every concept; a vector, so that imported JumpReLU autoencoders fit.
        self.register_buffer("threshold", torch.zeros(self.K))

    def _encode(self, xs: Tensor, step: Step | None = None) -> Sparse:
        """By the threshold; with a step, the largest of its whole batch."""
        with torch.no_grad():
            pre = self.pre(xs)
            if step is None:
                flat = (pre > self.threshold.clamp_min(0)).flatten().nonzero().squeeze(1)
            else:
                flat = step.largest(pre.relu_(), self.k)
            values = pre.flatten()[flat]
        pattern = Pattern.of_flat(flat, len(xs), self.K)
        return Sparse(pattern, sparse_encode(xs, self.b_dec, self.W_enc, self.b_enc, pattern, values).relu())

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to concepts; every row for itself."""
        self.check(x)
        return Encoded(self._encode(self.standardise(x)))

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` over rows and dimensions, and `aux`, with the latents chosen over the batch."""
        xs = self.standardise(x)
        z = self._encode(xs, step)
        residual = xs - self.reconstruct(z)
        dead = dead_concepts(self, self.dead_after)
        aux = aux_k(self, xs, residual.detach(), dead, step)
        count_fired(self, z, step, self.dead_after)
        self._follow_threshold(z.values.detach(), step)
        return {"mse": step.mean(residual.square()), "aux": self.aux_weight * aux}

    def _follow_threshold(self, values: Tensor, step: Step) -> None:
        least = step.least(torch.where(values > 0, values, math.inf))
        if self.training:
            moved = least if step.index == 0 else MEMORY * self.threshold + (1 - MEMORY) * least
            self.threshold.copy_(torch.where(least.isfinite(), moved, self.threshold))
