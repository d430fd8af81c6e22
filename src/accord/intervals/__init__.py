"""95 % intervals that cover: one file a kind of number, all in closed form but for families of concepts.

How often each covers is measured by `scripts/coverage.py`; the table is in docs/intervals.md.
"""

from accord.intervals.areas import auc, auc_estimate
from accord.intervals.correlations import (
    concordance,
    concordance_estimate,
    pearson,
    pearson_estimate,
    pearson_matrix,
    spearman,
    spearman_estimate,
)
from accord.intervals.estimate import Estimate, Floats, Interval, brief, difference, unknown
from accord.intervals.means import mean_change, mean_estimate, ratio_change, ratio_difference, ratio_estimate
from accord.intervals.shares import share_change, share_estimate, share_of_many, wilson

__all__ = [
    "Estimate",
    "Floats",
    "Interval",
    "auc",
    "auc_estimate",
    "brief",
    "concordance",
    "concordance_estimate",
    "difference",
    "mean_change",
    "mean_estimate",
    "pearson",
    "pearson_estimate",
    "pearson_matrix",
    "ratio_change",
    "ratio_difference",
    "ratio_estimate",
    "share_change",
    "share_estimate",
    "share_of_many",
    "spearman",
    "spearman_estimate",
    "unknown",
    "wilson",
]
