"""What the concept stages of a run left in their folders: models, heads, texts, and how those were judged."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.errors import AccordError
from accord.report.data import MANIFEST, METRICS, plain

CURVE = "curve.jsonl"
TEXTS = "texts.jsonl"
_AGAIN = "run the study again, or take the folder away"

# What metrics.json must say, stage by stage: numbers (null where one is not defined) and names.
_NUMBERS = {
    "concepts": (
        "r2", "fvu", "r2_hard", "l0", "alive", "ce_recovered", "ce_recovered_hard", "parameters", "seconds", "seed",
    ),
    "heads": ("seed", "held_out_ce", "start_ce", "unigram_ce", "seconds"),
    "perplexity": (
        "seed", "judge_mean", "judge_mean_low", "judge_mean_high", "judge_weighted", "own_perplexity",
        "distinct_1", "distinct_2", "distinct_3", "repeated_4", "n", "unscored",
    ),
}  # fmt: skip
_NAMES = {
    "concepts": ("kind", "layer", "name"),
    "heads": ("row", "concepts", "reads", "head", "layer"),
    "perplexity": ("row", "judge"),
}
_CURVE_NEEDS = {"concepts": ("step", "loss"), "heads": ("step", "loss")}
_TEXT_NEEDS = ("row", "seed", "index", "text", "tokens", "finished")


@dataclass(frozen=True)
class Stage:
    """One folder: one seed of a concept model, of a head, or of texts under a judge.

    `group` is the folder's name without its seed: folders of one group differ in their seed only.
    """

    path: Path
    group: str
    seed: int
    numbers: Mapping[str, float]
    names: Mapping[str, str]
    curve: pd.DataFrame | None


@dataclass(frozen=True)
class Texts:
    """The texts that one row of the perplexity table wrote with one seed."""

    path: Path
    group: str
    row: str
    seed: int
    table: pd.DataFrame


@dataclass(frozen=True)
class ConceptLine:
    """All of it; each list is empty where the run has no such stage. `left_out`: folders without their metrics."""

    corpus: Mapping[str, Any]
    concepts: list[Stage]
    heads: list[Stage]
    perplexity: list[Stage]
    texts: list[Texts]
    left_out: list[str]


def read_line(run: Path) -> ConceptLine:
    """Read and check what a run folder holds of this; says which file lacks which key."""
    corpus = run / "embeddings" / "corpus.json"
    stages: dict[str, list[Stage]] = {}
    left_out = []
    for kind in _NUMBERS:
        folders = _folders(run / kind)
        stages[kind] = [_stage(folder, kind) for folder in folders if (folder / METRICS).is_file()]
        left_out += [plain(f"{kind}/{f.name}") for f in folders if not (f / METRICS).is_file()]
    texts = [_texts(folder) for folder in _folders(run / "texts") if (folder / TEXTS).is_file()]
    return ConceptLine(
        corpus=_read_object(corpus) if corpus.is_file() else {},
        texts=[t for t in texts if len(t.table)],
        left_out=left_out,
        **stages,
    )


def holds_line(run: Path) -> bool:
    """Whether a run folder has anything of this at all."""
    return any(_folders(run / kind) for kind in (*_NUMBERS, "texts"))


def _folders(parent: Path) -> list[Path]:
    """Whole stage folders in the order they were started, which is that of the study file."""
    # A stage that is being written has a name with a leading dot: it is not there yet.
    found = [p for p in parent.glob("*") if p.is_dir() and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (_started(p), p.name))


def _started(folder: Path) -> str:
    path = folder / MANIFEST
    return str(_read_object(path).get("started", "")) if path.is_file() else ""


def _group(folder: Path) -> str:
    return plain(re.sub(r"-s\d+$", "", folder.name))


def _stage(folder: Path, kind: str) -> Stage:
    path = folder / METRICS
    raw = _read_object(path)
    _need(raw, (*_NAMES[kind], *_NUMBERS[kind]), path, "key")
    numbers = {name: _number(raw[name], name, path) for name in _NUMBERS[kind]}
    seed = 0.0 if raw["seed"] is None else numbers["seed"]  # null: what no seed changes, as the backbone's own head
    if not seed.is_integer():
        raise AccordError("`seed` must be a whole number.", where=path, got=raw["seed"], fix=_AGAIN)
    return Stage(
        path=folder,
        group=_group(folder),
        seed=int(seed),
        numbers=numbers,
        names={name: "" if raw[name] is None else plain(str(raw[name])) for name in _NAMES[kind]},
        curve=_curve(folder / CURVE, _CURVE_NEEDS[kind]) if kind in _CURVE_NEEDS else None,
    )


def _curve(path: Path, needs: tuple[str, ...]) -> pd.DataFrame | None:
    """The training curve, all numbers; None where there is none (an original head is not trained)."""
    table = _read_rows(path, needs) if path.is_file() else pd.DataFrame()
    return None if table.empty else table.apply(pd.to_numeric, errors="coerce").sort_values("step")


def _texts(folder: Path) -> Texts:
    path = folder / TEXTS
    table = _read_rows(path, _TEXT_NEEDS)
    row, seed = (table["row"].iloc[0], table["seed"].iloc[0]) if len(table) else ("", 0)
    try:
        return Texts(folder, _group(folder), plain(str(row)), int(seed), table)
    except (TypeError, ValueError) as error:
        raise AccordError("`seed` must be a whole number.", where=path, got=seed, fix=_AGAIN) from error


def _number(raw: object, name: str, path: Path) -> float:
    try:
        return math.nan if raw is None else float(str(raw))
    except ValueError as error:
        where = f"{path}, {name}"
        raise AccordError("A metric is not a number.", where=where, got=raw, wanted="a number", fix=_AGAIN) from error


def _read_rows(path: Path, needs: tuple[str, ...]) -> pd.DataFrame:
    """A file of one JSON object a line, as a table; keys that some rows lack are NaN there."""
    rows = []
    for i, line in enumerate(_read(path).split("\n"), 1):
        if line.strip():
            row = _parsed(line, f"{path}, line {i}")
            _need(row, needs, f"{path}, line {i}", "column")
            rows.append(row)
    return pd.DataFrame(rows)


def _need(have: Mapping[str, Any], needs: tuple[str, ...], where: object, noun: str) -> None:
    missing = [name for name in needs if name not in have]
    if missing:
        raise AccordError(
            f"This file lacks {f'a {noun}' if len(missing) == 1 else f'{noun}s'}.",
            where=where,
            got=", ".join(map(str, have)),
            wanted=", ".join(missing),
            fix=_AGAIN,
        )


def _read_object(path: Path) -> dict[str, Any]:
    return _parsed(_read(path), path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise AccordError("This file cannot be read.", where=path, got=error, fix=_AGAIN) from error


def _parsed(text: str, where: object) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise AccordError("This is not JSON.", where=where, got=error, fix=_AGAIN) from error
    if not isinstance(found, dict):
        raise AccordError("This must be an object.", where=where, got=type(found).__name__, wanted="{…}", fix=_AGAIN)
    return found
