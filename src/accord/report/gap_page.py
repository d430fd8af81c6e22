"""One measured gap as the page shows it: every number already put into words, nothing left to the template."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from accord.report import style
from accord.report.data import Gap, Metric
from accord.report.figures import draw_all
from accord.report.finding import Finding
from accord.report.glossary import MAIN, term
from accord.report.slices import AFFIRMS_SILENT, SAYS_DENIES, by_category, by_similarity, judged, worst
from accord.report.verdict import remarks, verdict
from accord.report.wording import capital, count, interval, measured, number

LONGEST = 6000  # characters of a prompt on the page; the rest is in scores.parquet
SHORTEST_FOLD = 60  # a shared beginning shorter than this is not worth folding away
CATEGORY_ROWS = 400

_PLACES = {
    "generator": ("said more readily", "said less readily"),
    "validator": ("affirmed more", "affirmed less"),
}

_LAYER_FIGURES = {"layers": "curves by layer", "matrix": "layer by layer matrix", "lens": "token map"}


def gap_section(gap: Gap, key: str, *, light: bool = False) -> dict[str, Any]:
    """All that `gap.html` shows of one gap. `key` makes ids unique; `light` leaves out all figures but the first."""
    figures = _figures(gap, key, light)
    headline, _, evidence = verdict(gap).partition(": ")
    return {
        "key": key,
        "name": gap.name,
        "task": gap.task,
        "model": gap.model,
        "n": count(len(gap.scores), "item"),
        "finding": Finding(headline, capital(evidence), remarks=remarks(gap)),
        "measures": [_measure(gap, name) for name in MAIN if name in gap.metrics],
        "all_measures": [_measure(gap, name) for name in gap.metrics],
        "figures": [f for f in figures if f["name"] != "categories"],
        "categories": next((f for f in figures if f["name"] == "categories"), None),
        "absent": [] if light else [v for k, v in _LAYER_FIGURES.items() if k not in {f["name"] for f in figures}],
        "reasons": _reasons(gap),
        "light": light,
        "category_rows": [_percentages(row) for row in by_category(gap.scores).head(CATEGORY_ROWS).to_dict("records")],
        "similarity_rows": [_percentages(row) for row in by_similarity(gap.scores).to_dict("records")],
        "worst": _worst(gap.scores),
    }


def overview_row(gap: Gap, key: str) -> dict[str, str]:
    """One line of the table over several gaps."""
    cells = {name: measured(gap.metric(name)) for name in MAIN}
    return {"key": key, "name": gap.name, "model": gap.model, "task": gap.task, "n": f"{len(gap.scores):,}"} | cells


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and readable values."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{name}", shown if len(shown) <= LONGEST else shown[:LONGEST] + "…"


def _figures(gap: Gap, key: str, light: bool) -> list[dict[str, Any]]:
    with style.house_style():
        drawn = draw_all(gap)[: 1 if light else None]
        return [
            {
                "name": d.name,
                "title": d.title,
                "caption": d.caption,
                "alt": d.alt,
                "wide": d.wide,
                # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
                "svg": Markup(style.inline_svg(d.figure, f"{key}-{d.name}")),
            }
            for d in drawn
        ]


def _measure(gap: Gap, name: str) -> dict[str, Any]:
    what, metric = term(name), gap.metric(name)
    return {
        "name": name,
        "label": what.label,
        "meaning": what.meaning,
        "defined": what.defined,
        "value": f"{metric.value:,.0f}" if what.whole and metric.known else number(metric.value),
        "interval": interval(metric) or ("–" if name in gap.reasons else ""),
        "reason": gap.reasons.get(name, ""),
        "whisker": None if what.whole or math.isnan(what.low) else _whisker(metric, what.low, what.high, what.neutral),
    }


def _reasons(gap: Gap) -> list[str]:
    """Why measures have no interval: each reason with the measures that have none for it."""
    names: dict[str, list[str]] = {}
    for name, reason in gap.reasons.items():
        names.setdefault(reason, []).append(term(name).label)
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


def shared_beginning(prompts: Sequence[str]) -> str:
    """What every prompt starts with, in whole lines: the worked examples of a few-shot form."""
    if len(prompts) < 2:
        return ""
    first, last = min(prompts), max(prompts)  # what these two share, all that lie between them share
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    whole_lines = first[: first.rfind("\n", 0, same) + 1]
    return whole_lines if len(whole_lines) >= SHORTEST_FOLD else ""
