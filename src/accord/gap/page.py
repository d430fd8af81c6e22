"""The gaps of a run as the page shows them: every number already put into words, nothing left to the template."""

import math
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from accord.gap.figures import draw_all
from accord.gap.findings import disagreements, finding, what_counts
from accord.gap.glossary import FILES, MAIN, SCORES, term
from accord.gap.in_run import MeasuredGap, gaps_of
from accord.gap.item_json import BUDGET, SCRIPT, items_shown
from accord.gap.result import Gap
from accord.gap.slices import AFFIRMS_SILENT, SAYS_DENIES, by_category, by_similarity, judged, worst
from accord.report import header, style
from accord.report.chapter import Chapter, FirstScreen
from accord.report.drawn import on_page
from accord.report.links import href, size
from accord.report.metric import Metric, metric_in, plain
from accord.report.prompts import LONGEST, flat, shared_beginning
from accord.report.wording import capital, count, interval, measured, number
from accord.study.run_folder import Run
from accord.study.store import EXPORT, REPORT

FIGURE_BUDGET = 3_500_000  # bytes; from there on, further gaps show only their first figure
CATEGORY_ROWS = 400
_TEMPLATE, _OVERVIEW = (Path(__file__).parent / name for name in ("page.html", "overview.html"))

_PLACES = {
    "generator": ("said more readily", "said less readily"),
    "validator": ("affirmed more", "affirmed less"),
}

_LAYER_FIGURES = {"layers": "curves by layer", "matrix": "layer by layer matrix", "lens": "token map"}


def chapters(run: Run) -> list[Chapter]:
    """An overview where there are several gaps, and a chapter of each."""
    gaps = gaps_of(run)
    single, spent = [], 0
    for i, gap in enumerate(gaps):
        key = f"gap-{i + 1}"
        shown = gap_shown(gap, key, run.folder, light=spent > FIGURE_BUDGET, budget=BUDGET // len(gaps))
        spent += sum(figure["weight"] for figure in [*shown["figures"], shown["categories"]] if figure)
        script = SCRIPT.read_text(encoding="utf-8")
        terms = [term(name) for name in gap.gap.metrics]
        answer, gist = _answer(gap, shown), _gist(shown)
        single.append(Chapter(key, gap.name, _TEMPLATE, shown, answer, gist, script=script, terms=terms))
    return single if len(single) < 2 else [_overview(run, gaps, [chapter.key for chapter in single]), *single]


def gap_shown(
    measured_gap: MeasuredGap, key: str, run: Path, *, light: bool = False, budget: int = BUDGET
) -> dict[str, Any]:
    """All that `page.html` shows of one gap.

    Args:
        key: makes ids unique.
        run: the folder that the page stands in.
        light: leave out all figures but the first.
        budget: bytes that the table of all items may take.
    """
    gap = measured_gap.gap
    with style.house_style():
        figures = on_page(draw_all(gap)[: 1 if light else None], key)
    return {
        "findings": [finding(measured_gap)],
        "n": count(len(gap.scores), "item"),
        "measures": [_measure(gap, name) for name in MAIN if name in gap.metrics],
        "all_measures": [_measure(gap, name) for name in gap.metrics],
        "corrections": corrections_shown(gap),
        "figures": [f for f in figures if f["name"] != "categories"],
        "categories": next((f for f in figures if f["name"] == "categories"), None),
        "absent": [] if light else [v for k, v in _LAYER_FIGURES.items() if k not in {f["name"] for f in figures}],
        "reasons": _reasons(gap),
        "light": light,
        "category_rows": [_percentages(row) for row in by_category(gap.scores).head(CATEGORY_ROWS).to_dict("records")],
        "similarity_rows": [_percentages(row) for row in by_similarity(gap.scores).to_dict("records")],
        "worst": _worst(gap.scores),
        "all_items": items_shown(key, gap.scores, label=f"Items of {measured_gap.name}", budget=budget),
        **_provenance(measured_gap, run),
    }


_CORRECTED = {"generator_auc": "AUC", "spearman": "ρ with the validator"}
_NOWHERE = "No prompt has four answers, right and wrong ones, so nothing is measured within prompts here"


def corrections_shown(gap: Gap) -> dict[str, Any] | None:
    """How each way of scoring an answer does, within prompts where there is something to compare, and over all items.

    None where that was not measured.
    """
    if gap.corrections is None or gap.corrections.empty:
        return None
    found = {(row["score"], row["metric"]): row for row in gap.corrections.to_dict("records")}
    scores = list(dict.fromkeys(gap.corrections["score"]))
    prompts, compared = (int(gap.metrics.get(name, {}).get("value") or 0) for name in ("prompts", "prompts_compared"))
    scopes = {"within prompts": "within", "all items": "value"} if compared else {"all items": "value"}
    ends = {"within": ("within", "within_low", "within_high"), "value": ("value", "low", "high")}

    def metric(score: str, measure: str, scope: str) -> Metric:
        row = found.get((score, measure), {})
        return Metric(*(float(row.get(end, math.nan)) for end in ends[scope]))

    def cells(score: str) -> list[dict[str, str]]:
        metrics = [metric(score, measure, scope) for measure in _CORRECTED for scope in scopes.values()]
        return [{"value": number(each.value), "interval": interval(each)} for each in metrics]

    first = next(iter(scopes.values()))
    aucs = {name: value for name in scores if not math.isnan(value := metric(name, "generator_auc", first).value)}
    lead = "How well an answer's score tells right from wrong depends on how it is made"
    if aucs:
        low, high = min(aucs, key=aucs.__getitem__), max(aucs, key=aucs.__getitem__)
        lead += f": from AUC {number(aucs[low])} ({_scored(low)}) to {number(aucs[high])} ({_scored(high)})"
    where = f"Within prompts: the mean over {compared:,} of {count(prompts, 'prompt')}, those with four answers or more"
    within = f"{where}, right and wrong ones; its interval is over prompts" if compared else _NOWHERE
    return {
        "lead": lead + ".",
        "columns": [f"{title}, {scope}" for title in _CORRECTED.values() for scope in scopes],
        "rows": [{"label": _scored(name), "cells": cells(name)} for name in scores],
        "note": f"{within}. Scores of whole answers are of all their tokens. ρ: Spearman's rank correlation. "
        "Concordance and r are in corrections.parquet, the scores in scores.parquet.",
    }


def _scored(name: str) -> str:
    """A way of scoring answers, in words."""
    return SCORES.get(name) or plain(name)


def _overview(run: Run, gaps: list[MeasuredGap], keys: list[str]) -> Chapter:
    """A table over several gaps."""
    rows = [
        {"key": key, "name": gap.name, "model": gap.model, "task": gap.task, "n": f"{len(gap.gap.scores):,}"}
        | {name: measured(metric_in(gap.gap.metrics, name)) for name in MAIN}
        for gap, key in zip(gaps, keys, strict=True)
    ]
    shown = {"rows": rows, "models": len(header.models(run)) > 1, "tasks": len(header.tasks(run)) > 1}
    return Chapter("overview", "Overview", _OVERVIEW, shown, folded=False, leads=True)


def _answer(gap: MeasuredGap, shown: Mapping[str, Any]) -> FirstScreen:
    asked = f"Does {gap.model} affirm, when it is asked, what it says when it completes a sentence? Task: {gap.task}."
    picture = next((figure for figure in shown["figures"] if figure["name"] == "scatter"), None)
    over = disagreements(gap.gap) or f"{capital(shown['n'])}."
    return FirstScreen(asked, f"{over} Nothing was trained, so there are no seeds.", picture)


def _gist(shown: Mapping[str, Any]) -> str:
    return f"{capital(shown['n'])}: measures, pictures, where the two forms disagree, every item."


def _provenance(measured_gap: MeasuredGap, run: Path) -> dict[str, Any]:
    """How the numbers came to be: settings, versions, command, files."""
    manifest, counts = measured_gap.manifest, what_counts(measured_gap.gap)
    return {
        "settings": [*flat(manifest["settings"]), *([("generator score", counts)] if counts else [])],
        "seed": manifest["seed"],
        "versions": list(flat(manifest["versions"])),
        **{name: str(manifest[name]) for name in ("command", "started", "finished")},
        "files": _files(measured_gap.folder, run),
    }


def _files(folder: Path, run: Path) -> list[dict[str, Any]]:
    """The stage's files, a line each; those that differ only in their ending (a figure's) share one."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".") and p.name != REPORT]
    paths = [p for p in files if p.relative_to(folder).parts[0] != EXPORT]
    lines: list[dict[str, Any]] = []
    for _, same in groupby(sorted(paths, key=str), key=lambda p: p.with_suffix("")):
        kinds = list(same)
        names = [kinds[0].relative_to(run).as_posix(), *(kind.suffix for kind in kinds[1:])]
        lines.append(
            {
                "links": [{"text": name, "href": href(p, run)} for name, p in zip(names, kinds, strict=True)],
                "what": FILES.get(kinds[0].name, ""),
                "size": size(kinds),
            }
        )
    return sorted(lines, key=lambda line: not line["what"])


def _measure(gap: Gap, name: str) -> dict[str, Any]:
    what, metric = term(name), metric_in(gap.metrics, name)
    reason = plain(gap.metrics[name].get("reason", ""))
    return {
        "name": name,
        "label": what.label,
        "place": what.place,
        "meaning": what.meaning,
        "defined": what.defined,
        "value": f"{metric.value:,.0f}" if what.whole and metric.known else number(metric.value),
        "interval": interval(metric) or ("–" if reason else ""),
        "reason": reason,
        "whisker": None if what.whole or math.isnan(what.low) else _whisker(metric, what.low, what.high, what.neutral),
    }


def _reasons(gap: Gap) -> list[str]:
    """Why measures have no interval: each reason with the measures that have none for it."""
    names: dict[str, list[str]] = {}
    for name, metric in gap.metrics.items():
        if "reason" in metric:
            names.setdefault(plain(metric["reason"]), []).append(term(name).label)
    return [f"{', '.join(labels)}: {reason}" for reason, labels in names.items()]


def _whisker(metric: Metric, low: float, high: float, neutral: float | None) -> dict[str, str] | None:
    """Places on a line of 100 units: value, interval, and the mark of chance."""
    if not metric.known:
        return None

    def place(value: float) -> str:
        return f"{100 * min(1.0, max(0.0, (value - low) / (high - low))):.1f}"

    ends = [end if math.isfinite(end) else metric.value for end in (metric.low, metric.high)]
    mark = place(neutral) if neutral is not None else ""
    return {"value": place(metric.value), "low": place(ends[0]), "high": place(ends[1]), "neutral": mark}


def _percentages(row: Mapping[Any, Any]) -> dict[str, Any]:
    shares = ("rate", "low", "high", "says_denies", "affirms_silent", "generator_right", "validator_right")
    return {str(k): f"{v:.0%}" if k in shares else v for k, v in row.items()}


def _worst(scores: pd.DataFrame) -> list[dict[str, Any]]:
    titles = {
        SAYS_DENIES: ("Says it, but denies it", "Likely when completing; asked, it answers no."),
        AFFIRMS_SILENT: ("Affirms it, but would not say it", "Unlikely when completing; asked, it answers yes."),
    }
    shared = {form: shared_beginning(scores[f"{form}_prompt"].tolist()) for form in ("generator", "validator")}
    kinds = judged(scores)["disagreement"].value_counts()
    return [
        {
            "title": titles[kind][0],
            "lead": titles[kind][1],
            "total": int(kinds.get(kind, 0)),
            "items": [_item(row, shared) for row in rows.to_dict("records")],
        }
        for kind, rows in worst(scores).items()
    ]


def _item(row: Mapping[Any, Any], shared: Mapping[str, str]) -> dict[str, Any]:
    mass = row.get("yes_no_mass")
    return {
        "answer": str(row["answer"])[:LONGEST],
        "gold": bool(row["gold"]),
        "group": None if pd.isna(row["group"]) or row["group"] == row["answer"] else str(row["group"]),
        "rank": f"{row['generator_rank']:,.0f}",
        "mass": number(float(mass)) if isinstance(mass, float) else None,
        "forms": {form: _form(row, form, shared[form]) for form in _PLACES},
    }


def _form(row: Mapping[Any, Any], form: str, shared: str) -> dict[str, Any]:
    prompt, place = str(row[f"{form}_prompt"]), float(row[f"{form}_place"])
    own = prompt.removeprefix(shared)
    return {
        "shared": shared[-LONGEST:] if prompt.startswith(shared) else "",
        "own": own[-LONGEST:],
        "cut": max(0, len(own) - LONGEST),
        "logodds": number(float(row[f"{form}_logodds"]), bare=False),
        "place": f"{100 * place:.1f}",
        "words": _above(place, *_PLACES[form]),
    }


def _above(place: float, more: str, less: str) -> str:
    """How many of the other items stand lower, never rounded up to all or down to none."""
    if place in (0.0, 1.0):
        return f"{more if place else less} than any other item"
    return f"{more} than {min(0.99, max(0.01, place)):.0%} of the items"
