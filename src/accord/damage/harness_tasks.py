"""Tasks of lm-evaluation-harness as rows of the table of damage: both models' numbers, paired by document."""

import math

import numpy as np
import pandas as pd

from accord.damage.changes import HARNESS, Changes, Worse
from accord.intervals import Estimate, mean_change, ratio_change, ratio_difference, share_change
from accord.intervals.estimate import unchanged

# Worse is what is further from better; of a metric without a better side, neither is.
_WORSE: dict[str, Worse] = {"higher": "lower", "lower": "higher"}
_MEANS, _PERPLEXITIES = ("mean", "nanmean"), ("perplexity", "weighted_perplexity")
_WHOLE = "lm-evaluation-harness gives one number of all documents together"


def task_rows(changes: Changes, documents: pd.DataFrame) -> None:
    """A row for each metric of what was asked for, and one for each of its tasks where they are several.

    The tasks of a group count by their documents.
    """
    for _, asked in documents.groupby("asked", sort=False):
        for (metric, *_), rows in asked.groupby(["metric", "better", "aggregation"], sort=False):
            name = f"{rows['asked'].iloc[0]}: {metric}"
            _add(changes, HARNESS, name, rows)
            tasks = rows.groupby("task", sort=False)
            for task, own in tasks if tasks.ngroups > 1 else ():
                _add(changes, f"{HARNESS}: {task}", str(metric), own)


def _add(changes: Changes, group: str, name: str, rows: pd.DataFrame) -> None:
    """A metric of some documents as it is aggregated: their mean, a perplexity of units, or one number of all."""
    worse = _WORSE.get(rows["better"].iloc[0], "neither")
    before, after, weights = (rows[side].to_numpy(float) for side in ("value_base", "value_repaired", "weight_base"))
    how, n = rows["aggregation"].iloc[0], len(rows)
    same, each_has_one = np.array_equal(before, after), bool(np.isfinite([before, after]).all())
    if how in _MEANS and each_has_one:
        shares = np.isin([before, after], (0.0, 1.0)).all()
        change = unchanged() if same else (share_change if shares else mean_change)(before, after)
        changes.add(group, name, (before.mean(), after.mean()), change, n, worse)
    elif how in _PERPLEXITIES and each_has_one:
        base, repaired = (math.exp(-values.sum() / weights.sum()) for values in (before, after))
        changes.add(group, name, (base, repaired), ratio_change(-before, -after, weights), n, worse, ratio=True)
    elif how == "bits_per_byte" and each_has_one:
        old, new = ((-values / math.log(2), weights) for values in (before, after))
        change = unchanged() if same else ratio_difference(old, new)
        changes.add(group, name, (old[0].sum() / weights.sum(), new[0].sum() / weights.sum()), change, n, worse)
    elif rows["task"].nunique() == 1:  # of several, each has a row of its own
        base, repaired = (float(rows[f"reported_{side}"].iloc[0]) for side in ("base", "repaired"))
        changes.add(group, name, (base, repaired), Estimate(repaired - base, reason=_WHOLE), n, worse)
