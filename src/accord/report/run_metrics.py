"""Every metric of every stage of a run at full precision, in one table."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from accord.study.run_folder import Run

COLUMNS = ("stage", "metric", "value", "low", "high", "level", "n", "reason")
_LEVEL = 0.95  # of every interval of accord


def run_metrics(run: Run) -> pd.DataFrame:
    """A row a metric of a stage, with the columns `COLUMNS`; what is not known is missing.

    The metrics of a result are its `metrics`: name -> a number, or a table of its value, low and high, and where there
    are any its n and the reason why it has no interval. NAME_low and NAME_high beside a number NAME are its interval.
    """
    rows = [{"stage": name, **row} for name in run for row in _rows(getattr(run[name], "metrics", {}))]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(n=table["n"].astype("float").convert_dtypes())  # whole numbers, where some are missing too


def _rows(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ends = {f"{name}_{end}" for name in metrics for end in ("low", "high")}
    for name, entry in metrics.items():
        if name in ends:
            continue
        if not isinstance(entry, Mapping):
            if not _is_number(entry):  # a name, or what is not known
                continue
            entry = {"value": entry, "low": metrics.get(f"{name}_low"), "high": metrics.get(f"{name}_high")}
        row = {key: entry[key] for key in COLUMNS if entry.get(key) is not None}
        yield {"metric": name, **({"level": _LEVEL} if "low" in row else {}), **row}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
