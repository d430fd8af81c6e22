"""What the concept stages of a run left in their folders: models, heads, texts, and how those were judged."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.errors import AccordError
from accord.report.data import METRICS, plain
from accord.report.reading import AGAIN, as_number, as_whole, folders, need, read_curve, read_object, read_rows

CURVE = "curve.jsonl"
TEXTS = "texts.jsonl"

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
        found = folders(run / kind)
        stages[kind] = [_stage(folder, kind) for folder in found if (folder / METRICS).is_file()]
        left_out += [plain(f"{kind}/{f.name}") for f in found if not (f / METRICS).is_file()]
    texts = [_texts(folder) for folder in folders(run / "texts") if (folder / TEXTS).is_file()]
    return ConceptLine(
        corpus=read_object(corpus) if corpus.is_file() else {},
        texts=[t for t in texts if len(t.table)],
        left_out=left_out,
        **stages,
    )


def holds_line(run: Path) -> bool:
    """Whether a run folder has anything of this at all."""
    return any(folders(run / kind) for kind in (*_NUMBERS, "texts"))


def _group(folder: Path) -> str:
    return plain(re.sub(r"-s\d+$", "", folder.name))


def _stage(folder: Path, kind: str) -> Stage:
    path = folder / METRICS
    raw = read_object(path)
    need(raw, (*_NAMES[kind], *_NUMBERS[kind]), path, "key")
    numbers = {name: as_number(raw[name], name, path) for name in _NUMBERS[kind]}
    seed = 0 if raw["seed"] is None else raw["seed"]  # null: what no seed changes, as the backbone's own head
    return Stage(
        path=folder,
        group=_group(folder),
        seed=as_whole(seed, "seed", path),
        numbers=numbers,
        names={name: "" if raw[name] is None else plain(str(raw[name])) for name in _NAMES[kind]},
        curve=read_curve(folder / CURVE, _CURVE_NEEDS[kind]) if kind in _CURVE_NEEDS else None,
    )


def _texts(folder: Path) -> Texts:
    path = folder / TEXTS
    table = read_rows(path, _TEXT_NEEDS)
    row, seed = (table["row"].iloc[0], table["seed"].iloc[0]) if len(table) else ("", 0)
    try:
        return Texts(folder, _group(folder), plain(str(row)), int(seed), table)
    except (TypeError, ValueError) as error:
        raise AccordError("`seed` must be a whole number.", where=path, got=seed, fix=AGAIN) from error
