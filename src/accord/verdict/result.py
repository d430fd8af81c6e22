"""What a repair did to the gap, on every test set; and a base's answers to all of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import read_object
from accord.gap.change import Change
from accord.study.work import write_json

_SUMMARY = "verdict.json"


@dataclass(frozen=True)
class Answers:
    """A model's scores on test sets.

    Attributes:
        scores: test name -> score table, see `accord.Gap`.
    """

    scores: Mapping[str, pd.DataFrame]

    def write(self, folder: Path) -> None:
        """Write TEST.parquet of every test set."""
        _write_scores(self.scores, folder)

    @classmethod
    def read(cls, folder: Path) -> "Answers":
        """What `write` wrote."""
        return cls(_read_scores(folder))


@dataclass(frozen=True)
class Verdict:
    """What a repair did to the gap.

    Attributes:
        changes: test name -> measure -> before, after, change and closure, each with its interval.
        titles: test name -> how its items differ from the training items.
        n: test name -> number of items.
        after: test name -> score table of the repaired model.
        about: of a study's repair: repair (its title), kind, seed, task, base (label of the answers it is compared
            with), seconds that it took to make.
    """

    changes: Mapping[str, Mapping[str, Change]]
    titles: Mapping[str, str]
    n: Mapping[str, int]
    after: Mapping[str, pd.DataFrame]
    about: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, str, Change]]:
        """(test, measure, change) of everything measured."""
        for test, measures in self.changes.items():
            for measure, change in measures.items():
                yield test, measure, change

    def write(self, folder: Path) -> None:
        """Write `verdict.json`, and TEST.parquet, the repaired model's scores on each test set."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_scores(self.after, folder)
        tests = {
            test: {
                "title": self.titles[test],
                "n": self.n[test],
                "answer_score": self.after[test].attrs.get("answer_score", "first"),
                "changes": {measure: change.as_json() for measure, change in measures.items()},
            }
            for test, measures in self.changes.items()
        }
        write_json(folder / _SUMMARY, {**self.about, "tests": tests})

    @classmethod
    def read(cls, folder: Path) -> "Verdict":
        """What `write` wrote."""
        about = read_object(folder / _SUMMARY, "tests")
        tests = about.pop("tests")
        changes = {
            test: {measure: Change(**change) for measure, change in told["changes"].items()}
            for test, told in tests.items()
        }
        titles, n = ({test: told[key] for test, told in tests.items()} for key in ("title", "n"))
        return cls(changes, titles, n, _read_scores(folder), about)


def _write_scores(scores: Mapping[str, pd.DataFrame], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for test, table in scores.items():
        table.to_parquet(folder / f"{test}.parquet", index=False)


def _read_scores(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}


RESULTS = {"answers": Answers, "verdict": Verdict}
