"""The concept dictionaries of a run: what `accord names` wrote for each concept model, read once and checked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.report.data import METRICS, UNKNOWN, Metric, plain
from accord.report.reading import as_metric, as_whole, folders, need, read_object, read_rows, read_table
from accord.report.wording import shown_token

TASKS = ("detection", "fuzzing")
CONCEPTS, EXAMPLES, FAILURES = "concepts.parquet", "examples.parquet", "failures.jsonl"
STANDING_IN = 3  # typical tokens that stand for a name
_COUNTS = ("live", "asked", "named", "failed")
_CONCEPT_NEEDS = (
    "concept", "rate", "mean", "max", "histogram", "edges", "types", "promoted", "suppressed", "neighbours", "name",
)  # fmt: skip
_EXAMPLE_NEEDS = ("concept", "kind", "band", "strength", "before", "token", "after")


@dataclass(frozen=True)
class Named:
    """One dictionary.

    Attributes:
        key: its folder's name in letters that a link can hold: a concept is `concept-KEY-NUMBER` on the page.
        concepts, examples: the tables of `accord.names.dictionary`.
        counts: live, asked, named, failed.
        scores: measure -> mean over concepts; empty where names were not scored.
        failures: key, reason and attempts of what has no answer.
    """

    path: Path
    label: str
    key: str
    annotator: str
    concepts: pd.DataFrame
    examples: pd.DataFrame
    counts: Mapping[str, int]
    scores: Mapping[str, tuple[Metric, int]]
    failures: pd.DataFrame

    def score(self, name: str) -> Metric:
        """A measure's mean over concepts, unknown where there is none."""
        return self.scores.get(name, (UNKNOWN, 0))[0]

    def names(self) -> dict[int, str]:
        """Concept -> its name, of those that have one."""
        named = self.concepts[self.concepts["name"].notna()]
        return {int(k): plain(str(name)) for k, name in zip(named["concept"], named["name"], strict=True)}

    def typical(self) -> dict[int, list[str]]:
        """Concept -> a few of its typical tokens, which stand for a name where there is none."""
        rows = zip(self.concepts["concept"], self.concepts["types"], strict=True)
        return {int(k): typical_tokens(types, STANDING_IN) for k, types in rows}


def typical_tokens(types: Iterable[Mapping[str, Any]], most: int) -> list[str]:
    """The first tokens of a concept's table of typical ones, fit to be shown."""
    return [plain(shown_token(str(one["token"]))) or "∅" for one in list(types)[:most]]


def holds_names(run: Path) -> bool:
    """Whether a run folder has a dictionary."""
    return any((folder / CONCEPTS).is_file() for folder in folders(run / "names"))


def read_names(run: Path) -> list[Named]:
    """Read and check the dictionaries of a run; says which file lacks what."""
    return [_named(folder) for folder in folders(run / "names") if (folder / CONCEPTS).is_file()]


def concept_key(folder: str) -> str:
    """A folder's name as part of an id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder)


def _named(folder: Path) -> Named:
    raw = read_object(folder / METRICS)
    need(raw, _COUNTS, folder / METRICS, "key")
    concepts = read_table(folder / CONCEPTS, _CONCEPT_NEEDS, ("rate", "mean", "max"))
    examples = read_table(folder / EXAMPLES, _EXAMPLE_NEEDS, ("strength",))
    failures = folder / FAILURES
    assert concepts is not None
    return Named(
        path=folder,
        label=plain(folder.name),
        key=concept_key(folder.name),
        annotator=plain(str(raw.get("annotator", ""))),
        concepts=concepts,
        examples=pd.DataFrame(columns=_EXAMPLE_NEEDS) if examples is None else examples,
        counts={name: as_whole(raw[name], name, folder / METRICS) for name in _COUNTS},
        scores={name: _score(value, name, folder) for name, value in raw.items() if isinstance(value, Mapping)},
        failures=read_rows(failures, ("key", "reason")) if failures.is_file() else pd.DataFrame(),
    )


def _score(raw: Mapping[str, Any], name: str, folder: Path) -> tuple[Metric, int]:
    return as_metric(raw, name, folder / METRICS), as_whole(raw.get("n", 0), name, folder / METRICS)
