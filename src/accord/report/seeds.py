"""What differs in its seed only belongs together: groups of it, means over seeds, and whether two of them differ."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from accord.report.metric import UNKNOWN, Metric, plain
from accord.report.wording import count


def over_seeds(values: Iterable[float]) -> Metric:
    """Mean over seeds with its 95 % t-interval: mean ± t(.975, n − 1) · s / √n, s the standard deviation over n − 1.

    NaN (not defined for that seed) does not count. Of one seed, or with an infinite value, there is no interval.

    >>> over_seeds([0.8, 0.9, math.nan])
    Metric(value=0.85..., low=0.2146..., high=1.485...)
    >>> over_seeds([0.8])
    Metric(value=0.8, low=nan, high=nan)
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


def pooled(metrics: Sequence[Metric]) -> Metric:
    """One seed's number as it is; of several, their mean with an interval over seeds and items.

    All seeds are tried on the same items, so what the items leave uncertain does not shrink with seeds. It is
    independent of what seeds do, so half widths add as √(t-interval over seeds² + mean of the seeds' own intervals²).
    """
    if len(metrics) == 1:
        return metrics[0]
    whole = over_seeds(metric.value for metric in metrics)
    known = [metric for metric in metrics if math.isfinite(metric.low) and math.isfinite(metric.high)]
    if not known:
        return whole
    below = math.hypot(whole.value - whole.low, sum(m.value - m.low for m in known) / len(known))
    above = math.hypot(whole.high - whole.value, sum(m.high - m.value for m in known) / len(known))
    return Metric(whole.value, whole.value - below, whole.value + above)


def differ(metric: Metric, other: Metric) -> bool | None:
    """Whether two numbers lie further apart than their intervals explain; None where either has no interval.

    The errors are taken as independent: |difference| > √(half width² + half width²).

    >>> differ(Metric(0.5, 0.4, 0.6), Metric(0.7, 0.65, 0.75)), differ(Metric(0.5, 0.4, 0.6), Metric(0.55, 0.5, 0.6))
    (True, False)
    """
    half = math.hypot(metric.high - metric.low, other.high - other.low) / 2
    return abs(metric.value - other.value) > half if math.isfinite(half) else None


def unseeded(label: str) -> str:
    """A stage's label without its seed, fit to be shown.

    >>> unseeded("lcblm-L16-s2"), unseeded("backbone")
    ('lcblm-L16', 'backbone')
    """
    return plain(re.sub(r"-s\d+$", "", label))


@dataclass(frozen=True)
class SeedResult:
    """What a study gave with a single seed.

    Attributes:
        stage: its name.
        metrics: numbers, null where a number is not defined, and names; `seed`, null for what no seed changes.
        curve: of its training, if there was any.
    """

    stage: str
    metrics: Mapping[str, Any]
    curve: pd.DataFrame | None = None

    @property
    def seed(self) -> int:
        """The seed, 0 for what no seed changes."""
        return int(self.metrics["seed"] or 0)

    @property
    def group(self) -> str:
        """The label of its stage without the seed."""
        return unseeded(self.stage.partition("/")[2])

    def number(self, name: str) -> float:
        """A number, NaN where it is not defined."""
        value = self.metrics[name]
        return math.nan if value is None else float(value)

    def metric(self, name: str) -> Metric:
        """A number with the interval that this seed alone gave it (NAME_low, NAME_high), if it did."""
        low, high = (self.number(end) if end in self.metrics else math.nan for end in (f"{name}_low", f"{name}_high"))
        return Metric(self.number(name), low, high)

    def named(self, name: str) -> str:
        """A name, empty where there is none."""
        value = self.metrics.get(name)
        return "" if value is None else plain(str(value))


@dataclass(frozen=True)
class SeedGroup:
    """Results that differ in their seed only, under one label."""

    label: str
    results: Sequence[SeedResult]

    def values(self, name: str) -> list[float]:
        """A number of every seed, in the order of the seeds."""
        return [result.number(name) for result in self.results]

    def metric(self, name: str) -> Metric:
        """Its mean over the seeds, with the interval."""
        return over_seeds(self.values(name))

    def named(self, name: str) -> str:
        """A name that all seeds share."""
        return self.results[0].named(name)

    def curves(self) -> list[pd.DataFrame]:
        """Training curves of the seeds that were trained."""
        return [result.curve for result in self.results if result.curve is not None]


def grouped(results: Iterable[SeedResult]) -> list[SeedGroup]:
    """Groups in the order of their first results, each by seed, under the label of their stages."""
    groups: dict[str, list[SeedResult]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    return [SeedGroup(label, sorted(group, key=lambda result: result.seed)) for label, group in groups.items()]


def relabelled(groups: Sequence[SeedGroup], *choices: Sequence[str]) -> list[SeedGroup]:
    """Each group under the first of the choices of names that tells them all apart; what they have now always does."""
    names = next((c for c in choices if len(set(c)) == len(c)), [group.label for group in groups])
    return [SeedGroup(name, group.results) for name, group in zip(names, groups, strict=True)]


def seeds_of(groups: Sequence[SeedGroup]) -> str:
    """`3 seeds`, `1 to 3 seeds`."""
    numbers = sorted({len(group.results) for group in groups})
    return count(numbers[0], "seed") if len(numbers) == 1 else f"{numbers[0]} to {count(numbers[-1], 'seed')}"
