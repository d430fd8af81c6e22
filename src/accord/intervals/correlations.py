"""Pearson's and Spearman's correlation and the concordance of pairs, with intervals on Fisher's scale."""

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

_LINE = 1e-12  # 1 − |r| below which all units lie on one line, but for rounding
_PAIRWISE = 256  # units that are compared pair by pair


def pearson(x: Floats, y: Floats) -> Floats:
    """Pearson's r along the last axis; nan where either side is constant or fewer than 3 units are there.

    >>> round(float(pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 4.0]))), 2)
    0.65
    """
    shape = np.broadcast_shapes(x.shape, y.shape)
    if shape[-1] < 3:
        return np.full(shape[:-1], np.nan)
    x, y = _standard(x), _standard(y)
    return np.asarray(np.clip((x * y).mean(-1), -1.0, 1.0))


def pearson_matrix(x: Floats, y: Floats) -> Floats:
    """Pearson's r of every row of x [i, unit] with every row of y [j, unit]: [i, j]; nan as in `pearson`.

    >>> pearson_matrix(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), np.array([[2.0, 4.0, 6.0]])).round(2).tolist()
    [[1.0], [-1.0]]
    """
    n = x.shape[-1]
    if n < 3:
        return np.full((len(x), len(y)), np.nan)
    return np.asarray(np.clip(_standard(x) @ _standard(y).T / n, -1.0, 1.0))


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rho along the last axis: Pearson's r of mid-ranks.

    >>> round(float(spearman(np.array([1.0, 2.0, 30.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))), 3)
    0.8
    """
    from scipy.stats import rankdata  # takes a second to import: who only reads numbers must not wait for it

    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def _standard(x: Floats) -> Floats:
    """Mean 0 and standard deviation 1 along the last axis; nan where all are the same but for rounding."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.where(constant(x)[..., None], np.nan, x / np.abs(x).max(-1, keepdims=True))  # squares stay in range
        x = x - x.mean(-1, keepdims=True)
        return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True)))


def pearson_estimate(x: Floats, y: Floats, classes: Classes = ()) -> Estimate:
    """Pearson's r of units [unit] with its interval.

    Fisher's z with the jackknife's variance within classes, t, corrected for skewness: the normal theory's 1/(n − 3)
    covers .5 to .8 where tails are heavy and r is high.

    >>> e = pearson_estimate(np.arange(8.0), np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0, 7.0, 6.0]))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.93, 0.83, 0.96)
    """
    r = float(pearson(x, y))
    if refused := _refused(r, x, y):
        return refused
    n, x, y = len(x), _standard(x), _standard(y)
    grown = n / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of all units but one, whose deviation is n/(n − 1) times as far from the mean of the others.
        left_out = (n * r - grown * x * y) / np.sqrt((n - grown * x * x) * (n - grown * y * y))
        z = np.arctanh(left_out)
    if not np.isfinite(z).all():
        return Estimate(r, reason="without one of the items there is no correlation, or a perfect one")
    return _on_fishers_scale(r, -(n - 1) * z, classes)


def spearman_estimate(x: Floats, y: Floats, classes: Classes = ()) -> Estimate:
    """Spearman's rho of units [unit] with its interval.

    Fisher's z with the variance of rho's influence function within classes, ties being halved (Croux and Dehon 2010,
    Stat. Methods Appl. 19, 497), t, corrected for skewness. Bonett and Wright's variance (2000), which needs no
    classes and normal scores, covers .81 to .98.

    >>> e = spearman_estimate(np.arange(8.0), np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0, 7.0, 6.0]))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.93, 0.69, 0.99)
    """
    from scipy.stats import rankdata

    rho = float(spearman(x, y))
    if refused := _refused(rho, x, y):
        return refused
    n = len(x)
    u, v = (rankdata(side) / n - (n + 1) / (2 * n) for side in (x, y))  # mid distribution functions − 1/2
    var_u, var_v = float(u @ u) / n, float(v @ v) / n
    shared = u * v + _pulled(x, v) + _pulled(y, u)
    own = (u * u + 2 * _pulled(x, u)) / var_u + (v * v + 2 * _pulled(y, v)) / var_v
    moved = shared / math.sqrt(var_u * var_v) - rho / 2 * own
    return _on_fishers_scale(rho, moved / (1 - rho * rho), classes)


def concordance(x: Floats, y: Floats) -> Floats:
    """Share C / (C + D) of the pairs of units [unit] that x and y order alike, those with a tie in either left out.

    (1 + γ) / 2, γ being Goodman and Kruskal's (1954, J. Am. Statist. Assoc. 49, 732); nan where every pair is tied.

    >>> float(concordance(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])))
    0.6666666666666666
    """
    alike, all_ = (own.sum() for own in _ordered_pairs(x, y))
    return np.asarray(alike / all_ if all_ else math.nan)


def concordance_estimate(x: Floats, y: Floats, classes: Classes = ()) -> Estimate:
    """Concordance of units [unit] with its interval.

    Fisher's z of γ = 2 C / (C + D) − 1 with the variance of its influence function within classes (Hoeffding's
    projection of both counts), t, corrected for skewness.

    >>> e = concordance_estimate(np.arange(8.0), np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0, 7.0, 6.0]))
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.89, 0.72, 0.98)
    """
    alike, all_ = _ordered_pairs(x, y)
    if not (total := all_.sum()):
        return unknown("no pair is ordered by both scores")
    share, n = float(alike.sum() / total), len(x)
    if n < FEWEST:
        return Estimate(share, reason=too_few(n, "item"))
    gamma = 2 * share - 1
    if 1 - abs(gamma) < _LINE:
        return Estimate(share, reason="all pairs are ordered alike, or none, which shows no error")
    moved = 2 * (2 * alike - all_ - gamma * all_) / all_.mean()
    on_scale = _on_fishers_scale(gamma, moved / (1 - gamma * gamma), classes)
    return Estimate(share, (1 + on_scale.low) / 2, (1 + on_scale.high) / 2, influence=on_scale.influence)


def _ordered_pairs(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Of each unit the pairs that both order alike, and those that both order at all [unit].

    Few units are compared pair by pair; many are counted as they are merged into order, in n log² n steps.
    """
    if len(x) <= _PAIRWISE:
        signs = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
        return (signs > 0).sum(-1, dtype=float), (signs != 0).sum(-1, dtype=float)
    alike = _below_in_both(x, y) + _below_in_both(-x, -y)
    return alike, alike + _below_in_both(x, -y) + _below_in_both(-x, y)


def _below_in_both(x: Floats, y: Floats) -> Floats:
    """Of each unit how many others are below it in both [unit]."""
    n = len(x)
    order = np.lexsort((-y, x))  # of those with one x none comes before another with a larger y
    y, count, place = y[order], np.zeros(n), np.arange(n)
    size = 1
    while size < n:  # blocks of twice the size: what their right halves have below them in their left halves
        block, right = place // (2 * size), place // size % 2
        by = np.lexsort((1 - right, y, block))  # equal ones of the right half first, as they are not below
        left = 1 - right[by]
        before = left.cumsum() - left
        first = np.searchsorted(block[by], block[by])  # where the block begins
        own = before - before[first]
        count[by] += np.where(left == 0, own, 0)
        size *= 2
    found = np.empty(n)
    found[order] = count
    return found


def _pulled(x: Floats, weights: Floats) -> Floats:
    """Mean over all units of `weights` · [its x is above that of unit i], equal ones half: by unit i."""
    _, place = np.unique(x, return_inverse=True)
    total = np.bincount(place, weights)
    above = total[::-1].cumsum()[::-1] - total / 2
    return np.asarray(above[place] / len(x))


def _refused(r: float, x: Floats, y: Floats) -> Estimate | None:
    """The estimate where there is no correlation, or no interval of it; else None."""
    n = len(x)
    if math.isnan(r):
        few = "fewer than 3 items" if n < 3 else "the scores are all the same"
        return unknown(few)
    if n < FEWEST:
        return Estimate(r, reason=too_few(n, "item"))
    return Estimate(r, reason="all items lie on one line, which shows no error") if 1 - abs(r) < _LINE else None


def _on_fishers_scale(r: float, influence: Floats, classes: Classes) -> Estimate:
    error, skew = spread(influence, classes)
    low, high = studentised(math.atanh(r), error, skew, critical(len(influence), classes))
    return Estimate(r, math.tanh(float(low)), math.tanh(float(high)), influence=influence)
