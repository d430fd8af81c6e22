"""How alike two models' states of the same prompts are: linear centred kernel alignment."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.metrics import Floats, Interval, interval, resampled_items


@checked
def linear_cka(x: Tensor, y: Tensor, *, seed: int = 0, resamples: int = 1000) -> Interval:
    """Linear CKA of states [item, d] and [item, e], with its 95 % bootstrap interval over items.

    ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), Frobenius norms, columns centred (Kornblith et al. 2019, arXiv 1905.00414): 1 where the
    states differ by a rotation, a scale and a shift. With fewer items than dimensions it is biased towards 1, and the
    interval, of resamples with fewer distinct items, lies a little higher than the value.

    Args:
        x, y: of the same items, in the same order.
        resamples: 0 for no interval.

    Raises:
        AccordError: not the same number of items, or fewer than 2.
    """
    if len(x) != len(y) or len(x) < 2:
        raise AccordError("CKA compares states of the same items", got=(len(x), len(y)), wanted="as many, 2 or more")
    # Gram matrices of centred states, so that a resample costs n², whatever the width.
    one, other = (_gram(states) for states in (x, y))
    n = len(x)
    value = float(_weighted(one, other, np.ones((1, n)))[0])
    drawn = [_weighted(one, other, counts(index)) for index in resampled_items(n, 0, resamples, seed)]
    return interval(value, np.concatenate(drawn) if drawn else np.array([]))


def counts(index: NDArray[np.int64]) -> Floats:
    """How often each item was drawn [resample, item], from the items drawn [resample, item]."""
    size, n = index.shape
    flat = np.bincount((index + np.arange(size)[:, None] * n).ravel(), minlength=size * n)
    return flat.reshape(size, n).astype(np.float64)


def _gram(states: Tensor) -> Floats:
    centred = states.double() - states.double().mean(0)
    return np.asarray((centred @ centred.T).cpu().numpy())


def _weighted(k: Floats, m: Floats, w: Floats) -> Floats:
    """CKA [resample] of Gram matrices [n, n] whose items stand there w [resample, n] times; nan without variance."""
    across, of_k, of_m = (_hsic(a, b, w) for a, b in ((k, m), (k, k), (m, m)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(of_k * of_m > 0, across / np.sqrt(np.abs(of_k * of_m)), np.nan))


def _hsic(k: Floats, m: Floats, w: Floats) -> Floats:
    """Sum of products of the two doubly centred matrices, items weighted; centring is done by expansion."""
    n, wk, wm = w.sum(1), w @ k, w @ m
    means = ((wk * w).sum(1) / n) * ((wm * w).sum(1) / n)
    return np.asarray(((w @ (k * m)) * w).sum(1) - 2 / n * (w * wk * wm).sum(1) + means)
