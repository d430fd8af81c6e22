"""What a repair cost, over its seeds, and what got worse of it, in words for the page."""

import math
from collections.abc import Sequence

import pandas as pd

from accord.damage.changes import RELATIONS, TEXT
from accord.damage.result import Damage
from accord.damage.terms import DAMAGE_GROUPS, damage_term, in_sentence
from accord.damage.wording import harms as harms_in
from accord.report.metric import UNKNOWN, Metric
from accord.report.seeds import pooled
from accord.report.wording import measured, number

_SPECIFICITY = ("validator_same_top", "generator_same_top", "true_beats_false")


def perplexity(damages: Sequence[Damage]) -> Metric:
    """Perplexity of the repaired model on held-out text, as a multiple of the base model's."""
    return _change(rows_of(damages, "perplexity", TEXT))


def specificity(damages: Sequence[Damage]) -> Metric:
    """How far answers to other relations stayed as they were, of the repaired model."""
    for measure in _SPECIFICITY:
        if rows := rows_of(damages, measure):
            return _after(rows)
    return UNKNOWN


def yes_share(damages: Sequence[Damage]) -> tuple[float, Metric]:
    """Share of other relations' questions, of which half are right, that is affirmed: by the base, by the repaired."""
    rows = rows_of(damages, "yes_share", RELATIONS)
    return (float(rows[0]["base"]), _after(rows)) if rows else (math.nan, UNKNOWN)


def rows_of(damages: Sequence[Damage], measure: str, group: str | None = None) -> list[pd.Series]:
    """The row of a measure, of every seed that has one; without a group, of the first group that has it."""
    tables = [damage.table for damage in damages]
    rows = [table[(table["measure"] == measure) & (group is None or table["group"] == group)] for table in tables]
    return [matching.iloc[0] for matching in rows if len(matching)]


def harms(damages: Sequence[Damage]) -> list[pd.DataFrame]:
    """Of each seed, the rows of damage that can get worse."""
    return [harms_in(damage.table) for damage in damages]


def worsened(damages: Sequence[Damage]) -> list[str]:
    """What is clearly worse in at least half of the seeds, of what can be: one of each group before any second one."""
    tables = harms(damages)
    hits: dict[tuple[str, str], list[pd.Series]] = {}
    for table in tables:
        for _, row in table[table["worsened"]].iterrows():
            hits.setdefault((row["group"], row["measure"]), []).append(row)
    often = [(group, rows) for (group, _), rows in hits.items() if 2 * len(rows) >= len(tables)]
    groups = [group for group, _ in often]
    nth = [groups[:i].count(group) for i, group in enumerate(groups)]
    return [_worse(often[i][1]) for i in sorted(range(len(often)), key=nth.__getitem__)]


def leaning(damages: Sequence[Damage]) -> str:
    """Whether, asked about other relations, it says yes more or less often: no harm by itself, but no judgement."""
    change = _change(rows_of(damages, "yes_share", RELATIONS))
    if not (change.low > 0 or change.high < 0):
        return ""
    base, repaired = yes_share(damages)
    yes = f"Asked about other relations, it says yes to {repaired.value:.0%} of the questions, of which half are right"
    return f"{yes}; the base model to {base:.0%}."


def factor(metric: Metric) -> tuple[str, str]:
    """A ratio near 1 and its interval, as two texts.

    >>> factor(Metric(1.004, 1.0021, 1.0059))
    ('1.004', '[1.002,\xa01.006]')
    """
    digits = 3 if abs(metric.value - 1) < 0.1 else 2
    value = number(metric.value, digits, bare=False) if metric.value < 1000 else f"{metric.value:,.0f}"
    if not (math.isfinite(metric.low) and math.isfinite(metric.high)):
        return value, ""
    low, high = (number(end, digits, bare=False) for end in (metric.low, metric.high))
    return value, f"[{low},\N{NO-BREAK SPACE}{high}]"


def _after(rows: Sequence[pd.Series]) -> Metric:
    """Of the repaired model: of a row, the interval of its paired change, around the base's number."""
    ends = [(row["repaired"], row["base"] + row["low"], row["base"] + row["high"]) for row in rows]
    return pooled([Metric(*parts) for parts in ends])


def _change(rows: Sequence[pd.Series]) -> Metric:
    return pooled([Metric(row["change"], row["low"], row["high"]) for row in rows])


def _worse(rows: Sequence[pd.Series]) -> str:
    """`perplexity (held-out text) × 1.02 [1.01, 1.03]`."""
    change, group = _change(rows), rows[0]["group"]
    name = f"{in_sentence(damage_term(rows[0]['measure']).label)} ({DAMAGE_GROUPS.get(group, group)})"
    if rows[0]["change_is"] == "ratio":
        return f"{name} × {' '.join(factor(change)).strip()}"
    digits = 3 if abs(change.value) < 0.01 else 2
    return f"{name} {measured(change, digits, signed=True)}"
