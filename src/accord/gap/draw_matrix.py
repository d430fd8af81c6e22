"""The heat map of every layer of the generator form against every layer of the validator form."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from accord.gap.result import Gap
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.wording import number

_BLACK = "#111111"  # on the map, which is the same in light and dark
_MEASURES = {"pearson": "all items", "pearson_yes": "within right answers", "pearson_no": "within wrong answers"}


def draw_layer_matrix(gap: Gap) -> Drawn | None:
    """The correlation of every generator layer with every validator layer, over all items and within the classes."""
    table = gap.layer_matrix
    if table is None or "pearson" not in (grids := _grids(table)):
        return None
    limit = max(0.2, np.ceil(10 * max(float(np.nanmax(np.abs(g))) for g in grids.values())) / 10)
    small = [measure for measure in grids if measure != "pearson"]
    figure = Figure(figsize=(style.NARROW, 7.4 if small else 4.8))
    grid = figure.add_gridspec(2 if small else 1, 2, height_ratios=(1.8, 1) if small else (1,))
    main = figure.add_subplot(grid[0, :])
    mesh = _heat(main, grids["pearson"], limit, ticks=7)
    main.set_title(_MEASURES["pearson"], fontweight="normal")
    for place, measure in enumerate(small):
        axes = figure.add_subplot(grid[1, place])
        _heat(axes, grids[measure], limit, ticks=4)
        axes.set_title(_MEASURES[measure], fontweight="normal")
    bar = figure.colorbar(mesh, ax=main, shrink=0.9, aspect=22)
    bar.ax.yaxis.set_major_formatter(style.tick)
    bar.set_label("correlation r")
    bar.outline.set_visible(False)
    title = _extremes(main, grids["pearson"])
    style.title(figure, title, 58)
    top = number(float(grids["pearson"][-1, -1]))
    caption = (
        "Correlation over items of the generator's log-odds read at one layer with the validator's read at another. "
        f"Dashed diagonal: the same layer of both; upper right: the model's actual answers (r = {top}). Ring and "
        "square: the largest and the smallest of so many cells overstate what is there; read the pattern."
    )
    return Drawn("matrix", figure, title, caption, f"Heat map. {title}; at the top layer of both, r = {top}.")


def _grids(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Each measure as an array [generator layer, validator layer]; those without a number left out."""
    measures = [m for m in _MEASURES if m in table.columns and table[m].notna().any()]
    wide = {m: table.pivot(index="generator_layer", columns="validator_layer", values=m) for m in measures}
    return {m: grid.sort_index().sort_index(axis=1).to_numpy(dtype=float) for m, grid in wide.items()}


def _heat(axes: Axes, grid: np.ndarray, limit: float, ticks: int) -> AxesImage:
    mesh = axes.imshow(grid, cmap=style.DIVERGING, vmin=-limit, vmax=limit, origin="lower", interpolation="nearest")
    last = min(grid.shape) - 0.5
    axes.plot([-0.5, last], [-0.5, last], color=_BLACK, linewidth=0.9, linestyle=(0, (5, 2)))
    axes.set(xlabel="validator layer", ylabel="generator layer")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(ticks, integer=True, steps=style.ROUND_STEPS))
    style.quiet(axes)
    return mesh


def _extremes(axes: Axes, grid: np.ndarray) -> str:
    """Mark the largest cell with a ring and the smallest with a square, and say where they are."""
    cells = []
    for place, marker in ((np.nanargmax(grid), "o"), (np.nanargmin(grid), "s")):
        row, column = (int(i) for i in np.unravel_index(place, grid.shape))
        axes.plot(
            column, row, marker, markersize=11, markerfacecolor="none", markeredgecolor=_BLACK, markeredgewidth=1.6,
            clip_on=False,
        )  # fmt: skip
        cells.append((row, column, f"r\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{number(float(grid[row, column]))}"))
    (row, column, most), (other_row, other_column, least) = cells
    return (
        f"Generator layer {row} agrees most with validator layer {column} ({most}), "
        f"{other_row} least with {other_column} ({least})"
    )
