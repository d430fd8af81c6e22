"""The gap told by concepts, as the explain stages of a run left it: tables read once and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.errors import AccordError
from accord.report.data import plain
from accord.report.names_data import concept_key
from accord.report.reading import AGAIN, folders, need, read_object, read_table

SUMMARY = "explain.json"
FORMS = ("generator", "validator")
SETS = {"against": "change", "for": "change", "largest": "moved"}
_SHARES = ("pull", "low", "high", *(f"{form}_{what}" for form in FORMS for what in ("rate", "share")))
_LOGODDS = ("generator_logodds", "validator_logodds")
_MEASURES = tuple(f"{name}{end}" for name in ("change", "moved") for end in ("", "_low", "_high"))
_CHECKED = ("measure", "value", "low", "high", "random", "random_mean", "random_low", "random_high", "p", "concepts")


@dataclass(frozen=True)
class Explained:
    """One stage; the tables are those of `accord.explain.measure.Explanation`."""

    path: Path
    label: str
    key: str
    concepts: pd.DataFrame
    items: pd.DataFrame
    scores: pd.DataFrame
    check: pd.DataFrame
    summary: Mapping[str, Any]


def holds_explanation(run: Path) -> bool:
    """Whether a run folder has a gap told by concepts."""
    return any((folder / SUMMARY).is_file() for folder in folders(run / "explain"))


def read_explanations(run: Path) -> list[Explained]:
    """Read and check what the explain stages left; says which file lacks what."""
    return [_explained(folder) for folder in folders(run / "explain") if (folder / SUMMARY).is_file()]


def _explained(folder: Path) -> Explained:
    summary = read_object(folder / SUMMARY)
    need(summary, ("items", "candidates", "approximation", "checked_items", "check"), folder / SUMMARY, "key")
    for what, one in summary["check"].items():
        need(one, _CHECKED, f"{folder / SUMMARY}, check.{what}", "key")
    return Explained(
        folder,
        plain(folder.name),
        concept_key(folder.name),
        _table(folder, "concepts", ("concept",), _SHARES),
        _table(folder, "items", ("item", "form", "concept"), ("strength", "contribution")),
        _table(folder, "scores", ("gold", "answer", "generator_prompt", "validator_prompt"), _LOGODDS),
        _table(folder, "check", ("what", "draw"), _MEASURES),
        summary,
    )


def _table(folder: Path, name: str, needs: tuple[str, ...], numbers: tuple[str, ...]) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    found = read_table(path, (*needs, *numbers), numbers)
    if found is None:
        raise AccordError("A table of the explanation is missing.", where=folder, wanted=path.name, fix=AGAIN)
    return found
