"""Means with bootstrap intervals whose resamples are shared, so that differences of means are paired."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean, the same mean of every resample [r], and how many values it is made of."""

    value: float
    draws: Floats
    n: int

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference, paired where both were drawn on the same resamples."""
        return Estimate(self.value - other.value, self.draws - other.draws, min(self.n, other.n))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % percentile interval; NaN where the mean is undefined in every resample."""
        defined = self.draws[~np.isnan(self.draws)]
        if not len(defined) or np.isnan(self.value):
            return float("nan"), float("nan")
        low, high = np.percentile(defined, [2.5, 97.5])
        return float(low), float(high)

    def beyond(self, sign: int) -> bool:
        """Whether the whole interval lies above 0 (sign 1) or below it (−1)."""
        low, high = self.interval
        return low > 0 if sign > 0 else high < 0


def over_texts(texts: NDArray[np.int64], values: Floats, n_texts: int, seed: int, resamples: int) -> Estimate:
    """Mean of `values` [n] at tokens of `texts` [n], texts resampled whole: their tokens are not independent.

    The same n_texts, seed and resamples draw the same texts. A resample without a value counts as undefined.
    """
    total = np.bincount(texts, values, minlength=n_texts)
    count = np.bincount(texts, minlength=n_texts)
    index = np.random.default_rng(seed).integers(0, n_texts, (resamples, n_texts))
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = total[index].sum(1) / count[index].sum(1)
    return Estimate(float(values.mean()) if len(values) else float("nan"), draws, len(values))


def over_prompts(values: Floats, seed: int, resamples: int) -> Estimate:
    """Mean of `values` [prompt, sample]: prompts resampled, and within each its samples, which are seeds.

    NaN values (a text too short for the measure) count in no mean. The same shape, seed and resamples draw the same.
    """
    P, n = values.shape
    generator = np.random.default_rng(seed)
    prompts = generator.integers(0, P, (resamples, P, 1))
    samples = generator.integers(0, n, (resamples, P, n))
    drawn = values[prompts, samples]
    known = ~np.isnan(drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = np.where(known, drawn, 0.0).sum((1, 2)) / known.sum((1, 2))
    own = values[~np.isnan(values)]
    return Estimate(float(own.mean()) if len(own) else float("nan"), draws, len(own))


def over_concepts(values: Floats, seed: int, resamples: int) -> Estimate:
    """Mean of `values` [concept], concepts resampled; NaN ones left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Estimate(float("nan"), np.array([]), 0)
    index = np.random.default_rng(seed).integers(0, len(known), (resamples, len(known)))
    return Estimate(float(known.mean()), known[index].mean(1), len(known))
