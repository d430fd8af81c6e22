"""A search as the page shows it: what was found, every trial in a table, and the trials as a picture."""

from pathlib import Path
from typing import Any

import pandas as pd

from accord.report import style
from accord.report.chapter import Chapter
from accord.report.draw_search import draw_search, result_in_words
from accord.report.drawn import on_page
from accord.report.finding import Finding
from accord.report.metric import plain
from accord.report.wording import count
from accord.study.run_folder import Run
from accord.study.search_config import SEARCH, TABLE
from accord.study.search_result import SearchedRange, SearchResult

TOP = 10  # trials; the others are folded
_TEMPLATE = Path(__file__).parent / "templates" / "search.html"
_FIXED = "\N{NO-BREAK SPACE}"


def chapters(run: Run) -> list[Chapter]:
    """The trials of a search, where the run is one."""
    if not (run.folder / SEARCH).is_file() or run.damaged.keys() & {SEARCH, TABLE}:
        return []
    search = SearchResult.read(run.folder)
    if search.trials.empty:
        return []
    return [Chapter("search", "Search", _TEMPLATE, search_shown(search, run.folder, "search"))]


def search_shown(search: SearchResult, run: Path, key: str) -> dict[str, Any]:
    """All that `search.html` shows."""
    done = search.done
    rows = [_row(search, trial, run) for _, trial in done.iterrows()]
    return {
        "findings": [] if done.empty else [_finding(search)],
        "objective": plain(search.section.objective),
        "how": _how(search),
        "ranges": [(plain(range_.name), _span(range_)) for range_ in search.ranges],
        "top": rows[:TOP],
        "others": rows[TOP:],
        "failed": [
            {"trial": int(trial["trial"]), "why": _why(str(trial["failed"])), "values": _values(search, trial)}
            for _, trial in search.failed.iterrows()
        ],
        "figures": _figures(search, key),
        "best": (run / "best.toml").is_file(),
    }


def _finding(search: SearchResult) -> Finding:
    """The best trial, and how much better it is than the middle one."""
    done = search.done
    best = done.iloc[0]
    values = ", ".join(f"{plain(range_.name)}{_FIXED}={_FIXED}{_shown(range_, best)}" for range_ in search.ranges)
    middle = f" The trial in the middle has {result_in_words(float(done['value'].median()))}." if len(done) > 2 else ""
    headline = (
        f"Best of {count(len(done), 'trial')}: {plain(search.section.objective)} = {result_in_words(best['value'])}"
    )
    return Finding(headline, f"With {values}.{middle}")


def _how(search: SearchResult) -> str:
    verb = "the highest" if search.section.direction == "maximize" else "the lowest"
    trials = f"{count(len(search.trials), 'trial')}, sampler {search.section.sampler}"
    failed = f"; {len(search.failed)} failed" if len(search.failed) else ""
    return f"Sought: {verb} {plain(search.section.objective)}. {trials}{failed}."


def _span(range_: SearchedRange) -> str:
    """What a range spans, as the page says it."""
    if range_.choices:
        return ", ".join(range_.choices)
    low, high = range_.ends
    return f"{low:g} to {high:g}{', log' if range_.log else ''}"


def _row(search: SearchResult, trial: pd.Series, run: Path) -> dict[str, Any]:
    path = f"trials/{int(trial['trial']):04}/study.toml"
    return {
        "trial": int(trial["trial"]),
        "href": f"./{path}" if (run / path).is_file() else "",
        "value": result_in_words(trial["value"]),
        "values": _values(search, trial),
    }


def _values(search: SearchResult, trial: pd.Series) -> list[dict[str, Any]]:
    return [{"text": _shown(range_, trial), "number": not range_.choices} for range_ in search.ranges]


def _shown(range_: SearchedRange, trial: pd.Series) -> str:
    value = trial[range_.name]
    return plain(str(value)) if range_.choices else f"{int(value):,}" if range_.whole else f"{value:.3g}"


def _why(reason: str) -> str:
    """An error of several lines as a single one."""
    return "; ".join(plain(line) for line in reason.splitlines())


def _figures(search: SearchResult, key: str) -> list[dict[str, Any]]:
    with style.house_style():
        return on_page([draw_search(search)], key)
