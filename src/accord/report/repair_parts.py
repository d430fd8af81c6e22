"""What the damage and the pathway of one repaired model look like on disk: tables and the sentences about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from accord.report.data import plain
from accord.report.reading import need, read_object, read_rows, read_table

_ENDS = ("value", "low", "high")
_DAMAGE_NUMBERS = ("base", "repaired", "change", "low", "high")
_DAMAGE = ("group", "measure", *_DAMAGE_NUMBERS, "n", "worse_if", "worsened")

# Columns of the pathway's tables: what names a row, and its numbers.
_PATHWAY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "curves": (("model", "metric"), ("layer", *_ENDS)),
    "matrix": (("model",), ("generator_layer", "validator_layer", "pearson")),
    "cka": (("form",), ("layer", *_ENDS)),
    "readout": (("model", "items", "metric"), ("layer", *_ENDS)),
    "patching": (("direction", "what"), ("layer", *_ENDS)),
    "concepts": (("concept",), ("before", "after", "change", "low", "high")),
}


@dataclass(frozen=True)
class Damage:
    """What a repair broke: a sentence, a row a measure, and texts that both models wrote."""

    path: Path
    sentence: str
    table: pd.DataFrame
    generations: pd.DataFrame


@dataclass(frozen=True)
class Pathway:
    """Which way a repair goes: a sentence, and those of the tables that were made."""

    path: Path
    sentence: str
    tables: Mapping[str, pd.DataFrame]


def read_damage(folder: Path) -> Damage | None:
    """What a damage folder holds; None where nothing was measured."""
    table = read_table(folder / "damage.parquet", _DAMAGE, _DAMAGE_NUMBERS)
    if table is None:
        return None
    named = {c: [plain(str(v)) for v in table[c]] for c in ("group", "measure")}
    # A change that is a ratio is best at 1, any other at 0.
    ratio = table["change_is"] == "ratio" if "change_is" in table.columns else np.zeros(len(table), dtype=bool)
    worsened = table["worsened"].fillna(False).astype(bool)
    return Damage(
        path=folder,
        sentence=_sentence(folder / "damage.json"),
        table=table.assign(worsened=worsened, ratio=ratio, **named),
        generations=_generations(folder / "generations.jsonl"),
    )


def _generations(path: Path) -> pd.DataFrame:
    """What both models wrote, a row a prompt: prompt, base, repaired."""
    rows = read_rows(path, ("prompt",)) if path.is_file() else pd.DataFrame()
    if {"model", "text"} <= set(rows.columns):  # a row a text: the k-th of a prompt by either model belong together
        rows = rows.assign(k=rows.groupby(["model", "prompt"], sort=False).cumcount())
        order = rows[["prompt", "k"]].drop_duplicates()
        wide = rows.pivot(index=["prompt", "k"], columns="model", values="text").reset_index()
        rows = order.merge(wide, on=["prompt", "k"], how="left")
    if len(rows):
        need(dict.fromkeys(rows.columns), ("base", "repaired"), path, "column")
    return rows.reindex(columns=["prompt", "base", "repaired"])


def read_pathway(folder: Path) -> Pathway | None:
    """What a pathway folder holds; None where nothing was measured."""
    tables = {}
    for name, (keys, numbers) in _PATHWAY.items():
        table = read_table(folder / f"{name}.parquet", (*keys, *numbers), numbers)
        if table is not None and "positions" in table.columns:  # patching: the last position alone, or all of them
            table = table[table["positions"] == "last"].reset_index(drop=True)
        if table is not None and len(table):
            tables[name] = table
    sentence = _sentence(folder / "pathway.json")
    return Pathway(folder, sentence, tables) if tables or sentence else None


def _sentence(path: Path) -> str:
    """The sentence, or the sentences, of a summary."""
    raw = read_object(path) if path.is_file() else {}
    said = raw.get("sentence") or raw.get("sentences") or ""
    return plain(" ".join(map(str, said)) if isinstance(said, list) else str(said))
