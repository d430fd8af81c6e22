"""The table of damage in plain words: what got worse, by how much, and how far the repaired model is from its base."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from accord.damage.changes import GROUPS, HARNESS

Rows = dict[tuple[str, str], dict[str, Any]]

# What measures that got worse are called; others by their own names.
_NAMES = {
    ("text", "perplexity"): "perplexity of held-out text",
    ("relations", "true_beats_false"): "other relations, share of right answers that beat the wrong one",
    ("relations", "yes_beats_no"): "other relations, share of right answers with the higher odds of yes",
    ("relations", "validator_accuracy"): "other relations, yes/no accuracy",
    ("relations", "yes_excess"): "other relations, excess of yes or of no",
    ("relations", "yes_no_mass"): "other relations, probability on yes and no",
    ("own task", "generator_auc"): "the task's own generator, AUC",
    ("own task", "mrr_yes"): "the task's own generator, mean reciprocal rank of first tokens",
    ("free text", "distinct_2"): "free text, share of different word pairs",
    ("free text", "repeated_4"): "free text, share of repeated word fours",
    ("free text", "judge_perplexity"): "free text, the judge's perplexity",
}
_MOVED = {
    "on held-out text": ("text", ""),
    "after other relations' sentences": ("relations", "generator_"),
    "after their yes/no questions": ("relations", "validator_"),
}


def word(row: Mapping[Any, Any]) -> str:
    """What a table says of a row: worse, moved (a distance that is not 0 by chance), neutral; nothing if none of these.

    >>> word({"worse_if": "distance", "low": 0.1, "high": 0.3}), word({"worse_if": "higher", "worsened": True})
    ('moved', 'worse')
    """
    if row["worse_if"] == "distance":
        has_interval = row["low"] is not None and row["high"] is not None
        return "moved" if has_interval and (row["low"] > 0 or row["high"] < 0) else ""
    if row["worse_if"] not in ("higher", "lower"):
        return "neutral"
    return "worse" if row["worsened"] else ""


def harms(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that can get worse, of all relations and tasks together.

    Left out: distances, what is neither better nor worse, and rows of single relations and tasks, so many that some get
    worse by chance (unless there are no others).
    """
    main = table[table["group"].isin(GROUPS)]
    rows = table if main.empty else main
    return rows[rows["worse_if"].isin(["higher", "lower"])]


def sentence(table: pd.DataFrame) -> str:
    """What got worse (its interval excludes no change), or that nothing did; then the distance from the base."""
    rows, can = _records(table), _records(harms(table))
    named = [(_name(*key), row) for key, row in can.items()]
    if all(row["low"] != row["low"] for _, row in named):  # nan: no intervals
        worsening = "Without intervals nothing can be said to have got worse."
    elif worse := [f"{text} {_change(row)}" for text, row in named if row["worsened"]]:
        worsening = f"Got worse: {'; '.join(worse)}."
    else:
        worsening = f"Nothing got measurably worse, in {len(named)} measures of {_sizes(rows)}."
    return " ".join(part for part in (worsening, _leaning(rows), _distance(rows)) if part)


def _name(group: str, measure: str) -> str:
    if group == HARNESS:  # by its own names
        return measure
    return _NAMES.get((group, measure), f"{group}, {measure.replace('_', ' ')}")


def _records(table: pd.DataFrame) -> Rows:
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]  # columns have names
    return {(row["group"], row["measure"]): row for row in records}


def _leaning(rows: Rows) -> str:
    """Whether the share of yes moved: neither way is worse by itself, but a yes to everything is no validator."""
    row = rows.get(("relations", "yes_share"))
    if row is None or not (row["low"] > 0 or row["high"] < 0):
        return ""
    base, repaired = f"{row['base']:.0%}", f"{row['repaired']:.0%}"
    return (
        f"Other relations: it now says yes to {repaired} of their questions, of which half are right; "
        f"the base to {base}."
    )


def _change(row: dict[str, Any]) -> str:
    ends = f"95 % {_number(row['low'], row)} to {_number(row['high'], row)}"
    if row["change_is"] == "ratio":
        return f"× {row['change']:.3f} ({ends})"
    return f"{row['base']:.3f} → {row['repaired']:.3f} ({_number(row['change'], row)}, {ends})"


def _number(value: float, row: dict[str, Any]) -> str:
    text = f"{value:.3f}" if row["change_is"] == "ratio" else f"{value:+z.3f}"
    return text.replace("-", "−")


def _sizes(rows: Rows) -> str:
    of = {"texts": ("text", "perplexity"), "facts": ("relations", "yes_beats_no")}
    of |= {"items": ("own task", "generator_auc"), "free texts": ("free text", "distinct_2")}
    sizes = [f"{rows[key]['n']} {what}" for what, key in of.items() if key in rows]
    tasks = {measure.rpartition(": ")[0]: row["n"] for (group, measure), row in rows.items() if group == HARNESS}
    return ", ".join([*sizes, *([f"{sum(tasks.values())} documents of {', '.join(tasks)}"] if tasks else [])])


def _distance(rows: Rows) -> str:
    """KL and unchanged argmax, which say how far the model moved, for better or worse."""
    moved = {
        where: (rows[group, f"{form}kl_base_repaired"]["repaired"], rows[group, f"{form}same_top"]["repaired"])
        for where, (group, form) in _MOVED.items()
        if (group, f"{form}same_top") in rows
    }
    if all(kl == 0 and same == 1 for kl, same in moved.values()):
        return "Every next-token distribution is that of the base."
    distances = (f"{kl:.4f} nats {where} ({same:.1%} of argmaxes unchanged)" for where, (kl, same) in moved.items())
    return f"Distance from the base, KL a position: {', '.join(distances)}."
