"""Intervals of means, of ratios of sums, and of what changes in them: Student's t, corrected for skewness.

See `accord.intervals.estimate.studentised`. A mean needs no more; a ratio Σa / Σb goes by what each unit adds to it.
"""

import math

import numpy as np

from accord.intervals.estimate import (
    FEWEST,
    Classes,
    Estimate,
    Floats,
    constant,
    critical,
    spread,
    studentised,
    too_few,
    unknown,
)
from accord.intervals.shares import plus_four, wilson

SAME = "every value is the same"


def mean_estimate(values: Floats, classes: Classes = (), *, unit: bool = False, least: float = -math.inf) -> Estimate:
    """Mean of `values` [unit].

    Args:
        least: no value can be below it, so nor can the interval be: of few and very unequal values it would.
        unit: values lie in [0, 1], and so does the interval; where all are equal, it is Wilson's of as many trials,
            since no variable on [0, 1] varies more than one of 0 and 1.

    >>> mean_estimate(np.array([1.0, 2.0]))
    Estimate(value=1.5, low=nan, high=nan, reason='2 values: an interval takes 5')
    """
    n = len(values)
    if not n:
        return unknown("there are none of these")
    value = float(values.mean())
    if n < FEWEST:
        return Estimate(value, reason=too_few(n))
    if bool(constant(values)):
        return Estimate(value, *wilson(value * n, n)) if unit else Estimate(value, reason=SAME)
    error, skew = spread(values, classes)
    low, high = (float(end) for end in studentised(value, error, skew, critical(n, classes)))
    return Estimate(value, max(low, 0.0), min(high, 1.0)) if unit else Estimate(value, max(low, least), high)


def mean_change(before: Floats, after: Floats, classes: Classes = (), *, unit: bool = False) -> Estimate:
    """Mean of after − before, paired [unit].

    Args:
        unit: values lie in [0, 1]; where no value changed, see `accord.intervals.shares.plus_four`.

    >>> e = mean_change(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([2.0, 2.5, 4.0, 4.5, 6.5]))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.9, 0.38, 1.49)
    """
    change = mean_estimate(after - before, classes)
    if unit and change.reason == SAME:
        return plus_four(after - before, classes)
    return change


def ratio_estimate(top: Floats, bottom: Floats) -> Estimate:
    """Σ top / Σ bottom [unit], units being independent: the jackknife's pseudo-values, t, corrected for skewness.

    >>> e = ratio_estimate(np.array([2.0, 4.0, 7.0, 9.0, 10.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (2.13, 1.88, 2.37)
    """
    n, total, below = len(top), float(top.sum()), float(bottom.sum())
    if not n or below == 0:
        return unknown("there are none of these")
    value = total / below
    if n < FEWEST:
        return Estimate(value, reason=too_few(n))
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = (total - top) / (below - bottom)
    return _jackknifed(value, left_out)


def ratio_difference(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> Estimate:
    """Of two Σ top / Σ bottom on the same units, paired: after − before.

    >>> e = ratio_difference((np.full(5, 2.0), np.arange(1.0, 6.0)), (np.arange(2.0, 7.0), np.arange(1.0, 6.0)))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.67, 0.44, 0.91)
    """
    old, new = ratio_estimate(*before), ratio_estimate(*after)
    change = new.value - old.value
    if not (old.known and new.known):
        return Estimate(change, reason=old.reason or new.reason)
    return _jackknifed(change, (old.influence - new.influence) / (len(old.influence) - 1))


def ratio_change(before: Floats, after: Floats, counts: Floats) -> Estimate:
    """exp of (Σ after − Σ before) / Σ counts [unit]: by what factor a perplexity grew, of the same texts.

    >>> e = ratio_change(np.array([4.0, 6.0, 5.0, 7.0, 9.0]), np.array([5.0, 6.5, 6.0, 7.5, 9.0]), np.full(5, 10.0))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (1.06, 1.0, 1.12)
    """
    if np.array_equal(before, after):
        return Estimate(1.0, 1.0, 1.0)
    return ratio_estimate(after - before, counts).exp()


def _jackknifed(value: float, left_out: Floats) -> Estimate:
    """From the numbers without each unit, or anything that differs from them by a constant."""
    if not np.isfinite(left_out).all():
        return Estimate(value, reason="it rests on a single one of them")
    if bool(constant(left_out)):
        return Estimate(value, reason=SAME)
    influence = -(len(left_out) - 1) * left_out
    error, skew = spread(influence)
    low, high = studentised(value, error, skew, critical(len(left_out)))
    return Estimate(value, float(low), float(high), influence=influence)
