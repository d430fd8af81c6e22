"""The chapter on what could be told of repairs before they were made, a chapter a forecast."""

from pathlib import Path
from typing import Any

from accord.forecasting.figures import draw_all
from accord.forecasting.findings import REPAIRS, corrections, finding, measures
from accord.forecasting.result import RepairForecast
from accord.gap.corrected import TYPICALITIES
from accord.gap.glossary import SCORES
from accord.report import style
from accord.report.chapter import Chapter
from accord.report.drawn import Drawn, on_page
from accord.report.metric import Metric, called, plain
from accord.report.wording import interval, measured, number
from accord.study.run_folder import Run

_TEMPLATE = Path(__file__).with_name("page.html")
_KEY = "forecast"
_TURNED = {
    "turned": "pairs turned",
    "to_right": "turned to right",
    "to_wrong": "turned to wrong",
    "raw_auc": "AUC raw",
    "corrected_auc": "AUC corrected",
}


def chapters(run: Run) -> list[Chapter]:
    """One for each forecast of the run."""
    found = run.of(RepairForecast)
    pages = []
    for i, (label, forecast) in enumerate(found.items()):
        key, title = (_KEY, "Forecast") if len(found) == 1 else (f"{_KEY}-{i + 1}", f"Forecast, {plain(label)}")
        with style.house_style():
            pages.append(Chapter(key, title, _TEMPLATE, _shown(forecast, key), folded=i > 0))
    return pages


def figures(run: Run) -> list[Drawn]:
    """Those of the first forecast, as files; call it, and save what it gives, within `house_style()`."""
    return [drawn for forecast in list(run.of(RepairForecast).values())[:1] for drawn in draw_all(forecast)]


def _shown(forecast: RepairForecast, key: str) -> dict[str, Any]:
    return {
        "findings": [finding(forecast)],
        "n": f"{forecast.about['items']:,}",
        "measures": measures(forecast),
        "figures": on_page(draw_all(forecast), key),
        "turned": _turned(forecast),
        "columns": list(_TURNED.values()),
        "record": _record(forecast),
    }


def _turned(forecast: RepairForecast) -> list[dict[str, Any]]:
    """A row for each correction, and one more within prompts."""
    rows = []
    for name in TYPICALITIES:
        for scope in ("all", "within"):
            own = corrections(forecast, name, scope)
            if own:
                label = SCORES.get(name, name) + (", within prompts" if scope == "within" else "")
                rows.append({"label": label, "cells": [_cell(own.get(metric)) for metric in _TURNED]})
    return rows


def _cell(metric: Metric | None) -> dict[str, str]:
    return {
        "note": "",
        "value": "" if metric is None else number(metric.value),
        "interval": "" if metric is None else interval(metric),
    }


def _record(forecast: RepairForecast) -> list[dict[str, str]]:
    return [
        {
            "repair": REPAIRS.get(row["repair"], plain(str(row["repair"]))),
            "model": called(row["model"]),
            "task": called(row["task"]),
            "r": number(row["readout_r"]),
            "told": "–"
            if row["predicted"] != row["predicted"]
            else measured(Metric(row["predicted"], row["low"], row["high"])),
            "found": number(row["found"]),
            "source": plain(str(row["source"])),
        }
        for row in forecast.record.to_dict("records")
    ]
