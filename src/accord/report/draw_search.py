"""The trials of a search as parallel coordinates: a scale for each range, and a line through them for each trial."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from accord.report import style
from accord.report.drawn import Drawn
from accord.report.metric import plain
from accord.report.wording import count, in_figure, number
from accord.study.search_result import SearchedRange, SearchResult

MOST = 8  # ranges beside the objective; more cannot be followed by eye
_FAINT, _STRONG = 0.25, 0.9  # of the worst line and of the best but one
_SPREAD = 0.035  # trials of the same choice or whole number are told apart by so much of the scale


def draw_search(search: SearchResult) -> Drawn | None:
    """Every trial a line, the better the stronger; None while no trial has a value."""
    done = search.done
    if done.empty:
        return None
    ranges = search.ranges[:MOST]
    figure = Figure(figsize=(style.WIDE, 5.0))
    axes = figure.add_subplot()
    ends = _objective_ends(done["value"])
    flip = search.section.direction == "minimize"
    columns = [_places(range_, search.trials) for range_ in ranges]
    goal = (search.trials["value"].to_numpy(dtype=float) - ends[0]) / (ends[1] - ends[0])
    columns.append(1 - goal if flip else goal)
    places = pd.DataFrame(np.column_stack(columns), index=search.trials["trial"])
    for trial in search.failed["trial"]:
        _failed(axes, places.loc[trial].to_numpy()[:-1])
    for rank, trial in reversed(list(enumerate(done["trial"]))):
        _line(axes, places.loc[trial].to_numpy(), rank, len(done))
    for x, range_ in enumerate(ranges):
        _scale(axes, x, range_.name, "log scale" if range_.log else "", _ticks(range_))
    ticks = [(1 - place if flip else place, label) for place, label in _linear_ticks(*ends)]
    label = in_figure(plain(search.section.objective).rpartition(":")[2], 22)
    _scale(axes, len(ranges), label, "upwards: better", ticks, goal=True)
    axes.set_xlim(-0.42, len(ranges) + 0.3)
    axes.set_ylim(-0.06, 1.2)
    axes.axis("off")
    best = done.iloc[0]
    title = f"Trial {best['trial']} of {len(search.trials)} is the best: {label} {result_in_words(best['value'])}"
    style.title(figure, title, 110)
    numbers = search.trials.rename(columns={"value": plain(search.section.objective)})
    return Drawn("search", figure, title, _caption(search), _alt(search, title), wide=True, numbers=numbers)


def result_in_words(value: float) -> str:
    """An objective's value: in more digits than other numbers have, since trials differ by little."""
    return number(value, 4) if abs(value) < 10 else f"{value:,.5g}"


def _caption(search: SearchResult) -> str:
    caption = (
        "Each line is a trial: where it crosses an upright scale is the value that was drawn there, at the right what "
        "came of it. The stronger a line, the better its rank; the thickest is the best. Where all strong lines "
        "cross a scale at one height, that value matters; where they cross it anywhere, it does not."
    )
    if len(search.failed):
        caption += f" Dotted, without an end: {count(len(search.failed), 'trial')} that failed."
    if len(search.ranges) > MOST:
        caption += f" Shown: the first {MOST} of {len(search.ranges)} ranges."
    return caption


def _alt(search: SearchResult, title: str) -> str:
    best = search.done.iloc[0]
    values = ", ".join(f"{in_figure(range_.name)} {_short(best[range_.name])}" for range_ in search.ranges)
    return f"Parallel coordinates of {count(len(search.trials), 'trial')}. {title}, with {values}."


def _places(range_: SearchedRange, trials: pd.DataFrame) -> np.ndarray:
    """Where each trial crosses the scale, from 0 to 1."""
    column = trials[range_.name]
    values = np.array([range_.choices.index(v) for v in column]) if range_.choices else column.to_numpy(dtype=float)
    places = np.array([_place(range_, float(v)) for v in values])
    if range_.choices or range_.whole:
        # lines that share a value would lie on each other; a fixed order keeps the picture the same
        for value in np.unique(values):
            same = np.flatnonzero(values == value)
            places[same] += np.linspace(-_SPREAD, _SPREAD, len(same)) / 2 if len(same) > 1 else 0.0
    return places


def _place(range_: SearchedRange, value: float) -> float:
    low, high = range_.ends
    if range_.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _objective_ends(values: pd.Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _line(axes: Axes, heights: np.ndarray, rank: int, total: int) -> None:
    best = rank == 0
    share = 1 - rank / max(total - 1, 1)
    alpha = 1.0 if best else _FAINT + (_STRONG - _FAINT) * share**1.5
    colour, width = (style.INK, 2.6) if best else (style.RIGHT, 0.9 + 0.9 * share)
    axes.add_patch(PathPatch(_curve(heights), facecolor="none", edgecolor=colour, linewidth=width, alpha=alpha))


def _failed(axes: Axes, heights: np.ndarray) -> None:
    axes.add_patch(
        PathPatch(_curve(heights), facecolor="none", edgecolor=style.MUTED, linewidth=1.1, linestyle=(0, (1, 2)))
    )
    axes.plot(len(heights) - 1, heights[-1], marker="x", markersize=6, color=style.MUTED, zorder=4)


def _curve(heights: np.ndarray) -> Path:
    """Level at every scale: of lines that meet there, it shows which goes where."""
    vertices, codes = [(0.0, float(heights[0]))], [Path.MOVETO]
    for x in range(1, len(heights)):
        before, here = float(heights[x - 1]), float(heights[x])
        vertices += [(x - 0.6, before), (x - 0.4, here), (float(x), here)]
        codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


Ticks = Sequence[tuple[float, str]]


def _scale(axes: Axes, x: int, name: str, note: str, ticks: Ticks, *, goal: bool = False) -> None:
    axes.plot([x, x], [0, 1], color=style.INK if goal else style.MUTED, linewidth=1.4 if goal else 1.0, zorder=3)
    weight, side = ("bold", 1) if goal else ("normal", -1)
    axes.text(x, 1.1, in_figure(name, 22), ha="center", va="bottom", fontsize=9.5, fontweight=weight)
    axes.text(x, 1.085, note, ha="center", va="top", fontsize=8, color=style.MUTED)
    for place, label in ticks:
        axes.plot([x, x + side * 0.02], [place, place], color=style.MUTED, linewidth=0.8, zorder=3)
        axes.text(
            x + side * 0.04, place, label, ha="left" if goal else "right", va="center", fontsize=8.5, zorder=5,
            path_effects=style.halo(3.5),
        )  # fmt: skip


def _ticks(range_: SearchedRange) -> Ticks:
    if range_.choices:
        return [(_place(range_, i), in_figure(choice, 16)) for i, choice in enumerate(range_.choices)]
    if not range_.log:
        return _linear_ticks(*range_.ends, whole=range_.whole)
    values = style.log_ticks(*range_.ends)
    return [(_place(range_, v), style.tick(v, None)) for v in values if not range_.whole or v == int(v)]


def _linear_ticks(low: float, high: float, *, whole: bool = False) -> Ticks:
    values = MaxNLocator(5, integer=whole, steps=style.ROUND_STEPS).tick_values(low, high)
    return [((float(v) - low) / (high - low), style.tick(float(v), None)) for v in values if low <= v <= high]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) and value != int(value) else in_figure(value)
