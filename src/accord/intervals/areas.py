"""Area under the ROC curve, with an interval that has a width at 0 and at 1 too."""

import math

import numpy as np
from scipy.special import stdtrit

from accord.intervals.estimate import FEWEST, Estimate, Floats, too_few, unknown


def auc(values: Floats, n_yes: int) -> Floats:
    """Area under the ROC curve of `values` [..., unit], the first `n_yes` units being positive (Mann-Whitney).

    >>> float(auc(np.array([3.0, 1.0, 2.0, 0.0]), n_yes=2))
    0.75
    """
    from scipy.stats import rankdata  # takes a second to import: who only reads numbers must not wait for it

    n_no = values.shape[-1] - n_yes
    if n_yes == 0 or n_no == 0:
        return np.full(values.shape[:-1], np.nan)
    above = rankdata(values, axis=-1)[..., :n_yes].sum(-1) - n_yes * (n_yes + 1) / 2
    return np.asarray(above / (n_yes * n_no))


def auc_estimate(values: Floats, n_yes: int, *, pairs: bool = False) -> Estimate:
    """AUC of `values` [unit], the first `n_yes` being positive, with its interval.

    Newcombe's (2006, Statist. Med. 25, 559, method 5): a score interval, as Wilson's is for shares, by the variance
    that the AUC would have at each end, and so never without width. That variance is of equally shaped classes; it is
    scaled by what DeLong et al. (1988, Biometrics 44, 837) estimate from the placements over what it says itself, less
    so where fewer pairs are in the wrong order to tell, and the quantile is Student's.

    Args:
        pairs: the i-th positive and the i-th negative belong to one unit, such as a fact asked with a right and a wrong
            answer: their placements move together (Obuchowski 1997). `influence` then is by such units.

    >>> e = auc_estimate(np.array([3.0, 2.0, 2.0, 1.0, 4.0, 0.0, 1.0, 2.0, 0.0, 1.0]), n_yes=5)
    >>> round(e.value, 2), round(e.low, 2), round(e.high, 2)
    (0.88, 0.46, 0.98)
    """
    from scipy.optimize import brentq
    from scipy.stats import rankdata

    m, n = n_yes, len(values) - n_yes
    if not (m and n):
        return unknown("all items are of one gold class")
    area = float(auc(values, m))
    ranks = rankdata(values)
    # Share of the other class that each is above (a positive) or below (a negative).
    right = (ranks[:m] - rankdata(values[:m])) / n - area
    wrong = 1 - (ranks[m:] - rankdata(values[m:])) / m - area
    if pairs:
        influence = right + wrong
        variance = float(influence.var(ddof=1)) / m if m > 1 else math.nan
    else:
        influence = np.concatenate([right * (m + n) / m, wrong * (m + n) / n])
        variance = sum(float(own.var(ddof=1)) / len(own) if len(own) > 1 else math.nan for own in (right, wrong))
    if min(m, n) < FEWEST:
        return Estimate(area, reason=f"{too_few(min(m, n), 'item')} of either gold class")
    assumed = _variance(area, m, n)
    scale = variance / assumed if variance > 0 and assumed > 0 else 1.0
    misplaced = min(area, 1 - area) * min(m, n)
    scale = max(scale, scale ** (misplaced / (misplaced + 1)))
    quantile = float(stdtrit(m - 1 if pairs else m + n - 2, 0.975))

    def outside(end: float) -> float:
        return float((area - end) ** 2 - quantile**2 * scale * _variance(end, m, n))

    low = brentq(outside, 0.0, area - 1e-9) if area > 1e-9 else 0.0
    high = brentq(outside, area + 1e-9, 1.0) if area < 1 - 1e-9 else 1.0
    return Estimate(area, float(low), float(high), influence=influence)


def _variance(area: float, m: int, n: int) -> float:
    """Of an AUC of m and n units whose scores fall off exponentially (Hanley and McNeil 1982), classes evened out."""
    k = (m + n) / 2 - 1
    return area * (1 - area) * (1 + k * (1 - area) / (2 - area) + k * area / (1 + area)) / (m * n)
