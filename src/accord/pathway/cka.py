"""How alike two models' states of the same prompts are: linear centred kernel alignment."""

import math

import numpy as np
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.intervals import Estimate, Floats, Interval, unknown
from accord.intervals.estimate import FEWEST, critical, spread, studentised, too_few

_ALIKE = 1e-12  # 1 − CKA of states that differ by rounding


@checked
def linear_cka(x: Tensor, y: Tensor, *, resamples: int = 1000) -> Interval:
    """Linear CKA of states [item, d] and [item, e], with its 95 % interval over items.

    ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), Frobenius norms, columns centred (Kornblith et al. 2019, arXiv 1905.00414): 1 where the
    states differ by a rotation, a scale and a shift. With fewer items than dimensions it is biased towards 1: value and
    interval are of this many items. The interval is the jackknife's on the logit scale, t, corrected for skewness; a
    bootstrap's resamples have fewer distinct items, and so lie too high.

    >>> x = Tensor([[0, 1], [2, 0], [1, 3]])
    >>> linear_cka(x, 5 * x + 1)["value"]  # a scale and a shift
    1.0

    Args:
        x, y: of the same items, in the same order.
        resamples: 0 for no interval.

    Raises:
        AccordError: not the same number of items, or fewer than 2.
    """
    if len(x) != len(y) or len(x) < 2:
        raise AccordError("CKA compares states of the same items", got=(len(x), len(y)), wanted="as many, 2 or more")
    # Gram matrices of centred states, so that leaving an item out costs n², whatever the width.
    gram_x, gram_y = (_gram(states) for states in (x, y))
    n = len(x)
    value = float(_weighted(gram_x, gram_y, np.ones((1, n)))[0])
    if math.isnan(value):
        return unknown("the states do not vary").interval()
    if 1 - value < _ALIKE:
        return Estimate(1.0, 1.0, 1.0).interval()
    if not resamples or n < FEWEST:
        return Estimate(value, reason=too_few(n, "item") if resamples else "").interval()
    left_out = _weighted(gram_x, gram_y, 1 - np.eye(n))
    if not ((left_out > 0) & (left_out < 1)).all():
        return Estimate(value, reason="it rests on a single item").interval()
    error, skew = spread(-(n - 1) * np.log(left_out / (1 - left_out)))
    low, high = studentised(math.log(value / (1 - value)), error, skew, critical(n))
    return Estimate(value, 1 / (1 + math.exp(-low)), 1 / (1 + math.exp(-high))).interval()


def _gram(states: Tensor) -> Floats:
    centred = states.double() - states.double().mean(0)
    return np.asarray((centred @ centred.T).cpu().numpy())


def _weighted(k: Floats, m: Floats, w: Floats) -> Floats:
    """CKA [row] of Gram matrices [n, n] whose items count w [row, n] times; nan without variance."""
    across, of_k, of_m = (_hsic(a, b, w) for a, b in ((k, m), (k, k), (m, m)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(of_k * of_m > 0, across / np.sqrt(np.abs(of_k * of_m)), np.nan))


def _hsic(k: Floats, m: Floats, w: Floats) -> Floats:
    """Sum of products of the two doubly centred matrices, items weighted; centring is done by expansion."""
    n, wk, wm = w.sum(1), w @ k, w @ m
    means = ((wk * w).sum(1) / n) * ((wm * w).sum(1) / n)
    return np.asarray(((w @ (k * m)) * w).sum(1) - 2 / n * (w * wk * wm).sum(1) + means)
