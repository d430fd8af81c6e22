"""The concept dictionaries as the page shows them: scores of the names, and a list to search, sort and open.

Everything in the list is one block of JSON that `templates/names.js` reads. Without a script, and in print, a plain
table of some concepts stands in its place.
"""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from accord.report.data import plain
from accord.report.explain_data import Explained
from accord.report.names_data import TASKS, Named, typical_tokens
from accord.report.names_json import BUDGET, Embedded, embed
from accord.report.names_verdict import coverage, mean_score, names_finding
from accord.report.steering_data import Steered
from accord.report.wording import count, interval, number

FIRST = 40  # concepts of the plain table, beside those that other sections point to
REASONS = 20  # failures told one by one
_BESIDE = 60  # letters of an example in the plain table
_SCRIPT = Path(__file__).parent / "templates" / "names.js"
_MEASURES = {"": "Balanced accuracy", "_auc": "AUC"}


def script() -> tuple[Markup, str]:
    """The script of the page, and its hash for the policy: no other script may run."""
    text = _SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"'sha256-{digest}'"


def names_shown(
    dictionaries: Sequence[Named], steered: Sequence[Steered], explained: Sequence[Explained], run: Path
) -> dict[str, Any]:
    """All that `names.html` shows."""
    found = [names_finding(named) for named in dictionaries]
    share = BUDGET // max(len(dictionaries), 1)
    turned, told = {one.path.name: one for one in steered}, {one.path.name: one for one in explained}
    return {
        "findings": [one for one in found if one is not None],
        "models": [
            _model(named, turned.get(named.path.name), told.get(named.path.name), share, run) for named in dictionaries
        ],
    }


def _model(named: Named, steered: Steered | None, explained: Explained | None, share: int, run: Path) -> dict[str, Any]:
    embedded = embed(named, steered, explained, share)
    links = {name: f"./{quote((named.path / name).relative_to(run).as_posix())}" for name in _files(named)}
    return {
        "label": named.label,
        "key": named.key,
        "annotator": named.annotator,
        "coverage": coverage(named),
        "scores": _scores(named),
        "failures": _failures(named),
        "files": links,
        # Safe to mark so: `embed` leaves no "<" in it.
        "json": Markup(embedded.text),
        "left_out": _left_out(embedded, named),
        "total": len(named.concepts),
        "rows": _plain_rows(named, _pointed_to(steered, explained)),
    }


def _files(named: Named) -> list[str]:
    return [name for name in ("concepts.parquet", "examples.parquet", "answers.jsonl") if (named.path / name).is_file()]


def _scores(named: Named) -> list[dict[str, Any]]:
    """A row a task and measure: own name, shuffled name, difference."""
    rows = []
    for task in TASKS:
        for end, label in _MEASURES.items():
            names = (f"{task}{end}", f"{task}{end}_shuffled", f"{task}{end}_gain")
            metrics = [named.score(name) for name in names]
            if metrics[0].known:
                n = named.scores[names[0]][1]
                cells = [{"value": number(m.value), "interval": interval(m), "note": ""} for m in metrics]
                rows.append({"task": task, "label": label, "cells": cells, "n": f"{n:,}"})
    return rows


def _failures(named: Named) -> dict[str, Any]:
    """Why concepts have no name."""
    table = named.failures
    rows = [] if table.empty else table[table["key"].astype(str).str.startswith("name:")].to_dict("records")
    told = [{"concept": str(row["key"])[5:], "why": plain(str(row["reason"]))} for row in rows]
    others = 0 if table.empty else len(table) - len(rows)
    return {"rows": told[:REASONS], "more": max(0, len(told) - REASONS), "others": others, "total": len(told)}


def _left_out(embedded: Embedded, named: Named) -> str:
    """What the budget of bytes has cost, in words; nothing where all is there."""
    said = []
    total = len(named.concepts)
    if embedded.concepts < total:
        said.append(f"the first {embedded.concepts:,} of {count(total, 'concept')}")
    fill = embedded.fill
    if not fill.whole:
        kinds = [f"{fill.top} of the strongest"]
        kinds += [f"{fill.band} of each quarter"] if fill.band else []
        kinds += [count(fill.texts, "text")] if fill.texts else []
        said.append(f"of each concept at most {', '.join(kinds)} and {fill.tokens} tokens of a list")
    return f"To stay light, this page holds {'; '.join(said)}." if said else ""


def _pointed_to(steered: Steered | None, explained: Explained | None) -> set[int]:
    tables = [stage.effects for stage in (steered,) if stage] + [stage.concepts for stage in (explained,) if stage]
    return {int(k) for table in tables for k in table["concept"]}


def _plain_rows(named: Named, pointed_to: set[int]) -> list[dict[str, Any]]:
    """The best-scored concepts, then the most frequent ones; and all that another section has a link to."""
    rows = [{str(k): v for k, v in row.items()} for row in named.concepts.to_dict("records")]
    rows.sort(key=lambda row: (-_low_if_nan(mean_score(row)), row["name"] is None or row["name"] != row["name"],
                               -float(row["rate"])))  # fmt: skip
    chosen = [row for place, row in enumerate(rows) if place < FIRST or int(row["concept"]) in pointed_to]
    tops = named.examples[named.examples["kind"] == "top"].sort_values("strength", ascending=False, kind="stable")
    first = tops.drop_duplicates("concept").set_index("concept")
    return [_plain_row(row, named.key, first) for row in chosen]


def _plain_row(row: Mapping[str, Any], key: str, first: Any) -> dict[str, Any]:
    k = int(row["concept"])
    example = first.loc[k] if k in first.index else {"before": "", "token": "", "after": ""}
    return {
        "id": f"concept-{key}-{k}",
        "number": str(k),
        "name": "" if row["name"] is None or row["name"] != row["name"] else plain(str(row["name"])),
        "rate": percent(float(row["rate"])),
        **{task: number(float(row.get(task, math.nan))).replace("n/a", "–") for task in TASKS},
        "tokens": typical_tokens(row["types"], 6),
        "before": str(example["before"])[-_BESIDE:],
        "token": str(example["token"]),
        "after": str(example["after"])[:_BESIDE],
    }


def percent(rate: float) -> str:
    """A share as per cent, in two digits: `2.7 %`, `.12 %`."""
    value = 100 * rate
    digits = 0 if value >= 9.95 else 1 if value >= 0.995 else 2
    return f"{number(value, digits)} %"


def _low_if_nan(value: float) -> float:
    return value if math.isfinite(value) else -1.0
