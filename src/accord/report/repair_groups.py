"""The seeds of one repair belong together: its numbers over seeds, on each test set, and what it broke."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from accord.report.data import UNKNOWN, Metric
from accord.report.repair_data import CORRELATIONS, NEAREST, NESTED, Changed, Repaired, Repairs
from accord.report.seeds import over_seeds

WORDINGS = ("generator-", "validator-")  # what the names of test sets with other wordings begin with
TASKS = "task-"
FURTHEST = tuple(reversed(NESTED))
SPECIFICITY = ("specificity", "validator_same_top", "generator_same_top", "same_top", "true_beats_false")


@dataclass(frozen=True)
class Repair:
    """Seeds of one repair, in their order.

    Of several seeds, a number is their mean with its t-interval; of one, the seed's own with its interval over items.
    """

    label: str
    seeds: list[Repaired]

    @property
    def kind(self) -> str:
        """Which kind of repair it is, as its folder says."""
        return self.seeds[0].kind

    @property
    def first(self) -> Repaired:
        """The lowest seed: it stands for the others where only one can be shown."""
        return min(self.seeds, key=lambda one: one.seed)

    def changed(self, trial: str, measure: str) -> list[Changed]:
        """What changed of a measure on a test set, of every seed that was tried on it."""
        trials = [one.trials[trial] for one in self.seeds if trial in one.trials]
        return [t.changes[measure] for t in trials if measure in t.changes]

    def metric(self, trial: str, measure: str, part: str = "after") -> Metric:
        """`part` ("after", "change", "closure") of a measure on a test set."""
        return pooled([getattr(changed, part) for changed in self.changed(trial, measure)])

    def values(self, trial: str, measure: str, part: str = "closure") -> list[float]:
        """The same of each seed."""
        return [getattr(changed, part).value for changed in self.changed(trial, measure)]

    def before(self, trial: str, measure: str) -> Metric:
        """The base model's, which no seed changes."""
        found = self.changed(trial, measure)
        return found[0].before if found else UNKNOWN

    def closes(self, trial: str, measure: str = "pearson_all") -> bool:
        """Whether closure is beyond chance: over seeds, and over the items of every single seed."""
        parts = [changed.closure for changed in self.changed(trial, measure)]
        whole = pooled(parts)
        return bool(parts) and whole.low > 0 and all(part.low > 0 for part in parts)

    def mean_of(self, trials: Sequence[str], measure: str, part: str = "after") -> Metric:
        """The mean over test sets, seed by seed, then over seeds; of one seed there is no interval."""
        means = []
        for one in self.seeds:
            found = [one.trials[t].changes[measure] for t in trials if t in one.trials]
            values = [v for v in (getattr(c, part).value for c in found) if math.isfinite(v)]
            means.append(sum(values) / len(values) if values else math.nan)
        return over_seeds(means)

    def n(self, trial: str) -> int:
        """Items of a test set; 0 where it was not tried on it."""
        return next((one.trials[trial].n for one in self.seeds if trial in one.trials), 0)

    def of_damage(self, which: Callable[[pd.DataFrame], pd.Series]) -> list[pd.Series]:
        """The first row of damage that `which` picks, of every seed that has one."""
        tables = [one.damage.table for one in self.seeds if one.damage is not None]
        picked = [table[which(table)] for table in tables]
        return [rows.iloc[0] for rows in picked if len(rows)]

    @property
    def damaged(self) -> bool:
        """Whether its damage was measured at all."""
        return any(one.damage is not None for one in self.seeds)

    @property
    def perplexity(self) -> Metric:
        """Perplexity of the repaired model on held-out text, as a multiple of the base model's."""
        rows = self.of_damage(
            lambda t: t["measure"].str.match(r"(?i)(held-out )?perplexity") & (t["group"] != "free text")
        )
        return pooled([ratio(row) for row in rows])

    @property
    def specificity(self) -> Metric:
        """How far answers to other relations stayed as they were, of the repaired model."""
        for name in SPECIFICITY:
            rows = self.of_damage(lambda t, name=name: (t["measure"] == name) & (t["group"] != "text"))  # type: ignore[misc]
            if rows:
                return pooled([shifted(row) for row in rows])
        return UNKNOWN

    @property
    def seconds(self) -> Metric:
        """Time to make it."""
        return over_seeds(one.seconds for one in self.seeds)


def pooled(metrics: Sequence[Metric]) -> Metric:
    """One seed's number as it is; of several, their mean with an interval over seeds and items.

    All seeds are tried on the same items, so what the items leave uncertain does not shrink with seeds. It is
    independent of what seeds do, so half widths add as √(t-interval over seeds² + mean of the seeds' own intervals²).
    """
    if len(metrics) == 1:
        return metrics[0]
    whole = over_seeds(metric.value for metric in metrics)
    known = [metric for metric in metrics if math.isfinite(metric.low) and math.isfinite(metric.high)]
    if not known:
        return whole
    below = math.hypot(whole.value - whole.low, sum(one.value - one.low for one in known) / len(known))
    above = math.hypot(whole.high - whole.value, sum(one.high - one.value for one in known) / len(known))
    return Metric(whole.value, whole.value - below, whole.value + above)


def ratio(row: pd.Series) -> Metric:
    """Repaired / base of a row of damage, whether its change is that ratio or a difference."""
    if row["ratio"]:
        return Metric(row["change"], row["low"], row["high"])
    if not row["base"]:
        return UNKNOWN
    return Metric(*((row["base"] + row[end]) / row["base"] for end in ("change", "low", "high")))


def shifted(row: pd.Series) -> Metric:
    """The repaired model's number, with the interval that its paired change has around the base's."""
    if row["ratio"]:
        return Metric(row["repaired"], math.nan, math.nan)
    return Metric(row["repaired"], row["base"] + row["low"], row["base"] + row["high"])


def grouped(repairs: Repairs) -> dict[tuple[str, str], list[Repair]]:
    """Repairs by the base scores and task they are compared with, in the order of the study."""
    bases: dict[tuple[str, str], dict[str, list[Repaired]]] = {}
    for one in repairs.seeds:
        bases.setdefault((one.base, one.task), {}).setdefault(one.name, []).append(one)
    ordered = {
        base: [Repair(name, sorted(seeds, key=lambda one: one.seed)) for name, seeds in by_name.items()]
        for base, by_name in bases.items()
    }
    return ordered


def trials_of(repairs: Sequence[Repair]) -> dict[str, str]:
    """Every test set that a repair was tried on, nearest first: name -> title."""
    found = {name: t.title for r in repairs for one in r.seeds for name, t in one.trials.items()}
    return {n: found[n] for n in (*(n for n in NESTED if n in found), *(n for n in found if n not in NESTED))}


def nearest(repairs: Sequence[Repair]) -> str:
    """The test set whose items are most like the training items."""
    return next(iter(trials_of(repairs)), NEAREST)


def furthest(repairs: Sequence[Repair]) -> str:
    """The test set of the task itself that is furthest from the training items."""
    tried = trials_of(repairs)
    return next((name for name in FURTHEST if name in tried), nearest(repairs))


def wordings(trials: Sequence[str]) -> list[str]:
    """Those that ask the same in other words."""
    return [name for name in trials if name.startswith(WORDINGS)]


def within(repair: Repair, trial: str, part: str = "after") -> list[Metric]:
    """A correlation's part within right and within wrong answers, where known."""
    found = [repair.metric(trial, name, part) for name in CORRELATIONS[1:]]
    return [metric for metric in found if metric.known]
