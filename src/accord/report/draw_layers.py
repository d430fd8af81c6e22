"""Figures of the layers: what each form knows by layer, and which layers of the two agree."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from accord.report import style
from accord.report.data import Gap, Metric
from accord.report.drawn import Drawn
from accord.report.wording import equals, number

# Blue and orange, white at zero: told apart by people with any colour vision, and in print.
DIVERGING = LinearSegmentedColormap.from_list(
    "accord", ["#8a3b00", "#d55e00", "#f7c79b", "#ffffff", "#a9cfe8", "#0072b2", "#003a5c"]
)
_STEPS = [1, 2, 5, 10]
_DOTTED = (0, (1.2, 1.6))
_DASHED = (0, (5, 2))

# metric -> (label at the end of its line, colour, line style)
_AUC = {
    "generator_auc": ("generator", style.GENERATOR, "-"),
    "validator_auc": ("validator", style.VALIDATOR, _DASHED),
}
_PEARSON = {
    "pearson_all": ("all items", style.INK, "-"),
    "pearson_yes": ("right answers", style.RIGHT, _DASHED),
    "pearson_no": ("wrong answers", style.WRONG, _DOTTED),
}


Looks = dict[str, tuple[str, str, Any]]


def draw_layer_curves(gap: Gap) -> Drawn | None:
    """By layer: how well each form tells right from wrong, how the two correlate, where the validator leans."""
    table = gap.layer_metrics
    if table is None or table["layer"].nunique() < 2:
        return None
    leaning = gap.layers is not None
    figure = Figure(figsize=(style.NARROW, 7.4 if leaning else 5.2))
    panels = figure.subplots(3 if leaning else 2, 1, sharex=True)
    _curves(panels[0], table, _AUC, level=0.5, ceiling=1.0)
    panels[0].set_title("Tells right from wrong (AUC; .5 is chance)")
    _curves(panels[1], table, _PEARSON, level=0.0)
    panels[1].set_title("Generator and validator correlate (r)")
    if gap.layers is not None:
        _leaning(panels[2], gap.layers, gap.scores)
        panels[2].set_title("Validator log-odds: median and middle half")
    panels[-1].set_xlabel("layer (0 is what enters the first block)")
    title = _peaks(table)
    style.title(figure, title, 58)
    caption = (
        "Every layer read with the model's own last norm and output head (logit lens). Bands: 95 % intervals. Where "
        "the first panel's lines part, the model holds an answer in one form that it does not have, or has lost, in "
        "the other."
    )
    return Drawn("layers", figure, title, caption, f"Curves by layer. {title}.")


def draw_layer_matrix(gap: Gap) -> Drawn | None:
    """The correlation of every generator layer with every validator layer."""
    table = gap.layer_matrix
    if table is None or table.empty:
        return None
    measures = {"pearson": "all items", "pearson_yes": "within right answers", "pearson_no": "within wrong answers"}
    grids = {m: _square(table, m) for m in measures if m in table.columns and table[m].notna().any()}
    if "pearson" not in grids:
        return None
    limit = max(0.2, np.ceil(10 * max(float(np.nanmax(np.abs(g))) for g in grids.values())) / 10)
    small = len(grids) > 1
    figure = Figure(figsize=(style.NARROW, 7.4 if small else 4.8))
    grid = figure.add_gridspec(2 if small else 1, 2, height_ratios=(1.8, 1) if small else (1,))
    main = figure.add_subplot(grid[0, :])
    mesh = _heat(main, grids["pearson"], limit)
    main.set_title(measures["pearson"], fontweight="normal", color=style.INK)
    row, column = np.unravel_index(np.nanargmax(grids["pearson"]), grids["pearson"].shape)
    main.plot(column, row, "o", markersize=11, markerfacecolor="none", markeredgecolor="#111111", markeredgewidth=1.6)
    for place, measure in enumerate([m for m in grids if m != "pearson"]):
        axes = figure.add_subplot(grid[1, place])
        _heat(axes, grids[measure], limit, labels=False)
        axes.set_title(measures[measure], fontweight="normal")
    bar = figure.colorbar(mesh, ax=main, shrink=0.9, aspect=22)
    bar.ax.yaxis.set_major_formatter(_tick)
    bar.set_label("correlation r")
    bar.outline.set_visible(False)
    best = float(grids["pearson"][row, column])
    best_r = equals("r", Metric(best, np.nan, np.nan))
    title = f"Strongest agreement: generator layer {row} with validator layer {column} ({best_r})"
    style.title(figure, title, 58)
    top = number(float(grids["pearson"][-1, -1]))
    caption = (
        "Correlation over items of the generator's log-odds read at one layer with the validator's read at another. "
        f"Dashed diagonal: the same layer of both; upper right: the model's actual answers (r = {top}); ring: the "
        "largest. A dark row or column off the diagonal means that one form knows early what the other takes up "
        "late, or never."
    )
    return Drawn("matrix", figure, title, caption, f"Heat map. {title}; at the top layer of both, r = {top}.")


def _curves(axes: Axes, table: pd.DataFrame, looks: Looks, level: float, ceiling: float | None = None) -> None:
    axes.axhline(level, color=style.MUTED, linewidth=0.8)
    ends: list[tuple[float, str, str]] = []
    for metric, (label, colour, line) in looks.items():
        part = table[table["metric"] == metric].sort_values("layer")
        if part.empty or not part["value"].notna().any():
            continue
        layer, value = part["layer"].to_numpy(), part["value"].to_numpy(dtype=float)
        bands = part[["low", "high"]].to_numpy(dtype=float).T
        axes.fill_between(layer, bands[0], bands[1], color=colour, alpha=0.16, linewidth=0)
        axes.plot(layer, value, color=colour, linestyle=line, linewidth=1.8)
        ends.append((float(value[np.isfinite(value)][-1]), label, colour))
    axes.set_ylim(top=ceiling)
    _finish(axes, ends, table["layer"].max())


def _leaning(axes: Axes, layers: pd.DataFrame, scores: pd.DataFrame) -> None:
    gold = scores["gold"].to_numpy()[layers["item"].to_numpy()]
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    ends: list[tuple[float, str, str]] = []
    looks = ((True, *_PEARSON["pearson_yes"]), (False, *_PEARSON["pearson_no"]))
    for right, label, colour, line in looks:
        part = layers[(gold == right) & np.isfinite(layers["validator_logodds"])]
        if part.empty:
            continue
        groups = part.groupby("layer")["validator_logodds"]
        middle, low, high = groups.median(), groups.quantile(0.25), groups.quantile(0.75)
        axes.fill_between(middle.index, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(middle.index, middle, color=colour, linestyle=line, linewidth=1.8)
        ends.append((float(middle.iloc[-1]), label, colour))
    _finish(axes, ends, layers["layer"].max())


def _finish(axes: Axes, ends: list[tuple[float, str, str]], last: float) -> None:
    """Name each line at its end, in its colour, instead of a legend."""
    low, high = axes.get_ylim()
    places = style.spread([value for value, _, _ in ends], 0.11 * (high - low), low, high)
    for (value, label, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            label, (last, value), xytext=(1.02, place), textcoords=axes.get_yaxis_transform(), va="center",
            fontsize=9.5, color=colour, annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(0, last)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=_STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    axes.yaxis.set_major_formatter(_tick)
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)


def _square(table: pd.DataFrame, measure: str) -> np.ndarray:
    wide = table.pivot(index="generator_layer", columns="validator_layer", values=measure)
    grid: np.ndarray = wide.sort_index().sort_index(axis=1).to_numpy(dtype=float)
    return grid


def _heat(axes: Axes, grid: np.ndarray, limit: float, labels: bool = True) -> AxesImage:
    mesh = axes.imshow(grid, cmap=DIVERGING, vmin=-limit, vmax=limit, origin="lower", interpolation="nearest")
    last = min(grid.shape) - 0.5
    axes.plot([-0.5, last], [-0.5, last], color="#111111", linewidth=0.9, linestyle=_DASHED)
    axes.set(xlabel="validator layer", ylabel="generator layer")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7 if labels else 4, integer=True, steps=_STEPS))
    style.quiet(axes)
    return mesh


def _peaks(table: pd.DataFrame) -> str:
    """Where each form is at its best, as the title: computed, so that it cannot drift from the curves."""
    said = []
    for metric, (label, _, _) in _AUC.items():
        part = table[(table["metric"] == metric) & table["value"].notna()]
        if not part.empty:
            best, last = part.iloc[part["value"].argmax()], part.iloc[part["layer"].argmax()]
            peak, top = number(best["value"]), number(last["value"])
            said.append(f"{label} {top} at the top")
            if peak != top:
                said[-1] = f"{label} {peak} at layer {best['layer']:.0f}, {top} at the top"
    return "Best AUC: " + "; ".join(said) if said else "What each form knows by layer"


def _tick(value: float, _: object) -> str:
    return f"{value:g}".replace("-", "−").replace("0.", ".") if abs(value) < 1 else f"{value:g}".replace("-", "−")
