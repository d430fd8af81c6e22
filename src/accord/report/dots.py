"""Dot plots over seeds: a line a row, every seed a point, the mean and its interval beside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from accord.report import style
from accord.report.metric import Metric
from accord.report.wording import amount

MARKERS = "o^sDvPX"
COLOURS = (style.RIGHT, style.WRONG, style.GENERATOR, style.VALIDATOR, style.INK)
REACH = 3.0  # on a log scale an interval may reach this many times beyond the points; two seeds may give any width


@dataclass(frozen=True)
class Dots:
    """The values of one thing, a seed a value; hollow ones are the second reading of a row (hard gates)."""

    values: Sequence[float]
    metric: Metric
    colour: str
    marker: str = "o"
    hollow: bool = False


def look(i: int) -> tuple[str, str]:
    """Colour and marker of the i-th thing; both change, so that neither is needed to tell two apart."""
    return COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]


def draw_dots(
    axes: Axes, rows: Sequence[Sequence[Dots]], *, log: bool = False, zero: bool = False, far: int | None = None
) -> None:
    """Rows from the top down; a row may have several readings, below each other.

    `zero` lets the scale start there; row `far` lies beyond the scale and is shown as an arrow.
    """
    near = [row for place, row in enumerate(rows) if place != far]
    values = [v for row in near for dots in row for v in dots.values if math.isfinite(v) and (v > 0 or not log)]
    if log:
        axes.set_xscale("log")
    for place, row in enumerate(rows):
        if place == far:
            edge = axes.get_yaxis_transform()
            axes.plot(0.985, place, marker=">", markersize=6, color=row[0].colour, transform=edge, clip_on=False)
            continue
        for k, dots in enumerate(row):
            _row(axes, place + 0.3 * (k - (len(row) - 1) / 2), dots, min(values, default=1.0) if log else -math.inf)
    if log and values:
        ends = [e for row in near for d in row for e in (d.metric.low, d.metric.high) if math.isfinite(e)]
        _log_scale(axes, values, ends)
    else:
        if zero:
            axes.set_xlim(left=-0.04 * max([*values, 0.02]))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND_STEPS))
        axes.xaxis.set_major_formatter(style.tick)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=style.GRID, linewidth=0.7)
    style.quiet(axes)


def say_means(axes: Axes, rows: Sequence[Sequence[Dots]]) -> None:
    """The mean of each row in figures, at the right edge."""
    beside = axes.get_yaxis_transform()
    for place, row in enumerate(rows):
        for k, dots in enumerate(row):
            axes.text(
                1.03, place + 0.3 * (k - (len(row) - 1) / 2), amount(dots.metric)[0] if dots.metric.known else "–",
                transform=beside, va="center", fontsize=8.5, color=style.MUTED,
            )  # fmt: skip


def _row(axes: Axes, place: float, dots: Dots, floor: float) -> None:
    if not dots.metric.known:
        return
    face = "none" if dots.hollow else dots.colour
    if math.isfinite(dots.metric.low) and math.isfinite(dots.metric.high):
        low = max(dots.metric.low, floor / (10 * REACH))  # a log scale has no place for zero and below
        axes.hlines(place, low, dots.metric.high, color=dots.colour, linewidth=1.6)
    values = np.asarray(dots.values, dtype=float)
    axes.plot(
        values, np.full(len(values), place), linestyle="none", marker=dots.marker, markersize=4,
        markerfacecolor=face, markeredgecolor=dots.colour, markeredgewidth=0.9, alpha=0.55,
    )  # fmt: skip
    if len(values) == 1:
        return
    axes.plot([dots.metric.value] * 2, [place - 0.16, place + 0.16], color=dots.colour, linewidth=2.2)


def _log_scale(axes: Axes, values: Sequence[float], ends: Sequence[float]) -> None:
    """Limits that show every point and as much of the intervals as is reasonable, and ticks for them."""
    low = max(min(values) / REACH, min([*values, *(e for e in ends if e > 0)])) / 1.25
    high = min(max(values) * REACH, max([*values, *ends])) * 1.25
    axes.set_xlim(low, high)
    style.log_axis(axes, "x")
