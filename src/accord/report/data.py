"""What a gap folder holds, read once and checked: everything else in this room draws or words it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accord.errors import AccordError, nearest
from accord.report.metric import UNKNOWN, Metric, called, plain

SCORES = "scores.parquet"
METRICS = "metrics.json"
MANIFEST = "manifest.json"
ANSWER_SCORE = "answer_score"  # among the metrics: what of an answer counts in the generator's log-odds

_NUMBERS = ("generator_logodds", "validator_logodds", "generator_rank")

# What each table must have; more columns are welcome (in scores they are the item's own fields).
_COLUMNS = {
    SCORES: ["gold", "answer", "generator_prompt", "validator_prompt", *_NUMBERS],
    "layers.parquet": ["item", "layer", "generator_logodds", "validator_logodds"],
    "layer_metrics.parquet": ["layer", "metric", "value", "low", "high"],
    "layer_matrix.parquet": ["generator_layer", "validator_layer", "pearson"],
    "lens.parquet": ["form", "position", "token", "layer", "top", "probability"],
}
_NEEDED_METRICS = ("generator_auc", "validator_auc", "pearson_all")
_MEASURE_AGAIN = "measure again with `accord gap`, or point to another folder"


@dataclass(frozen=True)
class Gap:
    """One measured gap: the tables of a stage folder, those that are optional as None."""

    path: Path
    scores: pd.DataFrame
    metrics: Mapping[str, Metric]
    layers: pd.DataFrame | None
    layer_metrics: pd.DataFrame | None
    layer_matrix: pd.DataFrame | None
    lens: pd.DataFrame | None
    manifest: Mapping[str, Any]
    answer_score: str = "first"
    reasons: Mapping[str, str] = field(default_factory=dict)  # of measures without an interval

    @property
    def name(self) -> str:
        """The stage's own name: its folder."""
        return plain(self.path.name)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the stage was asked to do, as its manifest tells it."""
        found = self.manifest.get("settings", {})
        return found if isinstance(found, Mapping) else {"settings": found}

    @property
    def model(self) -> str:
        """The name of the model under study, or a phrase that fits where a name would stand."""
        return called(self.settings.get("model")) or "the model"

    @property
    def task(self) -> str:
        """The name of the task, or else of the stage."""
        return called(self.settings.get("task")) or self.name

    def metric(self, name: str) -> Metric:
        """A metric by name; unknown ones are all NaN, so that callers need no special case."""
        return self.metrics.get(name, UNKNOWN)


def gap_folders(run: Path) -> list[Path]:
    """The gap stage folders of a run (or the folder itself when it is one), in the order they were measured."""
    if not run.is_dir():
        raise AccordError("There is no such run folder.", where=run, fix="give the folder that `accord run` made")
    if (run / SCORES).is_file():
        return [run]
    # A stage that is being written has a name with a leading dot: it is not there yet.
    found = [p for p in run.glob("gap/*") if p.is_dir() and not p.name.startswith(".")]
    if not found:
        raise AccordError(
            "This folder holds no measured gap.",
            where=run,
            wanted=f"gap/<name>/{SCORES} inside it, or {SCORES} itself",
            fix="run `accord run STUDY.toml` or `accord gap --out DIR` first",
        )
    return sorted(found, key=lambda p: (str(_read_json(p / MANIFEST, {}).get("started", "")), p.name))


def manifests(run: Path, stage: str = "*") -> list[dict[str, Any]]:
    """What the whole stages of a run (or its stages of one name) say of themselves, those of trials too."""
    paths = [path for path in run.rglob(f"{stage}/{MANIFEST}") if _shown(path.relative_to(run))]
    return [_read_json(path, {}) for path in sorted(paths)]


def _shown(path: Path) -> bool:
    """Whether no part of a path is hidden: a stage that is being written has a name with a leading dot."""
    return not any(part.startswith(".") for part in path.parts)


def read_gap(folder: Path) -> Gap:
    """Read and check a gap folder; says which file, column or metric is missing."""
    if not folder.is_dir():
        raise AccordError("There is no such gap folder.", where=folder, fix=_MEASURE_AGAIN)
    scores = _read_table(folder / SCORES)
    if scores is None:
        have = nearest(SCORES, [p.name for p in folder.iterdir()]) or "an empty folder"
        raise AccordError("The table of scores is missing.", where=folder, got=have, wanted=SCORES, fix=_MEASURE_AGAIN)
    layers = _read_table(folder / "layers.parquet")
    if layers is not None and not layers["item"].between(0, len(scores) - 1).all():
        raise AccordError(
            "A table names items that are not in the scores.",
            where=folder / "layers.parquet",
            got=f"items {layers['item'].min()} to {layers['item'].max()}",
            wanted=f"row numbers of {SCORES}, 0 to {len(scores) - 1}",
            fix=_MEASURE_AGAIN,
        )
    return Gap(
        path=folder,
        scores=_checked_scores(scores, folder / SCORES),
        metrics=_metrics(folder / METRICS),
        reasons=_reasons(folder / METRICS),
        layers=layers,
        layer_metrics=_read_table(folder / "layer_metrics.parquet"),
        layer_matrix=_read_table(folder / "layer_matrix.parquet"),
        lens=_read_table(folder / "lens.parquet"),
        manifest=_read_json(folder / MANIFEST, {}),
        answer_score=str(_read_json(folder / METRICS, {}).get(ANSWER_SCORE, "first")),
    )


def _read_table(path: Path) -> pd.DataFrame | None:
    """A parquet table with the columns it must have, or None when there is no such file."""
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # the parquet reader has no common class for "this is not parquet"
        raise AccordError("This table cannot be read.", where=path, got=error, fix=_MEASURE_AGAIN) from error
    missing = [c for c in _COLUMNS[path.name] if c not in table.columns]
    if missing:
        raise AccordError(
            f"A table lacks {'a column' if len(missing) == 1 else 'columns'}.",
            where=path,
            got=", ".join(map(str, table.columns)),
            wanted=", ".join(missing),
            fix=_MEASURE_AGAIN,
        )
    return table.reset_index(drop=True)


def _checked_scores(scores: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The scores with plain types: gold bool, numbers float; group and similarity there even when unknown."""
    if scores.empty:
        raise AccordError("The table of scores has no rows.", where=path, fix="measure at least one item")
    gold = scores["gold"]
    if not (pd.api.types.is_bool_dtype(gold) and gold.notna().all()):
        raise _mistyped("`gold` must say true or false.", path, gold, "bool")
    for column in _NUMBERS:
        if not pd.api.types.is_numeric_dtype(scores[column]):
            raise _mistyped(f"`{column}` must hold numbers.", path, scores[column], "float")
    ranks = scores["generator_rank"].to_numpy(dtype=float, na_value=np.nan)
    if not bool((ranks >= 1).all()):
        raise AccordError(
            "`generator_rank` counts from 1.", where=path, got=f"a lowest rank of {ranks.min():g}", fix=_MEASURE_AGAIN
        )
    extra = {c: None for c in ("group", "similarity") if c not in scores.columns}
    floats = {c: scores[c].to_numpy(dtype=float, na_value=np.nan) for c in _NUMBERS}
    return scores.assign(gold=gold.astype(bool), **floats, **extra)


def _mistyped(problem: str, path: Path, column: pd.Series, wanted: str) -> AccordError:
    return AccordError(problem, where=path, got=column.dtype, wanted=wanted, fix=_MEASURE_AGAIN)


def _metrics(path: Path) -> dict[str, Metric]:
    """metrics.json as name -> Metric; a bare number counts as one without an interval."""
    if not path.is_file():
        raise AccordError("The metrics are missing.", where=path.parent, wanted=METRICS, fix=_MEASURE_AGAIN)
    raw = _read_json(path, {})
    metrics = {str(name): _metric(value, name, path) for name, value in raw.items() if name != ANSWER_SCORE}
    missing = [name for name in _NEEDED_METRICS if name not in metrics]
    if missing:
        raise AccordError(
            "The metrics are incomplete.",
            where=path,
            got=", ".join(metrics),
            wanted=", ".join(missing),
            fix=_MEASURE_AGAIN,
        )
    return metrics


def _metric(raw: object, name: object, path: Path) -> Metric:
    parts: Sequence[object] = (raw, None, None)
    if isinstance(raw, Mapping):
        parts = [raw.get(k) for k in ("value", "low", "high")]
    try:
        # null is how JSON writes a number that is not defined, such as a correlation within an empty class
        return Metric(*(math.nan if part is None else float(str(part)) for part in parts))
    except ValueError as error:
        raise AccordError(
            "A metric is not a number.",
            where=f"{path}, {name}",
            got=raw,
            wanted="{value, low, high}",
            fix=_MEASURE_AGAIN,
        ) from error


def _reasons(path: Path) -> dict[str, str]:
    """Why measures of metrics.json have no interval, by name."""
    raw = _read_json(path, {})
    return {
        name: plain(str(one["reason"])) for name, one in raw.items() if isinstance(one, Mapping) and "reason" in one
    }


def _read_json(path: Path, default: dict[str, Any]) -> dict[str, Any]:
    if not path.is_file():
        return default
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AccordError("This file is not JSON.", where=path, got=error, fix=_MEASURE_AGAIN) from error
    if not isinstance(found, dict):
        raise AccordError("This file must hold an object.", where=path, got=type(found).__name__, wanted="{…}")
    return found
