"""Concepts as Bernoulli variables: relaxed samples, and what their losses say about rates and certainty."""

from torch import Tensor
from torch.nn import functional as F

from accord.concepts.step import Step

EPS = 1e-6  # keeps rates off 0 and 1, where the divergence is infinite


def relaxed_bernoulli(logits: Tensor, temperature: float, step: Step) -> Tensor:
    """A differentiable sample of gates in (0, 1): σ((logits + logistic noise)/temperature).

    The binary concrete distribution (Maddison et al. 2017, arXiv 1611.00712).
    """
    u = step.uniform_like(logits).clamp(EPS, 1 - EPS)
    noise = u.log() - (-u).log1p()
    return ((logits + noise) / temperature).sigmoid()


def rate_divergence(rate: Tensor, prior: float) -> Tensor:
    """mean_k KL(Bern(rate_k) ‖ Bern(prior)) in nats, for the batch means `rate [K]` of gates."""
    rate = rate.clamp(EPS, 1 - EPS)
    on = rate * (rate / prior).log()
    off = (1 - rate) * ((1 - rate) / (1 - prior)).log()
    return (on + off).mean()


def gate_entropy(logits: Tensor) -> Tensor:
    """Entropies of the gates σ(logits) in nats; stable for large logits.

    >>> gate_entropy(Tensor([0.0, 100.0]))  # undecided: log 2; sure: 0
    tensor([0.6931, 0.0000])
    """
    return F.softplus(logits) - logits * logits.sigmoid()
