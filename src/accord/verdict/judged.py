"""What a run holds of its repairs, put together for the page: the seeds of one repair, the repairs of one question."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from accord.damage.result import Damage
from accord.gap.change import Change, same_items
from accord.pathway.result import Pathway
from accord.repair.result import RepairRecord
from accord.report.metric import UNKNOWN, Metric, metric_of, plain
from accord.report.seeds import over_seeds, pooled
from accord.study.run_folder import Run
from accord.verdict.result import Answers, Verdict

# Trials of a task itself, in order of distance from the training items (see accord.verdict.measure).
NESTED = ("test", "test-unseen-hypernyms", "test-unseen-both")
CORRELATIONS = ("pearson_all", "pearson_yes", "pearson_no")
_PHRASINGS = ("generator-", "validator-")  # what the names of trials with other phrasings begin with


@dataclass(frozen=True, eq=False)
class JudgedSeed:
    """One seed of a repair that has a verdict. What was not measured is None; `base`: the base's answers."""

    label: str
    verdict: Verdict
    base: Answers | None = None
    record: RepairRecord | None = None
    damage: Damage | None = None
    pathway: Pathway | None = None

    @property
    def seed(self) -> int:
        """The seed it was made with."""
        return int(self.verdict.about["seed"])

    @property
    def seconds(self) -> float:
        """Time to make it; NaN where that is not known."""
        seconds = self.verdict.about.get("seconds")
        return math.nan if seconds is None else float(seconds)

    @property
    def trained(self) -> bool:
        """Whether it was made by training."""
        return self.record is not None and self.record.curve is not None

    def scores(self, trial: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Score tables of the base and of the repaired model on a trial; None where either is missing.

        Raises AccordError if they are not of the same items.
        """
        before, after = {} if self.base is None else self.base.scores, self.verdict.after
        if trial not in before or trial not in after:
            return None
        same_items(before[trial], after[trial])
        return before[trial], after[trial]


@dataclass(frozen=True, eq=False)
class JudgedRepair:
    """Seeds of one repair, in their order.

    Of several seeds, a number is their mean with its t-interval; of one, the seed's own with its interval over items.
    """

    label: str
    seeds: Sequence[JudgedSeed]

    @property
    def kind(self) -> str:
        """Which kind of repair it is."""
        return plain(str(self.seeds[0].verdict.about["kind"]))

    @property
    def first(self) -> JudgedSeed:
        """The lowest seed: it stands for the others where only one can be shown."""
        return self.seeds[0]

    @property
    def first_named(self) -> str:
        """The lowest seed by name, where there are others; else nothing."""
        return f"seed {self.first.seed}" if len(self.seeds) > 1 else ""

    @property
    def damages(self) -> list[Damage]:
        """What it broke, of every seed of which that was measured."""
        return [seed.damage for seed in self.seeds if seed.damage is not None]

    def changes(self, trial: str, measure: str) -> list[Change]:
        """What changed of a measure on a trial, of every seed that was tried on it."""
        tried = [seed.verdict.changes[trial] for seed in self.seeds if trial in seed.verdict.changes]
        return [measures[measure] for measures in tried if measure in measures]

    def each(self, trial: str, measure: str, part: str) -> list[Metric]:
        """`part` ("before", "after", "change", "closure") of a measure on a trial, seed by seed."""
        ends = (getattr(change, part) for change in self.changes(trial, measure))
        return [UNKNOWN if interval is None else metric_of(interval) for interval in ends]

    def metric(self, trial: str, measure: str, part: str = "after") -> Metric:
        """The same over seeds."""
        return pooled(self.each(trial, measure, part))

    def before(self, trial: str, measure: str) -> Metric:
        """The base model's, which no seed changes."""
        return next(iter(self.each(trial, measure, "before")), UNKNOWN)

    def closes(self, trial: str, measure: str = "pearson_all") -> bool:
        """Whether closure is beyond chance: over seeds, and over the items of every single seed."""
        seeds = self.each(trial, measure, "closure")
        return bool(seeds) and pooled(seeds).low > 0 and all(closure.low > 0 for closure in seeds)

    def mean_of(self, trials: Sequence[str], measure: str, part: str = "after") -> Metric:
        """The mean over trials, seed by seed, then over seeds; of one seed there is no interval."""
        means = []
        for seed in self.seeds:
            alone = JudgedRepair(self.label, [seed])
            values = [metric.value for trial in trials for metric in alone.each(trial, measure, part) if metric.known]
            means.append(sum(values) / len(values) if values else math.nan)
        return over_seeds(means)

    def n(self, trial: str) -> int:
        """Items of a trial; 0 where the repair was not tried on it."""
        return next((seed.verdict.n[trial] for seed in self.seeds if trial in seed.verdict.n), 0)

    @property
    def seconds(self) -> Metric:
        """Time to make it."""
        return over_seeds(seed.seconds for seed in self.seeds)


@dataclass(frozen=True)
class RepairGroup:
    """The repairs of one question, which are compared with each other, in the order of the study."""

    task: str
    repairs: Sequence[JudgedRepair]

    @cached_property
    def trials(self) -> dict[str, str]:
        """Every trial of a repair, nearest to the training items first: name -> title."""
        titles = {
            trial: plain(title)
            for repair in self.repairs
            for seed in repair.seeds
            for trial, title in seed.verdict.titles.items()
        }
        names = [*(name for name in NESTED if name in titles), *(name for name in titles if name not in NESTED)]
        return {name: titles[name] for name in names}

    @property
    def near(self) -> str:
        """The trial whose items are most like the training items."""
        return next(iter(self.trials))

    @property
    def far(self) -> str:
        """The trial of the task itself that is furthest from the training items."""
        return next((name for name in reversed(NESTED) if name in self.trials), self.near)

    @property
    def reworded(self) -> list[str]:
        """The trials that ask the same in other phrasings."""
        return [name for name in self.trials if name.startswith(_PHRASINGS)]


def alone(verdict: Verdict, label: str = "") -> RepairGroup:
    """The one repair that a verdict is of, as the page takes those of a study."""
    about = verdict.about
    name = label or plain(str(about.get("repair", "the repair")))
    return RepairGroup(plain(str(about.get("task", ""))), [JudgedRepair(name, [JudgedSeed(name, verdict)])])


def judged_repairs(run: Run) -> list[RepairGroup]:
    """The repairs of a study that have a verdict, by the base's answers and the task that they are compared on."""
    records, answers, damages, pathways = run.of(RepairRecord), run.of(Answers), run.of(Damage), run.of(Pathway)
    verdicts = {label: verdict for label, verdict in run.of(Verdict).items() if verdict.about}
    groups: dict[tuple[str, str], dict[str, list[JudgedSeed]]] = {}
    for label in dict.fromkeys([*records, *verdicts]):
        if label in verdicts:
            about = verdicts[label].about
            base = answers.get(about["base"])
            parts = (base, records.get(label), damages.get(label), pathways.get(label))
            seeds = groups.setdefault((about["base"], about["task"]), {}).setdefault(about["repair"], [])
            seeds.append(JudgedSeed(label, verdicts[label], *parts))
    return [
        RepairGroup(
            plain(task),
            [JudgedRepair(plain(title), sorted(seeds, key=lambda seed: seed.seed)) for title, seeds in repairs.items()],
        )
        for (_, task), repairs in groups.items()
    ]
