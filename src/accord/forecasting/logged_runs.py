"""What repairs closed of the gap: the logged runs, the line through them, and how well it foretells one.

data/logged_runs.tsv has a row for each model, task and kind of repair whose closure was found, with the one number that
foretells it: the readout's held-out r in a forecast. The same made again is not another row, as rows must not depend on
each other.
"""

import math
from functools import cache
from pathlib import Path

import pandas as pd
from scipy.special import stdtrit

from accord.arguments import checked
from accord.errors import AccordError, nearest
from accord.intervals import Estimate, Floats, unknown
from accord.intervals.estimate import FEWEST

_TABLE = Path(__file__).parent / "data" / "logged_runs.tsv"
_ON_A_LINE = 3  # runs that a line must go through to say anything
COLUMNS = ("repair", "model", "task", "readout_r", "predicted", "low", "high", "found", "source")


@cache
def _read() -> pd.DataFrame:
    return pd.read_csv(_TABLE, sep="\t", comment="#")


def logged() -> pd.DataFrame:
    """The logged runs, a row each.

    Columns: model, task, repair (its kind), train_items and test_items, readout_r (of the forecast from the training
    items), r_before and r_after of l_G and l_V on test items, closure = (r_after − r_before) / (1 − r_before), source
    (where it is told).
    """
    return _read().copy()


@checked
def predict(readout_r: float, repair: str = "readout", runs: pd.DataFrame | None = None) -> Estimate:
    """The closure of a repair that is to be made, foretold by the readout's held-out r.

    Ordinary least squares of closure on r over the logged runs of this kind of repair, and the interval of a single new
    run: ŷ ± t s √(1 + 1/n + (r − mean)² / Σ (r_i − mean)²), t being Student's 97.5 % quantile with n − 2 degrees of
    freedom (Draper and Smith 1998, Applied Regression Analysis, 1.4). No closure, and so no end, is above 1.

    Args:
        repair: a kind of repair that was logged.
        runs: in place of `logged`; columns repair, readout_r and closure.

    Returns:
        NaN of fewer than three runs, or of runs with one r alone, and no interval of fewer than five; `reason` says so.

    Raises:
        AccordError: r is no correlation, or no run of this repair was logged.

    >>> line = pd.DataFrame({"repair": "readout", "readout_r": [0.2, 0.4, 0.6], "closure": [0.3, 0.5, 0.7]})
    >>> estimate = predict(0.5, runs=line)
    >>> round(estimate.value, 3), estimate.reason
    (0.6, '3 logged runs: an interval takes 5')
    """
    if not -1 <= readout_r <= 1:
        raise AccordError("a closure is foretold by a correlation", got=readout_r, wanted="a number from −1 to 1")
    table = _read() if runs is None else runs
    kinds = sorted(set(table["repair"]))
    if repair not in kinds:
        raise AccordError("no run of this repair is logged", got=repair, wanted=nearest(repair, kinds))
    own = table[table["repair"] == repair]
    return _line(own["readout_r"].to_numpy(dtype=float), own["closure"].to_numpy(dtype=float), readout_r)


def record(repair: str = "readout", runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each logged run of a repair as all others foretell it, and what was found: rows of `COLUMNS`."""
    table = _read() if runs is None else runs
    own = table[table["repair"] == repair].reset_index(drop=True)
    rows = []
    for i, run in enumerate(own.to_dict("records")):
        others = own.drop(index=i)
        x, y = (others[name].to_numpy(dtype=float) for name in ("readout_r", "closure"))
        told = _line(x, y, float(run["readout_r"]))
        rows.append({**run, "predicted": told.value, "low": told.low, "high": told.high, "found": run["closure"]})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _line(x: Floats, y: Floats, at: float) -> Estimate:
    n = len(x)
    if n < _ON_A_LINE:
        return unknown(f"{n} logged run{'' if n == 1 else 's'}: a line takes {_ON_A_LINE}, an interval {FEWEST}")
    mean, spread = float(x.mean()), float(((x - x.mean()) ** 2).sum())
    if spread < 1e-12:
        return unknown("all logged runs have the same r")
    slope = float((x - mean) @ (y - y.mean())) / spread
    value = float(y.mean()) + slope * (at - mean)
    if n < FEWEST:
        return Estimate(min(value, 1.0), reason=f"{n} logged runs: an interval takes {FEWEST}")
    left = y - y.mean() - slope * (x - mean)
    error = math.sqrt(float(left @ left) / (n - 2) * (1 + 1 / n + (at - mean) ** 2 / spread))
    half = float(stdtrit(n - 2, 0.975)) * error
    return Estimate(min(value, 1.0), min(value - half, 1.0), min(value + half, 1.0))
