"""Concepts as Bernoulli variables: relaxed samples, and what their losses say about rates and certainty."""

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-6  # keeps rates off 0 and 1, where the divergence is infinite


def relaxed_bernoulli(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """A differentiable sample of gates in (0, 1): σ((logits + logistic noise)/temperature).

    The binary concrete distribution (Maddison et al. 2017, arXiv 1611.00712).
    """
    u = torch.rand(logits.shape, generator=generator, dtype=logits.dtype, device=_device(generator, logits))
    u = u.to(logits.device).clamp(EPS, 1 - EPS)
    noise = u.log() - (-u).log1p()
    return ((logits + noise) / temperature).sigmoid()


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of x's shape from `generator`."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=_device(generator, x)).to(x.device)


def _device(generator: torch.Generator | None, x: Tensor) -> torch.device:
    return x.device if generator is None else generator.device


def rate_divergence(alpha: Tensor, prior: float) -> Tensor:
    """mean_k KL(Bern(batch mean of α_k) ‖ Bern(prior)) in nats, for gates `alpha [n, K]`."""
    rate = alpha.mean(0).clamp(EPS, 1 - EPS)
    on = rate * (rate / prior).log()
    off = (1 - rate) * ((1 - rate) / (1 - prior)).log()
    return (on + off).mean()


def gate_entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the gates σ(logits) in nats; stable for large logits.

    >>> gate_entropy(torch.tensor([0.0, 100.0]))  # one gate undecided: log 2; one sure: 0
    tensor(0.3466)
    """
    return (F.softplus(logits) - logits * logits.sigmoid()).mean()
