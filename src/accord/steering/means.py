"""Means over texts, prompts and concepts, with intervals; means over the same units can be subtracted, in pairs."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accord.intervals import Floats, mean_estimate
from accord.intervals.estimate import FEWEST, constant, critical, spread, studentised
from accord.intervals.shares import plus_four


@dataclass(frozen=True)
class Mean:
    """A mean of values that belong to units, what each unit adds to its error [unit], and how many values there are.

    Attributes:
        part: what the unit's values move the mean by, which sums to 0; 0 for a unit without values.
        known: which units have values.
        unit: values are differences of shares, in [−1, 1]; only then is there an interval where all units agree.
    """

    value: float
    part: Floats
    known: NDArray[np.bool_]
    n: int
    unit: bool = False

    def __sub__(self, other: "Mean") -> "Mean":
        """The difference, paired by unit."""
        value, part, known = self.value - other.value, self.part - other.part, self.known | other.known
        # A lead over another arm may be as large as 2, and is no difference of two shares.
        return Mean(value, part, known, min(self.n, other.n), self.unit and abs(value) <= 1)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval over units, see `accord.intervals.estimate.studentised`; NaN where there is none."""
        part = self.part[self.known]
        units = len(part)
        if math.isnan(self.value) or units < FEWEST or (bool(constant(part)) and not self.unit):
            return math.nan, math.nan
        if bool(constant(part)):
            share = plus_four(np.full(units, self.value))
            return share.low, share.high
        error, skew = spread(part * units)
        low, high = studentised(self.value, error, skew, critical(units))
        return float(low), float(high)

    def beyond(self, sign: int) -> bool:
        """Whether the whole interval lies above 0 (sign 1) or below it (−1)."""
        low, high = self.interval
        return low > 0 if sign > 0 else high < 0


def over_texts(texts: NDArray[np.int64], values: Floats, n_texts: int) -> Mean:
    """Mean of `values` [n] at tokens of `texts` [n]; units are texts, as their tokens are not independent.

    >>> over_texts(np.array([0, 0, 1]), np.array([1.0, 2.0, 6.0]), n_texts=2).value
    3.0
    """
    count = np.bincount(texts, minlength=n_texts)
    value = float(values.mean()) if len(values) else math.nan
    total = np.bincount(texts, values, minlength=n_texts)
    return Mean(value, (total - value * count) / max(len(values), 1), count > 0, len(values))


def over_prompts(values: Floats, *, unit: bool = False) -> Mean:
    """Mean of `values` [prompt, sample]; units are prompts. NaN values (a text too short) count in no mean."""
    known = ~np.isnan(values)
    prompts, _ = np.nonzero(known)
    return replace(over_texts(prompts, values[known], len(values)), unit=unit)


def over_concepts(values: Floats) -> tuple[float, float, float, int]:
    """Mean of `values` [concept] with its ends, and how many are known; NaN ones left out."""
    known = values[~np.isnan(values)]
    mean = mean_estimate(known)
    return mean.value, mean.low, mean.high, len(known)
