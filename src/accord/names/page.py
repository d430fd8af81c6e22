"""The chapter on concept dictionaries: scores of the names, and a list to search, sort and open.

Everything in the list is one block of JSON that `page.js` reads. Without a script, and in print, a plain table of some
concepts stands in its place.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from accord.explain.result import Explanation
from accord.names.answers import failures_of
from accord.names.concept_json import BUDGET, Embedded, embed
from accord.names.findings import TASKS, annotator, coverage, findings, mean_score
from accord.names.meanings import concept_id, typical_tokens
from accord.names.result import NamedDictionary
from accord.report.chapter import Chapter
from accord.report.links import href, label_key
from accord.report.metric import metric_in, plain
from accord.report.wording import count, interval, number
from accord.steering.result import Effects
from accord.study.run_folder import Run

FIRST = 40  # concepts of the plain table, beside those that other chapters point to
REASONS = 20  # failures told one by one
_BESIDE = 60  # letters of an example in the plain table
_MEASURES = {"": "Balanced accuracy", "_auc": "AUC"}


def chapters(run: Run) -> list[Chapter]:
    """One, where the run has a dictionary."""
    dictionaries = run.of(NamedDictionary)
    if not dictionaries:
        return []
    content = {
        "findings": findings(run),
        "models": [_model(run, label, named, BUDGET // len(dictionaries)) for label, named in dictionaries.items()],
    }
    here = Path(__file__).parent
    return [
        Chapter(
            "names",
            "Concept dictionary",
            here / "page.html",
            content,
            brackets="of names over concepts",
            script=(here / "page.js").read_text(encoding="utf-8"),
        )
    ]


def _model(run: Run, label: str, named: NamedDictionary, budget: int) -> dict[str, Any]:
    effects, explanation = run.of(Effects).get(label), run.of(Explanation).get(label)
    folder = run.place(f"names/{label}")
    embedded = embed(named, effects, explanation, budget)
    files = [folder / name for name in ("concepts.parquet", "examples.parquet", "answers.jsonl")]
    return {
        "label": plain(label),
        "key": label_key(label),
        "annotator": annotator(named),
        "coverage": coverage(named),
        "scores": _scores(named),
        "failures": _failures(folder),
        "files": {path.name: href(path, run.folder) for path in files if path.is_file()},
        # Safe to mark so: `embed` leaves no "<" in it.
        "json": Markup(embedded.text),
        "left_out": _left_out(embedded, named),
        "total": len(named.concepts),
        "rows": _plain_rows(label, named, _pointed_to(effects, explanation)),
    }


def _scores(named: NamedDictionary) -> list[dict[str, Any]]:
    """A row a task and measure: own name, shuffled name, difference."""
    rows = []
    for task in TASKS:
        for end, label in _MEASURES.items():
            names = (f"{task}{end}", f"{task}{end}_shuffled", f"{task}{end}_gain")
            metrics = [metric_in(named.metrics, name) for name in names]
            if metrics[0].known:
                n = int(named.metrics[names[0]]["n"])
                cells = [{"value": number(m.value), "interval": interval(m), "note": ""} for m in metrics]
                rows.append({"task": task, "label": label, "cells": cells, "n": f"{n:,}"})
    return rows


def _failures(folder: Path) -> dict[str, Any]:
    """Why concepts have no name."""
    records = failures_of(folder).values()
    names = [record for record in records if str(record["key"]).startswith("name:")]
    rows = [{"concept": str(record["key"])[5:], "why": plain(str(record["reason"]))} for record in names]
    more, others = max(0, len(rows) - REASONS), len(records) - len(rows)
    return {"rows": rows[:REASONS], "more": more, "others": others, "total": len(rows)}


def _left_out(embedded: Embedded, named: NamedDictionary) -> str:
    """What the budget of bytes has cost, in words; nothing where all is there."""
    words = []
    total = len(named.concepts)
    if embedded.concepts < total:
        words.append(f"the first {embedded.concepts:,} of {count(total, 'concept')}")
    fill = embedded.fill
    if not fill.whole:
        kinds = [f"{fill.top} of the strongest"]
        kinds += [f"{fill.band} of each quarter"] if fill.band else []
        kinds += [count(fill.texts, "text")] if fill.texts else []
        words.append(f"of each concept at most {', '.join(kinds)} and {fill.tokens} tokens of a list")
    return f"To stay light, this page holds {'; '.join(words)}." if words else ""


def _pointed_to(effects: Effects | None, explanation: Explanation | None) -> set[int]:
    tables = [effects.table] if effects is not None else []
    tables += [explanation.concepts] if explanation is not None else []
    return {int(k) for table in tables for k in table["concept"]}


def _plain_rows(label: str, named: NamedDictionary, pointed_to: set[int]) -> list[dict[str, Any]]:
    """The best-scored concepts, then the most frequent ones; and all that another chapter has a link to."""
    rows = [{str(k): v for k, v in row.items()} for row in named.concepts.to_dict("records")]
    rows.sort(key=lambda row: (-_low_if_nan(mean_score(row)), row["name"] is None or row["name"] != row["name"],
                               -float(row["rate"])))  # fmt: skip
    chosen = [row for place, row in enumerate(rows) if place < FIRST or int(row["concept"]) in pointed_to]
    tops = named.examples[named.examples["kind"] == "top"].sort_values("strength", ascending=False, kind="stable")
    first = tops.drop_duplicates("concept").set_index("concept")
    return [_plain_row(label, row, first) for row in chosen]


def _plain_row(label: str, row: Mapping[str, Any], first: Any) -> dict[str, Any]:
    k = int(row["concept"])
    example = first.loc[k] if k in first.index else {"before": "", "token": "", "after": ""}
    return {
        "id": concept_id(label, k),
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
    """A share as per cent, in two digits.

    >>> percent(0.0271), percent(0.00123)
    ('2.7 %', '.12 %')
    """
    value = 100 * rate
    digits = 0 if value >= 9.95 else 1 if value >= 0.995 else 2
    return f"{number(value, digits)} %"


def _low_if_nan(value: float) -> float:
    return value if math.isfinite(value) else -1.0
