"""JumpReLU sparse autoencoder (Rajamanoharan et al. 2024, arXiv 2407.14435): each latent learns a threshold.

z = p where p = W_enc (x − b_dec) + b_enc is above the latent's θ, else 0, and the loss is MSE + λ·L0. Neither has a
useful gradient in θ, since both are flat but for a jump. What training wants is the gradient of their mean over all
data, and that is estimated from the pre-activations near the jump (their equations 11 and 12), with the kernel that
is 1 within ε/2 of it:

    ∂z/∂θ = −θ/ε · 1[|p − θ| ≤ ε/2]        ∂L0/∂θ = −1/ε · 1[|p − θ| ≤ ε/2]

z passes its gradient on to p where it is active; L0 passes none on.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.concepts.base import Encoded
from accord.concepts.config import JumpReLUConfig
from accord.concepts.sae import SAE, dead_concepts, worst_rows
from accord.concepts.step import Step


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
        ctx.bandwidth = bandwidth
        ctx.save_for_backward(pre, threshold)
        on = pre > threshold
        return pre * on, on.sum(1, dtype=pre.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor, None]:
        by_strength, by_count = above
        pre, threshold = ctx.saved_tensors
        near = (pre - threshold).abs() <= ctx.bandwidth / 2
        d_threshold = -(near * (threshold * by_strength + by_count[:, None])).sum(0) / ctx.bandwidth
        return by_strength * (pre > threshold), d_threshold, None


def jump(pre: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """Strengths `[n, K]` of pre-activations `[n, K]` above `threshold [K]`, and how many each row has, `[n]`.

    Their gradients are those of the module's text, with ε = `bandwidth`.

    >>> pre, threshold = torch.tensor([[0.4, 1.1], [0.9, 2.0]]), torch.tensor([0.5, 1.0], requires_grad=True)
    >>> strength, count = jump(pre, threshold, bandwidth=0.25)
    >>> strength.tolist(), count.tolist()
    ([[0.0, 1.100000023841858], [0.8999999761581421, 2.0]], [1.0, 2.0])
    >>> count.sum().backward()
    >>> threshold.grad  # one pre-activation in four lies within .125 of its threshold, at 1/.25
    tensor([-4., -4.])
    """
    strength: Tensor
    strength, count = _Jump.apply(pre, threshold, bandwidth)  # type: ignore[no-untyped-call]
    return strength, count


class JumpReLU(SAE):
    """Strengths: pre-activations above `threshold`, kept sparse outside training."""

    unit_norm = True

    def __init__(self, config: JumpReLUConfig, d: int) -> None:
        super().__init__(config, d, config.size)
        self.sparsity, self.ramp, self.bandwidth = config.sparsity, config.warmup, config.bandwidth
        self.dead_after = config.dead_after
        self.log_threshold = nn.Parameter(torch.full((self.K,), math.log(self.bandwidth)))

    @property
    def threshold(self) -> Tensor:
        """θ `[K]`, above 0; with gradient."""
        return self.log_threshold.exp()

    def phase(self, step: Step) -> tuple[float, ...]:
        """The price's weight."""
        return (step.ramp(self.ramp),)

    def encode(self, x: Tensor) -> Encoded:
        """Raw embeddings `[n, d]` to concepts."""
        self.check(x)
        return Encoded(self.above(self.standardise(x), self.threshold.detach()))

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """`mse` over rows and dimensions, and `sparsity`: λ·L0.

        Standardised embeddings have mean squared norm d, so an MSE over dimensions is the paper's squared error of
        embeddings of norm 1, and λ the paper's.
        """
        xs = self.standardise(x)
        z, count = jump(self.pre(xs), self.threshold, self.bandwidth)
        self.count_idle((z > 0).any(0), len(x), step)
        price = self.sparsity * step.ramp(self.ramp) * step.mean(count)
        return {"mse": step.mean((xs - self.reconstruct(z)).square()), "sparsity": price}

    def concept_parameters(self) -> dict[str, nn.Parameter]:
        """Encoder rows and biases, decoder rows and thresholds."""
        return super().concept_parameters() | {"log_threshold": self.log_threshold}

    @torch.no_grad()
    def reseed(self, x: Tensor, step: Step) -> Tensor:
        """Point dead concepts at large residuals, as `L1` does, with the threshold that all had at the start."""
        dead = dead_concepts(self, self.dead_after)
        if len(dead):
            xs = self.standardise(x)
            z, _ = jump(self.pre(xs), self.threshold, self.bandwidth)
            _, residual = worst_rows(xs, xs - self.reconstruct(z), len(dead), step)
            unit = F.normalize(residual, dim=1)
            self.W_dec[dead], self.W_enc[dead], self.b_enc[dead] = unit, unit, 0.0
            self.log_threshold[dead] = math.log(self.bandwidth)
            self.idle[dead] = 0
        return dead
