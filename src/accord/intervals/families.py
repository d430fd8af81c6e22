"""Simultaneous intervals: of many means at once, with probability .95 none lies outside its interval."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.intervals.estimate import Floats, studentised, transformed

FEWEST_CHANGED = 10
"""Units that must have changed for a mean to have an interval: the distribution of fewer cannot be told."""
_SKEWED = 0.7  # typical skewness of the means × critical value, beyond which Hall's correction does not reach
_BLOCK = 250


def simultaneous(changes: Floats, seed: int, flips: int) -> tuple[Floats, Floats, NDArray[Any]]:
    """Intervals of the mean of every column of `changes` [unit, number], which hold together; NaN where there is none.

    The largest studentised mean over the numbers (max-t: Romano and Wolf 2005, Econometrica 73, 1237) is compared with
    what it is when each unit's whole row keeps or turns its sign at random: exact where before and after could be
    exchanged, and a number whose interval excludes 0 has changed beyond that, whatever the number of numbers. What is
    maximised is the lesser of Student's t and the one corrected for skewness, so that the interval is the union of both
    (see `accord.intervals.estimate.studentised`), and holds for the mean where changes are skewed, too.

    Returns:
        Low and high ends [number], and why there is none [number], "" where there is one.
    """
    n, count = changes.shape
    if not changes.any():
        return np.zeros(count), np.zeros(count), np.full(count, "", dtype=object)
    reason = np.full(count, "", dtype=object)
    changed = (changes != 0).sum(0)
    reason[changed < FEWEST_CHANGED] = f"changed on fewer than {FEWEST_CHANGED} items"
    low, high = np.full(count, np.nan), np.full(count, np.nan)
    some = changes[:, changed >= FEWEST_CHANGED]
    if some.shape[1] and flips:
        mean, error, skew, _ = _moments(some.sum(0), (some**2).sum(0), (some**3).sum(0), n)
        # Of rare ones, too: which of them changed often enough is chance, and the largest of them was looked for.
        quantile = _critical(changes[:, changed > 0], seed, flips)
        if float(np.median(np.abs(skew))) * quantile > _SKEWED:
            reason[changed >= FEWEST_CHANGED] = "too skewed for so few items"
        else:
            low[changed >= FEWEST_CHANGED], high[changed >= FEWEST_CHANGED] = studentised(mean, error, skew, quantile)
    return low, high, reason


def _critical(changes: Floats, seed: int, flips: int) -> float:
    """What the largest statistic stays below in 95 % of the random signs."""
    rng, n = np.random.default_rng(seed), len(changes)
    squares, cubes, largest = (changes**2).sum(0), changes**3, [np.empty(0)]
    for start in range(0, flips, _BLOCK):
        signs = rng.integers(0, 2, (min(_BLOCK, flips - start), n)) * 2.0 - 1
        _, _, _, statistic = _moments(signs @ changes, squares, signs @ cubes, n)
        largest.append(statistic.max(1))
    place = min(math.ceil(0.95 * (flips + 1)), flips) - 1
    return float(np.sort(np.concatenate(largest))[place])


def _moments(first: Floats, second: Floats, third: Floats, n: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, its error and skewness, and the lesser |t| of both kinds (0 if signs differ), from sums of powers."""
    mean = first / n
    variance = np.maximum(second - n * mean**2, 1e-15 * second)  # all of one size and sign: large, not infinite
    error = np.sqrt(variance / (n * (n - 1)))
    skew = (third - 3 * mean * second + 2 * n * mean**3) / variance**1.5
    t = mean / error
    other = transformed(t, skew)
    return mean, error, skew, np.where(t * other > 0, np.minimum(np.abs(t), np.abs(other)), 0.0)
