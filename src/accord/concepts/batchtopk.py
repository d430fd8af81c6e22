"""BatchTopK sparse autoencoder (Bussmann et al. 2024, arXiv 2412.06410).

In training the n·k largest latents of the whole batch are active, so that hard tokens may use more than k and
easy ones fewer. Outside training a token must not depend on its neighbours: a threshold takes over, the
running mean of the smallest active latent of the training batches.
"""

import math

import torch
from torch import Tensor

from accord.concepts.base import Encoded, Sparse
from accord.concepts.config import TopKFields
from accord.concepts.sae import SAE, dead_concepts
from accord.concepts.sparse import Pattern
from accord.concepts.step import Step
from accord.concepts.topk import MARGIN, aux_k, count_fired, places_of_largest, rough_pre

MEMORY = 0.99  # of the running mean: the last few hundred batches


class BatchTopK(SAE):
    """Strengths: ReLU of the pre-activations above `threshold`, kept sparse."""

    unit_norm = True
    threshold: Tensor

    def __init__(self, config: TopKFields, d: int) -> None:
        super().__init__(config, d, config.size)
        self.k, self.aux_weight, self.dead_after = config.k, config.aux_weight, config.dead_after
        # One number for every concept; a vector, so that imported JumpReLU autoencoders fit.
        self.register_buffer("threshold", torch.zeros(self.K))

    def phase(self, step: Step) -> tuple[float, ...]:
        """Whether the threshold has a past, and the number of dead latents."""
        return (step.index == 0, self.n_dead(self.dead_after))

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to concepts; every row for itself."""
        self.check(x)
        return Encoded(self.above(self.standardise(x), self.threshold.clamp_min(0)))

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` over rows and dimensions, and `aux`, with the latents chosen over the batch."""
        xs = self.standardise(x)
        z = self._largest(xs, step)
        terms, residual = self.errors(xs, z, step)
        dead = dead_concepts(self, self.dead_after)
        aux = aux_k(self, xs, residual.detach(), dead, step)
        count_fired(self, z, step)
        self._follow_threshold(z.values.detach(), step)
        return terms | {"aux": self.aux_weight * aux}

    def errors(self, xs: Tensor, z: Sparse, step: Step) -> tuple[dict[str, Tensor], Tensor]:
        """The terms of the loss that say how well strengths reconstruct `xs [n, d]`, and what all leave of it."""
        residual = xs - self.reconstruct(z)
        return {"mse": step.mean(residual.square())}, residual

    def _largest(self, xs: Tensor, step: Step) -> Sparse:
        """The n·k largest latents of the whole batch."""
        if self.rounds and step.ranks is None:
            return self._of_candidates(xs)
        with torch.no_grad():
            pre = self.pre(xs)
            flat = step.largest(pre.relu_(), self.k)
            values = None if self.rounds else pre.flatten()[flat]
        return self.at(xs, flat, values)

    def _of_candidates(self, xs: Tensor) -> Sparse:
        """The same on a GPU: candidates by a product in bfloat16, and the largest of their values in full."""
        n = len(xs)
        with torch.no_grad():
            centred = xs - self.b_dec
            rough = rough_pre(self, centred).reshape(1, -1)
            flat = places_of_largest(rough, min(n * (self.k + MARGIN), n * self.K))[0].sort().values
            values = self.pre_at(centred, Pattern.of_flat(flat, n, self.K)).relu()
            taken = values.topk(min(n * self.k, len(flat)), sorted=False).indices.sort().values
        return self.at(xs, flat[taken], values[taken])

    def _follow_threshold(self, values: Tensor, step: Step) -> None:
        least = step.least(torch.where(values > 0, values, math.inf))
        if self.training:
            moved = least if step.index == 0 else MEMORY * self.threshold + (1 - MEMORY) * least
            self.threshold.copy_(torch.where(least.isfinite(), moved, self.threshold))
