"""How far two models' next-token distributions are apart, from states of their top layers."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.lm.backbone import not_finite
from accord.lm.marked import States
from accord.lm.model import LanguageModel

Floats = NDArray[np.float64]

# Logits of one model at a time: 64 MB in float32, whatever the vocabulary.
_LOGIT_CHUNK = 2**24


@dataclass(frozen=True)
class Distance:
    """Of each position: KL(base ‖ repaired) and KL(repaired ‖ base) in nats, and whether the argmax is the same."""

    forward: Floats
    backward: Floats
    same: Floats


@torch.no_grad()
def distance(base: LanguageModel, before: States, repaired: LanguageModel, after: States) -> Distance:
    """Compare what two models predict from their states [position, d] at the same positions.

    Equal logits give exactly 0 and 1. Chunked over positions, so that logits never exceed a chunk.

    Raises:
        AccordError: logits are not finite.
    """
    size = max(1, _LOGIT_CHUNK // base.vocab_size)
    parts: list[Tensor] = [torch.empty(3, 0)]
    for begin in range(0, len(before), size):
        p = base.lens(before[begin : begin + size].to(base.device)).log_softmax(-1)
        q = repaired.lens(after[begin : begin + size].to(repaired.device)).log_softmax(-1).to(p.device)
        same = (p.argmax(-1) == q.argmax(-1)).float()
        parts.append(torch.stack([_kl(p, q), _kl(q, p), same]).cpu())
    measures = torch.cat(parts, dim=1).double().numpy()
    if not np.isfinite(measures).all():
        raise not_finite(f"{base.name} beside {repaired.name}")
    return Distance(*measures)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) of log-probabilities [n, vocab]; tokens that p rules out add 0, and rounding below 0 gives 0."""
    terms = torch.where(p == -torch.inf, 0.0, p.exp() * (p - q))
    return terms.sum(-1).clamp_min(0)
