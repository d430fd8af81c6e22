"""Two models on the same items: what changed, with paired intervals, and how much of the gap is closed."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.metrics import PAIRED, measures_of
from accord.gap.sample import sample
from accord.intervals import Estimate, Interval, difference, unknown
from accord.intervals.estimate import Classes

ITEM = ["generator_prompt", "validator_prompt", "answer", "gold"]
"""Columns of a score table that an item is known by."""
CORRELATIONS = tuple(name for name in PAIRED if name.startswith(("pearson", "spearman")))


@dataclass(frozen=True)
class Change:
    """A measure before and after; each with its 95 % interval over items, `change` of paired items.

    >>> asked = {"generator_prompt": list("abcd"), "validator_prompt": "?", "answer": "x", "gold": [True, False] * 2}
    >>> scored = {"generator_logodds": [2.0, -1.0, 1.0, 0.5], "validator_logodds": [1.0, -2.0, -0.5, -1.0]}
    >>> before = pd.DataFrame({**asked, **scored, "generator_rank": 1, "yes_no_mass": 0.9})
    >>> found = compare(before, before.assign(validator_logodds=[1.0, -2.0, 0.5, -1.0]))["validator_accuracy"]
    >>> found.before["value"], found.after["value"], found.change["value"]
    (0.75, 1.0, 0.25)

    `closure`: for correlations r, the share of the gap that is closed, (r_after − r_before) / (1 − r_before): 1 is
    perfect agreement, 0 none gained, below 0 lost. Its interval is that of the difference of log(1 − r).
    """

    before: Interval
    after: Interval
    change: Interval
    closure: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain tables."""
        return asdict(self)


@checked
def compare(before: pd.DataFrame, after: pd.DataFrame, *, seed: int = 0, resamples: int = 1000) -> dict[str, Change]:
    """Every measure of `accord.gap.metrics.measures_of` in two score tables of the same items.

    >>> asked = {"generator_prompt": list("abcd"), "validator_prompt": "?", "answer": "x", "gold": [True, False] * 2}
    >>> scored = {"generator_logodds": [2.0, -1.0, 1.0, 0.5], "validator_logodds": [1.0, -2.0, -0.5, -1.0]}
    >>> before = pd.DataFrame({**asked, **scored, "generator_rank": 1, "yes_no_mass": 0.9})
    >>> after = before.assign(validator_logodds=before["generator_logodds"] - 0.5)  # as if a repair had closed the gap
    >>> round(compare(before, after)["pearson_all"].closure["value"], 3)
    1.0

    Args:
        before, after: see `accord.gap.measure_gap`.
        seed, resamples: as for `accord.gap.summarize`.

    Raises:
        AccordError: the tables are not of the same items in the same order.
    """
    same_items(before, after)
    return _changes(before, after, resamples)


def _changes(before: pd.DataFrame, after: pd.DataFrame, resamples: int = 1) -> dict[str, Change]:
    """See `compare`; the rows belong together."""
    old, new = sample(before), sample(after)
    changes = {}
    for name, measure in measures_of(old).items():
        if resamples:
            sides, change = (measure.estimate(old), measure.estimate(new)), measure.change(old, new)
        else:
            sides = Estimate(float(measure(old))), Estimate(float(measure(new)))
            change = Estimate(sides[1].value - sides[0].value)
        classes = old.classes if name.endswith("_all") else ()
        closure = _closure(*sides, change, classes).interval() if name in CORRELATIONS else None
        changes[name] = Change(sides[0].interval(), sides[1].interval(), change.interval(), closure)
    return changes


def _closure(before: Estimate, after: Estimate, change: Estimate, classes: Classes) -> Estimate:
    """Share of (1 − r) that is closed; nan where nothing was open."""
    if not before.value < 1 - 1e-9:
        return unknown(before.reason or "nothing was open: the forms agreed perfectly before")
    value = change.value / (1 - before.value)
    if change.low == change.high == 0:
        return Estimate(0.0, 0.0, 0.0)
    if not (before.known and after.known):
        return Estimate(value, reason=before.reason or after.reason)
    left = difference(_open(before), _open(after), classes)
    return Estimate(value, -math.expm1(left.high), -math.expm1(left.low))


def _open(r: Estimate) -> Estimate:
    """log(1 − r), which falls as r grows."""
    return Estimate(math.log1p(-r.value), math.log1p(-r.high), math.log1p(-r.low), influence=-r.influence)


def in_common(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the items that two score tables have in common, in the order of the first.

    Items are known by both prompts, the answer and gold; where none is the same by these, as when they are worded
    otherwise, by their fields in the data in place of the prompts. A table that has an item twice has none in common.
    """
    for columns in (ITEM, _fields(before)):
        if columns and all(column in table for table in (before, after) for column in columns):
            first, second = (pd.MultiIndex.from_frame(table[columns]) for table in (before, after))
            if first.is_unique and second.is_unique and len(first.intersection(second)):
                place = second.get_indexer(first)
                return before[place >= 0], after.iloc[place[place >= 0]]
    return before[:0], after[:0]


def _fields(scores: pd.DataFrame) -> list[str]:
    """The columns of the data row, which stand before `group`, with the answer and gold."""
    columns = list(scores.columns)
    fields = columns[: columns.index("group")] if "group" in columns else []
    return [*fields, "answer", "gold"] if fields else []


def paired_changes(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Interval]:
    """`change` of every measure as in `compare`, of the same items in whatever order and wording; else empty."""
    first, second = in_common(before, after)
    counted = {table.attrs.get("answer_score", "first") for table in (before, after)}
    if not len(first) == len(before) == len(after) or not len(first) or len(counted) > 1:
        return {}
    return {name: change.change for name, change in _changes(first, second).items()}


def same_items(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """AccordError unless two score tables are of the same items in the same order."""
    for column in ITEM:
        if column not in before or column not in after:
            raise AccordError("a column is missing from a score table", wanted=column)
    if len(before) != len(after) or not before[ITEM].reset_index(drop=True).equals(after[ITEM].reset_index(drop=True)):
        raise AccordError(
            "these score tables are not of the same items",
            got=f"{len(before)} and {len(after)} items",
            wanted="the same prompts and answers in the same order",
            fix="measure both models on the same task",
        )
    counted = [table.attrs.get("answer_score", "first") for table in (before, after)]
    if counted[0] != counted[1]:
        raise AccordError(
            "these score tables score the generator's answers in two ways",
            got=counted[1],
            wanted=counted[0],
            fix=f'measure both with answer_score = "{counted[0]}"',
        )
