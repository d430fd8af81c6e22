"""What steering did in a run: the tables that each stage left, read once and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.report.data import plain
from accord.report.names_data import concept_key
from accord.report.reading import folders, need, read_object, read_rows, read_table

ARMS = ("concept", "random concept", "random direction")
EFFECTS, DOSES, SAMPLES, SUMMARY = "effects.parquet", "doses.parquet", "samples.jsonl", "effects.json"
_NUMBERS = ("dose", "value", "low", "high")
_NEEDS = ("kind", "dose", "control", "measure", "value", "low", "high", "n")
_TEXT_NEEDS = ("concept", "kind", "dose", "control", "prompt", "index", "text")
_KINDS = ("factor", "typical", "added")


@dataclass(frozen=True)
class Steered:
    """One stage: effects on the concepts of a model, pooled doses, texts, and what was steered.

    The tables are those of `accord.steering.result`.
    """

    path: Path
    label: str
    key: str
    effects: pd.DataFrame
    doses: pd.DataFrame
    samples: pd.DataFrame
    about: Mapping[str, Any]

    @property
    def scorer(self) -> str:
        """What the label of its texts is called."""
        return plain(str(self.about.get("label") or "the label"))


@dataclass(frozen=True, order=True)
class Given:
    """A dose, in the order of the page: factors, then set strengths, then what is added."""

    place: int
    value: float

    @property
    def kind(self) -> str:
        """What the number multiplies."""
        return _KINDS[self.place]

    @property
    def short(self) -> str:
        """On an axis."""
        text = f"{self.value:g}"
        if self.kind == "factor":
            return "off" if self.value == 0 else f"×{text}"
        return f"={text}" if self.kind == "typical" else f"+{text}"

    @property
    def words(self) -> str:
        """In a sentence."""
        text = f"{self.value:g}"
        if self.kind == "factor":
            return "turned off" if self.value == 0 else f"multiplied by {text}"
        return f"set to {text} × its usual strength" if self.kind == "typical" else f"{text} × its usual writing added"


def given(table: pd.DataFrame) -> list[Given]:
    """The doses in a table with columns kind and dose."""
    pairs = table[["kind", "dose"]].drop_duplicates()
    return sorted(Given(_KINDS.index(k), float(v)) for k, v in zip(pairs["kind"], pairs["dose"], strict=True))


def at(table: pd.DataFrame, dose: Given) -> pd.DataFrame:
    """The rows of a dose."""
    return table[(table["kind"] == dose.kind) & (table["dose"] == dose.value)]


def holds_steering(run: Path) -> bool:
    """Whether a run folder has effects of steering."""
    return any((folder / SUMMARY).is_file() for folder in folders(run / "steering"))


def read_steering(run: Path) -> list[Steered]:
    """Read and check what steering left in a run; says which file lacks what."""
    return [_steered(folder) for folder in folders(run / "steering") if (folder / SUMMARY).is_file()]


def _steered(folder: Path) -> Steered:
    about = read_object(folder / SUMMARY)
    need(about, ("floats_per_concept", "active_floats_per_token"), folder / SUMMARY, "key")
    effects = read_table(folder / EFFECTS, ("concept", "random_concept", *_NEEDS, "expected", "acts"), _NUMBERS)
    doses = read_table(folder / DOSES, (*_NEEDS, "share", "per_float"), _NUMBERS)
    if effects is None or doses is None:
        need({}, [EFFECTS if effects is None else DOSES], folder, "table")
    assert effects is not None and doses is not None
    known = [kind in _KINDS for kind in doses["kind"]]
    path = folder / SAMPLES
    samples = read_rows(path, _TEXT_NEEDS) if path.is_file() else pd.DataFrame(columns=_TEXT_NEEDS)
    label = plain(folder.name)
    return Steered(folder, label, concept_key(folder.name), effects, doses[known], samples, about)
