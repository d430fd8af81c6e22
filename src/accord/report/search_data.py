"""What a search left in its run folder: what was sought, over which ranges, and what every trial gave."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.errors import AccordError
from accord.report.data import plain
from accord.report.wording import number

SEARCH, TABLE = "search.json", "trials.csv"
_NEEDS = ("objective", "direction", "sampler", "ranges")
_AGAIN = "run accord search again"


@dataclass(frozen=True)
class Searched:
    """A range, and the value of every trial in it: of an interval as numbers, of choices as text."""

    name: str
    low: float
    high: float
    log: bool
    whole: bool
    choices: Sequence[str]  # empty for an interval

    @property
    def words(self) -> str:
        """What it spans, as the page says it."""
        if self.choices:
            return ", ".join(self.choices)
        kind = ", log" if self.log else ""
        return f"{self.low:g} to {self.high:g}{kind}"


@dataclass(frozen=True)
class Search:
    """A search and its finished trials: columns `trial`, `value`, `failed` (NaN where it did not), and each range."""

    objective: str
    direction: str
    sampler: str
    ranges: list[Searched]
    trials: pd.DataFrame

    @property
    def done(self) -> pd.DataFrame:
        """The trials with a value, the best first."""
        known = self.trials[self.trials["value"].notna()]
        return known.sort_values(["value", "trial"], ascending=[self.direction == "minimize", True])

    @property
    def failed(self) -> pd.DataFrame:
        """The trials that gave none."""
        return self.trials[self.trials["value"].isna()]


def holds_search(run: Path) -> bool:
    """Whether this is the run folder of a search with trials."""
    return (run / SEARCH).is_file() and (run / TABLE).is_file()


def read_search(run: Path) -> Search:
    """Read and check what a search wrote; says which file lacks what."""
    told = _read_object(run / SEARCH)
    missing = [name for name in _NEEDS if name not in told]
    if missing:
        raise AccordError("This file lacks a key.", where=run / SEARCH, wanted=", ".join(missing), fix=_AGAIN)
    ranges = [_range(one) for one in told["ranges"]]
    objective = str(told["objective"])
    try:
        chosen = {one.name: str for one in ranges if one.choices}  # among which "NA" and "" are words like others
        empty = {objective: [""], "failed": [""]}
        table = pd.read_csv(run / TABLE, dtype=chosen, keep_default_na=False, na_values=empty)
    except ValueError as error:  # what pandas raises for a table that is none
        raise AccordError("This table cannot be read.", where=run / TABLE, got=error, fix=_AGAIN) from error
    absent = [name for name in ("trial", objective, "failed", *(one.name for one in ranges)) if name not in table]
    if absent:
        raise AccordError("A table lacks a column.", where=run / TABLE, wanted=", ".join(absent), fix=_AGAIN)
    table = table.rename(columns={objective: "value"})
    return Search(plain(objective), str(told["direction"]), str(told["sampler"]), ranges, table)


def result(value: float) -> str:
    """An objective's value: in more digits than other numbers have, since trials differ by little."""
    return number(value, 4) if abs(value) < 10 else f"{value:,.5g}"


def _range(told: Mapping[str, Any]) -> Searched:
    if "choices" in told:
        choices = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in told["choices"]]
        return Searched(told["name"], 0, len(choices) - 1, False, False, choices)
    low, high = told["low"], told["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    return Searched(told["name"], float(low), float(high), bool(told.get("log", False)), whole, [])


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AccordError("This is not JSON.", where=path, got=error, fix=_AGAIN) from error
    if not isinstance(found, dict):
        raise AccordError("This must be an object.", where=path, got=type(found).__name__, wanted="{…}", fix=_AGAIN)
    return found
