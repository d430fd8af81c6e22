"""A number over seeds: its mean and interval, made in one place, and whether two such numbers differ."""

import math
from collections.abc import Iterable

import numpy as np
from scipy.special import stdtrit

from accord.report.metric import UNKNOWN, Metric


def over_seeds(values: Iterable[float]) -> Metric:
    """Mean over seeds with its 95 % t-interval: mean ± t(.975, n − 1) · s / √n, s the standard deviation over n − 1.

    NaN (not defined for that seed) does not count. Of one seed, or with an infinite value, there is no interval.
    """
    known = np.array([v for v in values if not math.isnan(v)])
    if known.size == 0:
        return UNKNOWN
    if np.isfinite(known).all() and np.ptp(known) == 0:
        value = float(known[0])  # the mean of equal numbers may differ from them in the last digit
        return Metric(value, value, value) if known.size > 1 else Metric(value, math.nan, math.nan)
    mean = float(known.mean())
    if not math.isfinite(mean):
        return Metric(mean, math.nan, math.nan)
    half = float(stdtrit(known.size - 1, 0.975) * known.std(ddof=1) / math.sqrt(known.size))
    return Metric(mean, mean - half, mean + half)


def differ(one: Metric, other: Metric) -> bool | None:
    """Whether two numbers lie further apart than their intervals explain; None where one has no interval.

    The errors are taken as independent: |difference| > √(half width² + half width²).
    """
    half = math.hypot(one.high - one.low, other.high - other.low) / 2
    return abs(one.value - other.value) > half if math.isfinite(half) else None
