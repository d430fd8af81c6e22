"""The tables on repairs, every number already put into words: methods, test sets, damage."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from accord.damage.wording import word
from accord.report.data import UNKNOWN, Metric
from accord.report.repair_data import CORRELATIONS, Repaired
from accord.report.repair_glossary import DAMAGE_GROUPS, REPAIR_TERMS, damage_term
from accord.report.repair_groups import Repair, nearest, pooled, trials_of, wordings
from accord.report.repair_verdict import factor, harms, worsened
from accord.report.wording import count, interval, number

Cell = dict[str, str]

_NONE: Cell = {"value": "–", "interval": "", "note": ""}
_UNSEEN = {"unseen-hypernyms": "test-unseen-hypernyms", "unseen-both": "test-unseen-both"}


def method_table(repairs: Sequence[Repair], run: Path) -> dict[str, Any]:
    """One row a repair, the base model above them; columns that nothing fills are left out."""
    near, reworded = nearest(repairs), wordings(list(trials_of(repairs)))

    def cells(repair: Repair) -> dict[str, Cell]:
        return {name: _method_cell(repair, name, near, reworded) for name in REPAIR_TERMS}

    whole = [(repair, cells(repair)) for repair in repairs]
    each = [(repair, one, cells(Repair(repair.label, [one]))) for repair in repairs for one in repair.seeds]
    used = [name for name in REPAIR_TERMS if any(row[name]["value"] != "–" for _, row in whole)]
    return {
        "terms": [REPAIR_TERMS[name] for name in used],
        "base": [_base_cell(repairs, name, near, reworded) for name in used],
        "rows": [
            {"label": r.label, "kind": _kind(r), "seeds": len(r.seeds), "cells": [row[name] for name in used]}
            for r, row in whole
        ],
        "each": [
            {"label": r.label, "seed": one.seed, "href": _href(one, run), "cells": [row[name] for name in used]}
            for r, one, row in each
        ],
        "several": any(len(r.seeds) > 1 for r in repairs),
        "single": any(len(r.seeds) == 1 for r in repairs),
    }


def trial_rows(repairs: Sequence[Repair]) -> list[dict[str, Any]]:
    """Every test set of every repair: items, and each correlation before, after, and closed."""
    return [
        {
            "title": title,
            "label": repair.label,
            "n": count(repair.n(trial), "item"),
            "cells": [cell for measure in CORRELATIONS for cell in _moved(repair, trial, measure)],
        }
        for trial, title in trials_of(repairs).items()
        for repair in repairs
        if repair.changed(trial, "pearson_all")
    ]


def damage_table(repair: Repair) -> dict[str, Any]:
    """What a repair broke: the main groups, and all others apart; `sentence` of the first seed that has one."""
    measured_seeds = [one.damage for one in repair.seeds if one.damage is not None]
    rows: dict[tuple[str, str], list[pd.Series]] = {}
    for damage in measured_seeds:
        for _, row in damage.table.iterrows():
            rows.setdefault((row["group"], row["measure"]), []).append(row)
    main = [key for key in rows if key[0] in DAMAGE_GROUPS] or list(rows)
    sentences = [d.sentence for d in measured_seeds if d.sentence]
    return {
        "label": repair.label,
        "sentence": sentences[0] if sentences else "",
        "of_seed": f"seed {repair.first.seed}" if len(repair.seeds) > 1 else "",
        "rows": [_damage_row(rows[key], len(measured_seeds)) for key in main],
        "more": [_damage_row(found, len(measured_seeds)) for key, found in rows.items() if key not in main],
        "worse": len(worsened(repair)),
        "of": max((len(table) for table in harms(repair)), default=0),
    }


def damage_terms(tables: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """What the measures of these tables mean, each once."""
    names = dict.fromkeys(row["measure"] for table in tables for row in (*table["rows"], *table["more"]))
    terms = [damage_term(name) for name in names]
    return [{"label": t.label, "meaning": t.meaning, "defined": t.defined} for t in terms if t.meaning]


def ratio_cell(metric: Metric) -> Cell:
    """A perplexity ratio."""
    if not metric.known:
        return _NONE
    value, brackets = factor(metric)
    return {"value": value, "interval": brackets, "note": ""}


def _method_cell(repair: Repair, name: str, near: str, reworded: Sequence[str]) -> Cell:
    if name == "closure":
        return _cell(repair.metric(near, "pearson_all", "closure"))
    if name == "wordings":
        return _cell(repair.mean_of(reworded, "pearson_all"))
    if name in _UNSEEN:
        return _cell(repair.metric(_UNSEEN[name], "pearson_all"), _worse(repair, _UNSEEN[name], "pearson_all"))
    if name == "perplexity":
        return ratio_cell(repair.perplexity)
    if name == "specificity":
        return _cell(repair.specificity)
    if name == "seconds":
        seconds = repair.seconds
        return {"value": f"{seconds.value:,.0f}", "interval": "", "note": ""} if seconds.known else _NONE
    if name == "generator_auc":
        change = repair.metric(near, name, "change")
        return _cell(change, _worse(repair, near, name), signed=True)
    return _cell(repair.metric(near, name), _worse(repair, near, name))


def _base_cell(repairs: Sequence[Repair], name: str, near: str, reworded: Sequence[str]) -> Cell:
    """The base model's own numbers, where a column has one."""
    trial, measure = (_UNSEEN[name], "pearson_all") if name in _UNSEEN else (near, name)
    if name == "wordings":
        return _cell(_mean_alone([r.mean_of(reworded, "pearson_all", "before") for r in repairs]))
    if name == "generator_auc":
        before = _first(r.before(near, name) for r in repairs)
        return _cell(before) | ({"note": "its AUC"} if before.known else {})
    return _cell(_first(r.before(trial, measure) for r in repairs))


def _mean_alone(metrics: Sequence[Metric]) -> Metric:
    """The first that is known, without an interval: the base model's number is the same for all."""
    return _first(metrics)._replace(low=float("nan"), high=float("nan"))


def _first(metrics: Iterable[Metric]) -> Metric:
    return next((metric for metric in metrics if metric.known), UNKNOWN)


def _worse(repair: Repair, trial: str, measure: str) -> str:
    """A word where a measure fell beyond chance: over the items of every seed."""
    changes = [changed.change for changed in repair.changed(trial, measure)]
    return "▾ worse" if changes and all(change.high < 0 for change in changes) else ""


def _cell(metric: Metric, note: str = "", *, signed: bool = False) -> Cell:
    if not metric.known:
        return _NONE
    if not signed:
        return {"value": number(metric.value), "interval": interval(metric), "note": note}
    if not any(metric):
        return {"value": "0", "interval": "", "note": note}
    sign = "+" if metric.value > 0 else ""  # and three digits: a change may be small and beyond doubt
    return {"value": sign + number(metric.value, 3), "interval": interval(metric, 3), "note": note}


def _moved(repair: Repair, trial: str, measure: str) -> list[Cell]:
    """`.01 → .84`, and how much of the gap that closes."""
    before, after = repair.before(trial, measure), repair.metric(trial, measure)
    moved = {"value": f"{number(before.value)} → {number(after.value)}", "interval": interval(after), "note": ""}
    return [moved, _cell(repair.metric(trial, measure, "closure"))]


def _kind(repair: Repair) -> str:
    return repair.kind if repair.kind and repair.kind not in repair.label else ""


def _href(one: Repaired, run: Path) -> str:
    return "./" + quote((one.path / "verdict.json").relative_to(run).as_posix())


def _damage_row(rows: Sequence[pd.Series], seeds: int) -> dict[str, Any]:
    first = rows[0]
    change = pooled([Metric(row["change"], row["low"], row["high"]) for row in rows])
    base, after = (sum(float(row[side]) for row in rows) / len(rows) for side in ("base", "repaired"))
    words = [word(row.to_dict()) for row in rows]
    hits = sum(one in ("worse", "moved") for one in words)
    if first["ratio"]:
        value, brackets = factor(change)
        moved = {"value": f"× {value}", "interval": brackets, "note": ""}
    else:
        moved = _precise(change, base)
    return {
        "group": DAMAGE_GROUPS.get(first["group"], first["group"]),
        "measure": first["measure"],
        "label": damage_term(first["measure"]).label,
        "base": _sized(base, change),
        "repaired": _sized(after, change),
        "change": moved,
        "n": "" if pd.isna(first["n"]) else f"{int(first['n']):,}",
        "verdict": words[0] if words[0] == "neutral" else max(words) if 2 * hits >= seeds else "",
        "in_seeds": f"in {hits} of {seeds} seeds" if seeds > 1 and 0 < hits < seeds else "",
    }


def _digits(change: Metric) -> int:
    """Enough digits to see the change, and no more."""
    size = abs(change.value) if change.known else 0.0
    return 3 if 0 < size < 0.02 else 2


def _precise(change: Metric, base: float) -> Cell:
    if not change.known:
        return _NONE
    digits = 1 if abs(base) >= 10 else _digits(change)
    sign = "+" if change.value > 0 and float(f"{change.value:.{digits}f}") else ""
    return {"value": sign + number(change.value, digits), "interval": interval(change, digits), "note": ""}


def _sized(value: float, change: Metric) -> str:
    digits = 1 if abs(value) >= 10 else _digits(change)
    return number(value, digits)
