"""What the repair stages of a run left in their folders: verdicts, damage, pathways, training curves, seed by seed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.errors import AccordError
from accord.report.data import UNKNOWN, Metric, plain
from accord.report.reading import (
    AGAIN,
    as_metric,
    as_number,
    as_whole,
    folders,
    need,
    read_curve,
    read_object,
    read_table,
)
from accord.report.repair_parts import Damage, Pathway, read_damage, read_pathway

REPAIR, VERDICT, DAMAGE, PATHWAY = "repair", "verdict", "damage", "pathway"
BASE = "base-"  # what the folders of base scores begin with, under verdict/

# Test sets in order of distance from the training items (accord.verdict.measure).
NEAREST = "test"
NESTED = (NEAREST, "test-unseen-hypernyms", "test-unseen-both")
CORRELATIONS = ("pearson_all", "pearson_yes", "pearson_no")
MEASURES = (*CORRELATIONS, "validator_auc", "validator_accuracy", "generator_auc")

_SCORES = ("gold", "answer", "generator_prompt", "validator_prompt", "generator_logodds", "validator_logodds")
_LOGODDS = ("generator_logodds", "validator_logodds")


@dataclass(frozen=True)
class Changed:
    """A measure before and after a repair; `closure` is NaN where it is not a correlation."""

    before: Metric
    after: Metric
    change: Metric
    closure: Metric


@dataclass(frozen=True)
class Trial:
    """A test set: how its items differ from the training items, how many there are, what changed on them."""

    title: str
    n: int
    changes: Mapping[str, Changed]


@dataclass(frozen=True)
class Repaired:
    """One seed of one repair. What was not measured is None."""

    path: Path
    name: str
    kind: str
    seed: int
    base: str
    task: str
    seconds: float
    trials: Mapping[str, Trial]
    damage: Damage | None
    pathway: Pathway | None
    curve: pd.DataFrame | None
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Repairs:
    """All repairs of a run; `left_out`: repaired models without a verdict."""

    run: Path
    seeds: list[Repaired]
    left_out: list[str]


def holds_repairs(run: Path) -> bool:
    """Whether a run folder has repairs, or what was found of them."""
    return bool(_verdicts(run) or folders(run / REPAIR))


def read_repairs(run: Path) -> Repairs:
    """Read and check what a run folder holds of repairs; says which file lacks which key or column."""
    whole = _verdicts(run)
    judged = [path.name for path in whole if (path / "verdict.json").is_file()]
    made = [p.name for p in folders(run / REPAIR)]
    order = {name: i for i, name in enumerate(made)}
    judged.sort(key=lambda name: order.get(name, len(order)))
    return Repairs(
        run=run,
        seeds=[_repaired(run, name) for name in judged],
        left_out=[plain(name) for name in dict.fromkeys([*made, *(path.name for path in whole)]) if name not in judged],
    )


def read_scores(run: Path, one: Repaired, trial: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Score tables of base and repaired model on a test set, item by item; None where one is not there."""
    names = [run / VERDICT / one.base / f"{trial}.parquet", one.path / f"{trial}.parquet"]
    tables = [read_table(path, _SCORES, _LOGODDS) for path in names]
    base, repaired = tables
    if base is None or repaired is None or base.empty:
        return None
    same = ["answer", "generator_prompt", "validator_prompt"]
    if len(base) != len(repaired) or not base[same].equals(repaired[same]):
        raise AccordError(
            "The scores before and after are not of the same items.",
            where=names[1],
            got=f"{len(repaired)} items",
            wanted=f"the {len(base)} items of {names[0]}, in their order",
            fix=AGAIN,
        )
    return base.assign(gold=base["gold"].astype(bool)), repaired.assign(gold=base["gold"].astype(bool))


def _verdicts(run: Path) -> list[Path]:
    """Folders of verdicts, whole or not; those of base scores have none to give."""
    found = folders(run / VERDICT)
    return [p for p in found if (p / "verdict.json").is_file() or not p.name.startswith(BASE)]


def _repaired(run: Path, name: str) -> Repaired:
    path = run / VERDICT / name / "verdict.json"
    raw = read_object(path)
    need(raw, ("tests", "repair", "seed", "base"), path, "key")
    made = run / REPAIR / name
    described = made / "repair.json"
    about = read_object(described).get("about", {}) if described.is_file() else {}
    return Repaired(
        path=path.parent,
        name=plain(str(raw["repair"])) or plain(name),
        kind=plain(str(raw.get("kind") or "")),
        seed=0 if raw["seed"] is None else as_whole(raw["seed"], "seed", path),
        base=_inside(raw["base"], path),
        task=plain(str(raw.get("task") or "")),
        seconds=as_number(raw.get("seconds"), "seconds", path),
        trials=_trials(raw["tests"], path),
        damage=read_damage(run / DAMAGE / name),
        pathway=read_pathway(run / PATHWAY / name),
        curve=read_curve(made / "curve.jsonl", ("step", "loss")),
        about=about if isinstance(about, Mapping) else {"about": about},
    )


def _inside(base: object, path: Path) -> str:
    """The folder of the base's scores: a name, never a way out of the run."""
    if not isinstance(base, str) or not re.fullmatch(r"[^/\\]+", base) or base in (".", ".."):
        raise AccordError("`base` must name a folder under verdict/.", where=path, got=base, fix=AGAIN)
    return base


def _trials(raw: object, path: Path) -> dict[str, Trial]:
    if not isinstance(raw, Mapping) or not raw:
        raise AccordError("A verdict must be on test sets.", where=f"{path}, tests", got=raw, wanted="{…}", fix=AGAIN)
    out = {}
    for name, test in raw.items():
        where = f"{path}, {name}"
        _object(test, where)
        need(test, ("n", "changes"), where, "key")
        _object(test["changes"], f"{where}, changes")
        need(test["changes"], CORRELATIONS, f"{where}, changes", "measure")
        changes = {str(m): _changed(c, f"{where}, {m}") for m, c in test["changes"].items()}
        out[str(name)] = Trial(plain(str(test.get("title") or name)), as_whole(test["n"], "n", where), changes)
    return out


def _changed(raw: object, where: str) -> Changed:
    _object(raw, where)
    assert isinstance(raw, Mapping)
    need(raw, ("before", "after", "change"), where, "key")
    before, after, change = (as_metric(raw[part], part, where) for part in ("before", "after", "change"))
    closure = raw.get("closure")  # null for what is not a correlation
    return Changed(before, after, change, UNKNOWN if closure is None else as_metric(closure, "closure", where))


def _object(raw: object, where: str) -> None:
    if not isinstance(raw, Mapping):
        raise AccordError("This must be an object.", where=where, got=type(raw).__name__, wanted="{…}", fix=AGAIN)
