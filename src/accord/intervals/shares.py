"""Shares: Wilson's interval, of as many trials as the classes leave; of a change, two changes more are added."""

import math

import numpy as np

from accord.intervals.estimate import FEWEST, Classes, Estimate, Floats, parts, too_few, unknown

Z = 1.959963984540054


def wilson(hits: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a share, hits of n trials (Wilson 1927): honest near 0 and 1, never without width.

    >>> [round(end, 3) for end in wilson(0, 10)]
    [0.0, 0.278]
    """
    if n <= 0:
        return 0.0, 1.0
    share = hits / n
    middle = share + Z * Z / (2 * n)
    half = Z * math.sqrt(max(share * (1 - share), 0.0) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def share_estimate(hits: Floats, classes: Classes = ()) -> Estimate:
    """Share of `hits`, 0 or 1 [unit], class sizes being fixed.

    Wilson's interval with as many trials as would give the variance left within classes: the effective sample size of
    a stratified sample (Korn and Graubard 1998, Survey Methodology 24, 193). Shares of classes are taken as (k + 1) /
    (n + 2) for it, so that a class without a hit does not count as one without variance.

    >>> e = share_estimate(np.array([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.75, 0.41, 0.93)
    """
    n = len(hits)
    if not n:
        return unknown("there are none of these")
    value = float(hits.mean())
    if n < FEWEST:
        return Estimate(value, reason=too_few(n, "item"))
    own = [(len(hits[part]) / n, (float(hits[part].sum()) + 1) / (len(hits[part]) + 2)) for part in parts(n, classes)]
    whole, within = sum(weight * p for weight, p in own), sum(weight * p * (1 - p) for weight, p in own)
    trials = n * whole * (1 - whole) / within
    return Estimate(value, *wilson(value * trials, trials))


def share_of_many(hits: Floats, counts: Floats) -> Estimate:
    """Σ hits / Σ counts [unit], a share of things that belong to units, such as tokens to texts.

    Wilson's with as many trials as would give the variance between units; with one trial a unit where none differ.

    >>> e = share_of_many(np.array([3.0, 4.0, 2.0, 5.0, 4.0]), np.full(5, 5.0))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.72, 0.52, 0.86)
    """
    n, total = len(hits), float(counts.sum())
    if not total:
        return unknown("there are none of these")
    value = float(hits.sum()) / total
    if n < FEWEST:
        return Estimate(value, reason=too_few(n))
    influence = (hits - value * counts) * n / total
    variance = float(influence @ influence) / n**2
    trials = value * (1 - value) / variance if variance > 1e-12 else float(n)
    return Estimate(value, *wilson(value * trials, trials), influence=influence)


def share_change(before: Floats, after: Floats, classes: Classes = ()) -> Estimate:
    """Change of a share, the same units before and after [unit], each in [0, 1]; see `plus_four`.

    >>> e = share_change(np.zeros(8), np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0]))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.62, 0.08, 0.92)
    """
    if len(before) < FEWEST:
        value = float((after - before).mean()) if len(before) else math.nan
        return Estimate(value, reason=too_few(len(before), "item"))
    return plus_four(after - before, classes)


def plus_four(change: Floats, classes: Classes = ()) -> Estimate:
    """Mean of paired changes in [−1, 1]: one that went up and one that went down are added, then Wald's interval.

    Bonett and Price (2012, J. Educ. Behav. Statist. 37, 479), after Agresti and Min (2005); the two are shared out
    among the classes. Of a hundred units or more it excludes 0 from six changes on, all one way, as the exact McNemar
    test does; of fewer, already from four or five.

    >>> [bool(plus_four((np.arange(100) < changed) * 1.0).low > 0) for changed in (5, 6)]
    [False, True]
    """
    n, pieces = len(change), parts(len(change), classes)
    extra = 2 / len(pieces)  # added to each class, half of it +1 and half −1
    middle = variance = 0.0
    for part in pieces:
        own = change[part]
        m, weight = len(own) + extra, len(own) / n
        mean = float(own.sum()) / m
        middle += weight * mean
        variance += weight**2 * ((float(own @ own) + extra) / m - mean**2) / m
    value, half = float(np.mean(change)), Z * math.sqrt(variance)
    return Estimate(value, max(min(value, middle - half), -1.0), min(max(value, middle + half), 1.0))
