"""What a repair did to the gap, on every trial; and a base's answers to all of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import read_object, write_json
from accord.gap.change import Change, paired_changes
from accord.gap.metrics import measures_of, sample, summarize
from accord.intervals import Interval, brief
from accord.report.model_card import markdown_table
from accord.report.notebook import InNotebook

_SUMMARY = "verdict.json"


@dataclass(frozen=True)
class Answers:
    """A model's scores on trials.

    Attributes:
        scores: name of the trial -> score table, see `accord.Gap`.
    """

    scores: Mapping[str, pd.DataFrame]

    def write(self, folder: Path) -> None:
        """Write TRIAL.parquet of every trial."""
        _write_scores(self.scores, folder)

    def headline(self) -> str:
        """How much was asked."""
        return f"{sum(map(len, self.scores.values())):,} items in {len(self.scores)} tests"

    @classmethod
    def read(cls, folder: Path) -> "Answers":
        """What `write` wrote."""
        return cls(_read_scores(folder))

    def measures(self) -> dict[str, Interval]:
        """Every measure of every trial."""
        known = {trial: measures_of(sample(table)) for trial, table in self.scores.items()}
        each = {trial: summarize(self.scores[trial], measures) for trial, measures in known.items()}
        return {f"{trial}: {name}": measured[name] for trial, measured in each.items() for name in known[trial]}

    def paired(self, other: "Answers") -> dict[str, Interval]:
        """The same, other − self, paired, of the trials whose items are the same."""
        return _paired(self.scores, other.scores)


@dataclass(frozen=True)
class Verdict(InNotebook):
    """What a repair did to the gap.

    Attributes:
        changes: name of the trial -> measure -> before, after, change and closure, each with its interval.
        titles: name of the trial -> how its items differ from the training items.
        n: name of the trial -> number of items.
        after: name of the trial -> score table of the repaired model, with its base's typicality beside its own.
        about: of a study's repair: repair (its title), kind, seed, task, base (label of the answers it is compared
            with), seconds that it took to make.
    """

    changes: Mapping[str, Mapping[str, Change]]
    titles: Mapping[str, str]
    n: Mapping[str, int]
    after: Mapping[str, pd.DataFrame]
    about: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, str, Change]]:
        """(trial, measure, change) of everything measured."""
        for trial, measures in self.changes.items():
            for measure, change in measures.items():
                yield trial, measure, change

    @property
    def metrics(self) -> dict[str, Interval]:
        """Every number of the changes by TRIAL/MEASURE/SIDE, with its interval and the number of items.

        SIDE is "before", "after", "change" or "closure".
        """
        sides = {
            f"{trial}/{measure}/{side}": (interval, self.n[trial])
            for trial, measure, change in self.rows()
            for side, interval in change.as_json().items()
        }
        return {name: {**interval, "n": n} for name, (interval, n) in sides.items() if interval is not None}

    def write(self, folder: Path) -> None:
        """Write `verdict.json`, and TRIAL.parquet, the repaired model's scores on each trial."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_scores(self.after, folder)
        trials = {
            trial: {
                "title": self.titles[trial],
                "n": self.n[trial],
                "answer_score": self.after[trial].attrs.get("answer_score", "first"),
                "changes": {measure: change.as_json() for measure, change in measures.items()},
            }
            for trial, measures in self.changes.items()
        }
        write_json(folder / _SUMMARY, {**self.about, "tests": trials})

    def headline(self) -> str:
        """How far the gap is closed on the first test: the share of 1 - r that is gone."""
        for trial, measures in self.changes.items():
            change = measures.get("pearson_all")
            if change is not None and change.closure is not None:
                r = f"r {brief({'value': change.before['value']})} to {brief({'value': change.after['value']})}"
                return f"closed {brief(change.closure)} on {self.titles[trial]}; {r}"
        return ""

    def card(self) -> str:
        """What a model card says of it: of each test the correlation of the forms before and after, and the closure."""
        rows = []
        for trial, measures in self.changes.items():
            if (change := measures.get("pearson_all")) is not None:
                closed = "" if change.closure is None else brief(change.closure)
                sides = brief(change.before), brief(change.after), closed
                rows.append((self.titles[trial], f"{self.n[trial]:,}", *sides))
        said = "How far what it says and what it affirms correlate (Pearson's r of both log-odds), with 95 % intervals:"
        header = "tested on", "items", "r before", "r after", "share of 1 − r that is closed"
        return f"## What the repair did to the gap\n\n{said}\n\n{markdown_table(header, rows)}"

    def __repr__(self) -> str:
        items = ", ".join(f"{self.titles[trial]} ({n:,})" for trial, n in self.n.items())
        return f"Verdict: {self.headline()}\n  tested on {items}\n  .changes, .after, .metrics, .plot()"

    @classmethod
    def read(cls, folder: Path) -> "Verdict":
        """What `write` wrote."""
        about = read_object(folder / _SUMMARY, "tests")
        trials = about.pop("tests")
        changes = {
            trial: {measure: Change(**change) for measure, change in row["changes"].items()}
            for trial, row in trials.items()
        }
        titles, n = ({trial: row[key] for trial, row in trials.items()} for key in ("title", "n"))
        return cls(changes, titles, n, _read_scores(folder), about)

    def measures(self) -> dict[str, Interval]:
        """Every measure of the repaired model on every trial, and how much of the gap it closed there."""
        after = {f"{trial}: {name}": change.after for trial, name, change in self.rows()}
        closed = {f"{trial}: {name}, closed": change.closure for trial, name, change in self.rows() if change.closure}
        return after | closed

    def paired(self, other: "Verdict") -> dict[str, Interval]:
        """Every measure of the repaired models, other − self, paired, on the trials whose items are the same."""
        return _paired(self.after, other.after)


def _write_scores(scores: Mapping[str, pd.DataFrame], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for trial, table in scores.items():
        table.to_parquet(folder / f"{trial}.parquet", index=False)


def _read_scores(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}


def _paired(first: Mapping[str, pd.DataFrame], second: Mapping[str, pd.DataFrame]) -> dict[str, Interval]:
    trials = [trial for trial in first if trial in second]
    each = {trial: paired_changes(first[trial], second[trial]) for trial in trials}
    return {f"{trial}: {name}": change for trial in trials for name, change in each[trial].items()}


RESULTS = {"answers": Answers, "verdict": Verdict}
LEADS = True  # its findings stand before all others: they are what a study with repairs is for
