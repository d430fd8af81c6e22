"""Training curves as small multiples: a panel a model, every seed a thin line, their mean a thick one."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.report import style
from accord.report.dots import look
from accord.report.drawn import Drawn
from accord.report.seeds import SeedGroup
from accord.report.wording import amount, in_figure

MOST = 18  # panels; the others are in their folders
_DASHED = (0, (4, 2))


def draw_curves(
    groups: Sequence[SeedGroup],
    column: str,
    *,
    name: str,
    title: str,
    axis: str,
    caption: str,
    dashed: Callable[[SeedGroup], str | None] = lambda group: None,
) -> Drawn | None:
    """A column of the groups' training curves; None where no curve has it.

    Args:
        name: of the figure.
        title: goes on with what the trained models reach.
        caption: goes on with how many groups are shown, where these are not all.
        dashed: another column, if any, whose mean is drawn beside the group's.
    """
    known = [(i, group) for i, group in enumerate(groups) if _evaluations(group, column)]
    if not known:
        return None
    shown = known[:MOST]
    figure, panels = small_multiples(len(shown), height=2.1, foot=0.5, sharey=True)
    ends = []
    for axes, (i, group) in zip(panels, shown, strict=True):
        _panel(axes, group, look(i)[0], column, dashed(group))
        axes.set_title(in_figure(group.label, 34))
        if group.metric(column).known:
            ends.append(f"{in_figure(group.label, 30)} {amount(group.metric(column))[0]}")
    columns = columns_of(len(shown))
    for axes in panels[::columns]:
        axes.set_ylabel(axis)
    for axes in panels[-columns:]:
        axes.set_xlabel("step")
    more = f", and {len(ends) - 3} more" if len(ends) > 3 else ""
    title = f"{title}{': ' if ends else ''}{', '.join(ends[:3])}{more}"
    note = f" Shown: {len(shown)} of {len(known)}." if len(known) > len(shown) else ""
    wide = is_wide(len(shown))
    style.title(figure, title, 116 if wide else 58)
    alt = f"Training curves in {len(groups)} panels. {title}."
    return Drawn(name, figure, title, caption + note, alt, wide=wide)


def columns_of(panels: int) -> int:
    """How many panels stand beside each other.

    >>> [columns_of(panels) for panels in (1, 2, 3, 4, 5)]
    [1, 2, 3, 2, 3]
    """
    return min(panels, 2 if panels in (2, 4) else 3)


def is_wide(panels: int) -> bool:
    """Whether the figure takes the whole width of the page."""
    return columns_of(panels) > 2


def small_multiples(panels: int, *, height: float, foot: float, sharey: bool) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, row by row, each so many inches high."""
    columns = columns_of(panels)
    rows = -(-panels // columns)
    width = style.WIDE if is_wide(panels) else style.NARROW
    figure = Figure(figsize=(width, foot + height * rows))
    axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for spare in axes.flat[panels:]:
        spare.set_visible(False)
    return figure, list(axes.flat[:panels])


def steps_axis(axes: Axes) -> None:
    """Few whole numbers of steps along the x axis."""
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=style.ROUND_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _panel(axes: Axes, group: SeedGroup, colour: str, column: str, dashed: str | None) -> None:
    """One model: its seeds, their mean, and the mean of the other column."""
    seeds = _evaluations(group, column)
    for seed in seeds if len(seeds) > 1 else ():
        axes.plot(seed.index, seed, color=colour, linewidth=0.8, alpha=0.5, label=f"_{seed.name}")
    middle = _mean(seeds)
    axes.plot(middle.index, middle, color=colour, linewidth=2.0, label=f"_mean of {column}")
    if dashed is not None and (others := _evaluations(group, dashed)):
        other = _mean(others)
        axes.plot(other.index, other, color=colour, linewidth=1.4, linestyle=_DASHED, label=f"_mean of {dashed}")
    steps_axis(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND_STEPS))
    axes.yaxis.set_major_formatter(style.tick)
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)


def _mean(seeds: Sequence[pd.Series]) -> pd.Series:
    """The mean over seeds at the steps that all of them have; of those that stopped early, up to there."""
    return pd.concat(seeds, axis=1, join="inner").mean(axis=1).sort_index()


def _evaluations(group: SeedGroup, column: str) -> list[pd.Series]:
    """Of each seed, the values of a column by step: most rows of a curve have none."""
    series = []
    for result in group.results:
        if result.curve is not None and column in result.curve.columns:
            rows = result.curve[np.isfinite(result.curve[column])].drop_duplicates("step", keep="last")
            series += [rows.set_index("step")[column].rename(f"seed {result.seed}")] if len(rows) else []
    return series
