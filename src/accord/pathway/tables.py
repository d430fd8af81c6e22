"""The words in the tables of a pathway, and how a number is looked up in them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

BASE, REPAIRED = "base", "repaired"
INTO_BASE, INTO_REPAIRED = "repaired into base", "base into repaired"
LAST, ALL = "last", "all"

_PATCHED = {"positions": LAST, "what": "states"}
COLUMNS: Mapping[str, tuple[str, dict[str, str]]] = {
    "AUC before": ("curves", {"model": BASE, "metric": "validator_auc"}),
    "AUC after": ("curves", {"model": REPAIRED, "metric": "validator_auc"}),
    "r before": ("curves", {"model": BASE, "metric": "final_pearson_all"}),
    "r after": ("curves", {"model": REPAIRED, "metric": "final_pearson_all"}),
    "CKA validator": ("cka", {"form": "validator"}),
    "CKA generator": ("cka", {"form": "generator"}),
    "read before": ("readout", {"model": BASE, "metric": "pearson_all"}),
    "read after": ("readout", {"model": REPAIRED, "metric": "pearson_all"}),
    "into base": ("patching", {"direction": INTO_BASE, **_PATCHED}),
    "random": ("patching", {"direction": INTO_BASE, "positions": LAST, "what": "random"}),
    "into repaired": ("patching", {"direction": INTO_REPAIRED, **_PATCHED}),
}
"""Title of a column -> the table it is from, and which of its rows."""


def value_of(table: pd.DataFrame, keys: Mapping[str, Any], column: str = "value") -> float | None:
    """A column of the one row with these keys; None where it is undefined or not there.

    >>> table = pd.DataFrame({"layer": [0, 1], "value": [0.2, 0.7]})
    >>> value_of(table, {"layer": 1}), value_of(table, {"layer": 2})
    (0.7, None)
    """
    rows = table
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    return None if rows.empty or pd.isna(rows[column].iloc[0]) else float(rows[column].iloc[0])
