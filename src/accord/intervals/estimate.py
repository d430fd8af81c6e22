"""A number with its 95 % interval, or the reason why it has none; and the difference of two on the same units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
Interval = dict[str, Any]
"""`{"value", "low", "high"}`, numbers or None; and `reason` where there is no value or no interval, if one is known."""

FEWEST = 5
"""Units below which no interval is given: no method covers, and one that did would be as wide as the scale."""
Classes = Sequence[slice]
"""Parts of the units whose sizes are fixed, such as gold classes; () for all as one."""


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; nan where undefined, with a reason in words that stand on the page.

    Attributes:
        influence: how far each unit moves the number, on the scale that its interval is made on [unit], so that two
            numbers of the same units can be compared in pairs; empty where that is not needed.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: str = ""
    influence: Floats = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    def interval(self) -> Interval:
        """As `metrics.json` has it.

        >>> Estimate(0.5, 0.4, 0.6).interval()
        {'value': 0.5, 'low': 0.4, 'high': 0.6}
        >>> Estimate(0.5, reason=too_few(1, "item")).interval()
        {'value': 0.5, 'low': None, 'high': None, 'reason': '1 item: an interval takes 5'}
        """
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        entry: Interval = {name: None if math.isnan(number) else float(number) for name, number in numbers.items()}
        return {**entry, "reason": self.reason} if self.reason and not self.known else entry

    def shifted(self, by: float) -> "Estimate":
        """The same with a constant added."""
        return Estimate(self.value + by, self.low + by, self.high + by, self.reason)

    def exp(self) -> "Estimate":
        """The estimate of the number whose logarithm this is."""
        return Estimate(math.exp(self.value), math.exp(self.low), math.exp(self.high), self.reason)


def brief(metric: Interval, digits: int = 2) -> str:
    """A number with its interval on a line of a terminal.

    >>> brief({"value": -0.17, "low": -0.26, "high": -0.07}), brief({"value": 0.5, "low": None, "high": None})
    ('-0.17 [-0.26, -0.07]', '0.50')
    """
    value, low, high = (_finite(metric.get(name)) for name in ("value", "low", "high"))
    if value is None:
        return "undefined"
    ends = "" if low is None or high is None else f" [{low:z.{digits}f}, {high:z.{digits}f}]"
    return f"{value:z.{digits}f}{ends}"


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def unknown(reason: str) -> Estimate:
    """A number that is not defined.

    >>> unknown("no items").interval()
    {'value': None, 'low': None, 'high': None, 'reason': 'no items'}
    """
    return Estimate(math.nan, reason=reason)


def too_few(n: int, noun: str = "value") -> str:
    """The reason that fewer than `FEWEST` give no interval."""
    return f"{n} {noun}{'' if n == 1 else 's'}: an interval takes {FEWEST}"


def critical(n: int, classes: Classes = ()) -> float:
    """The 97.5 % quantile of Student's t with n − (number of classes) degrees of freedom."""
    return float(stdtrit(n - len(parts(n, classes)), 0.975))


def parts(n: int, classes: Classes) -> Classes:
    """The classes, or all units as one where some class has a single unit and so no variance of its own.

    >>> parts(5, [slice(0, 2), slice(2, 5)])
    [slice(0, 2, None), slice(2, 5, None)]
    >>> parts(5, [slice(0, 1), slice(1, 5)])
    [slice(None, None, None)]
    """
    sizes = [len(range(n)[part]) for part in classes]
    filled = [part for part, size in zip(classes, sizes, strict=True) if size]
    return filled if filled and all(size != 1 for size in sizes) else [slice(None)]


def spread(influence: Floats, classes: Classes = ()) -> tuple[Any, Any]:
    """Standard error and skewness (third cumulant / error³) of a mean of `influence` [..., unit], classes fixed."""
    n = influence.shape[-1]
    second: Any = 0.0
    third: Any = 0.0
    for part in parts(n, classes):
        own = influence[..., part]
        centred, m = own - own.mean(-1, keepdims=True), own.shape[-1]
        second = second + (centred**2).sum(-1) * m / (m - 1)
        third = third + (centred**3).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        skew = np.where(second > 0, third / np.where(second > 0, second, 1.0) ** 1.5, 0.0)
    return np.sqrt(second) / n, skew


def studentised(value: Any, error: Any, skew: Any, quantile: float) -> tuple[Any, Any]:
    """Both Student's t interval and the one corrected for skewness, so that either may be right.

    The second is Hall's (1992, J. R. Statist. Soc. B 54, 221): his cubic transformation of the studentised deviation,
    inverted. It covers where values are skewed, as a bootstrap-t does; where tails are heavy but symmetric, the
    sample's skewness is noise, and Student's covers.
    """
    ends = [value - error * _hall(sign * quantile, skew) for sign in (1, -1)]
    return np.minimum(ends[0], value - quantile * error), np.maximum(ends[1], value + quantile * error)


def transformed(t: Any, skew: Any) -> Any:
    """Hall's transformation of a studentised deviation: t + k t²/3 + k² t³/27 + k/6, k the skewness."""
    return t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6


def _hall(t: float, skew: Any) -> Any:
    """The deviation whose transformed value is t."""
    k = np.asarray(skew, dtype=np.float64)
    tiny = np.abs(k) < 1e-6
    k = np.where(tiny, 1.0, k)
    return np.where(tiny, t, 3 / k * (np.cbrt(1 + k * (t - k / 6)) - 1))


def correlation(before: Floats, after: Floats, classes: Classes = ()) -> float:
    """Pearson's r of two influences within classes: the correlation of the errors of two numbers; 0 if undefined."""
    pieces = parts(len(before), classes)
    x, y = (np.concatenate([each[part] - each[part].mean() for part in pieces]) for each in (before, after))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else 0.0


def difference(before: Estimate, after: Estimate, classes: Classes = ()) -> Estimate:
    """after − before, of the same units, from the two intervals and the correlation of their errors.

    The method of variance estimates recovery (Zou and Donner 2008, Statist. Med. 27, 1693; of correlations Zou 2007,
    Psychol. Methods 12, 399): each interval's half widths stand for standard errors near its ends, so that the
    difference has the coverage, and the asymmetry, of the two.

    >>> before = Estimate(0.5, 0.3, 0.7, influence=np.array([1.0, -1.0, 1.0, -1.0]))
    >>> after = Estimate(0.8, 0.7, 0.9, influence=np.array([1.0, -1.0, 1.0, -1.0]))
    >>> e = difference(before, after)  # their errors go together
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.3, 0.2, 0.4)
    """
    change = after.value - before.value
    if not (before.known and after.known):
        return Estimate(change, reason=before.reason or after.reason)
    rho = correlation(before.influence, after.influence, classes)

    def half(a: float, b: float) -> float:
        return math.sqrt(max(a * a + b * b - 2 * rho * a * b, 0.0))

    below = half(after.value - after.low, before.high - before.value)
    above = half(after.high - after.value, before.value - before.low)
    return Estimate(change, change - below, change + above)


def unchanged() -> Estimate:
    """No change, for certain: both models gave the very same scores."""
    return Estimate(0.0, 0.0, 0.0)


def constant(values: Floats) -> Any:
    """Whether values are all the same along the last axis, but for rounding, whatever their size."""
    size = np.abs(values).max(-1, initial=0.0)
    return np.ptp(values, axis=-1) <= 4 * np.finfo(np.float64).eps * size if values.shape[-1] else np.asarray(True)
