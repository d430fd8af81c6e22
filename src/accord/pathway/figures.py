"""Figures of a pathway: what each layer says and holds, which of them carry the repair, which concepts moved."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accord.pathway.result import Pathway
from accord.pathway.tables import BASE, LAST, REPAIRED
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.wording import count, in_figure, number

MOST_CONCEPTS = 14
_DASHED, _DOTTED = (0, (5, 2)), (0, (1.2, 1.6))
_LOOKS: dict[str, tuple[str, Any]] = {BASE: (style.MUTED, _DASHED), REPAIRED: (style.INK, "-")}

# Metric, what it is called, and the value that means nothing is there.
_CURVES = (
    ("validator_auc", "Asked: tells right from wrong (AUC; .5 is chance)", 0.5),
    ("generator_auc", "Completing: tells right from wrong (AUC)", 0.5),
    ("final_pearson_all", "Validator at this layer with the generator's answer (r)", 0.0),
)

Line = tuple[str, str, Any, pd.DataFrame]  # label, colour, line style, rows (layer, value, low, high)


def draw_pathway_curves(pathway: Pathway) -> Drawn | None:
    """By layer, before and after: what either form tells, and how they correlate."""
    table = pathway.curves
    if table["layer"].nunique() < 2:
        return None
    figure = Figure(figsize=(style.NARROW, 0.7 + 2.15 * len(_CURVES)))
    panels = figure.subplots(len(_CURVES), 1, sharex=True)
    for axes, (metric, name, level) in zip(panels, _CURVES, strict=True):
        _lines(axes, _by_model(table[table["metric"] == metric]), level)
        axes.set_title(name, fontweight="normal")
    panels[-1].set_xlabel("layer")
    title = "What each layer says, before and after"
    style.title(figure, title, 58)
    caption = (
        "Every layer read with the model's own output head (logit lens); bands: 95 % intervals over items. Where the "
        "lines part, the repair has begun to act."
    )
    return Drawn("pathway-curves", figure, title, caption, f"Curves by layer, base against repaired. {title}.")


def draw_pathway_matrix(pathway: Pathway) -> Drawn | None:
    """Generator layer against validator layer, before and after, in one scale of colour."""
    table = pathway.matrix
    grids = [_grid(table[table["model"] == model]) for model in (BASE, REPAIRED)]
    if not all(np.isfinite(grid).any() for grid in grids):
        return None
    limit = max(0.2, math.ceil(10 * max(float(np.nanmax(np.abs(grid))) for grid in grids)) / 10)
    figure = Figure(figsize=(style.WIDE, 5.3))
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, grid, name in zip(panels, grids, ("before", "after"), strict=True):
        mesh = axes.imshow(grid, cmap=style.DIVERGING, vmin=-limit, vmax=limit, origin="lower", interpolation="nearest")
        axes.set(xlabel="validator layer")
        axes.set_title(f"{name}: at the top of both, r = {number(float(grid[-1, -1]))}", fontweight="normal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(7, integer=True, steps=style.ROUND_STEPS))
        style.quiet(axes)
    panels[0].set_ylabel("generator layer")
    bar = figure.colorbar(mesh, ax=list(panels), aspect=26, pad=0.01)
    bar.ax.yaxis.set_major_formatter(style.tick)
    bar.set_label("correlation r")
    bar.outline.set_visible(False)
    top = " to ".join(number(float(grid[-1, -1])) for grid in grids)
    title = f"Every layer of one form with every layer of the other: r from {top} at the top"
    style.title(figure, title, 110)
    caption = "Correlation over test items of the two forms' log-odds, each read at its own layer (logit lens)."
    return Drawn("pathway-matrix", figure, title, caption, f"Two heat maps. {title}.", wide=True)


def draw_cka(pathway: Pathway) -> Drawn | None:
    """How alike the states of base and repaired model are, by layer, on either form's prompts."""
    table = pathway.cka
    if table["layer"].nunique() < 2:
        return None
    looks = {"validator": (style.VALIDATOR, "-"), "generator": (style.GENERATOR, _DASHED)}
    lines = [(f"{form} prompts", *look, table[table["form"] == form]) for form, look in looks.items()]
    figure = Figure(figsize=(style.NARROW, 3.3))
    axes = figure.add_subplot()
    _lines(axes, [line for line in lines if len(line[3])], 1.0)
    axes.set_xlabel("layer")
    defined = table[table["value"].notna()]
    least = defined.iloc[int(defined["value"].to_numpy().argmin())] if len(defined) else None
    title = "How alike the states are (CKA)"
    if least is not None:
        where = f"layer {least['layer']:.0f} on {in_figure(least['form'], 20)} prompts"
        title = f"States differ most at {where} (CKA {number(least['value'])})"
    style.title(figure, title, 58)
    caption = (
        "Linear CKA of base and repaired states of the same prompts, at their last position: ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of "
        "centred states (arXiv 1905.00414); 1 is alike but for rotation and scale. Bands: 95 % intervals over items."
    )
    return Drawn("cka", figure, title, caption, f"CKA by layer. {title}.")


def draw_readout(pathway: Pathway) -> Drawn | None:
    """How well the generator's answer can be read from the validator's state, by layer: a panel a kind of item."""
    table = pathway.readout[pathway.readout["metric"] == "pearson_all"]
    kinds = [kind for kind in dict.fromkeys(table["items"]) if table.loc[table["items"] == kind, "value"].notna().any()]
    if not kinds or table["layer"].nunique() < 2:
        return None
    figure = Figure(figsize=(style.NARROW, 0.7 + 2.3 * len(kinds)))
    panels = figure.subplots(len(kinds), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, kind in zip(panels, kinds, strict=True):
        _lines(axes, _by_model(table[table["items"] == kind]), 0.0)
        axes.set_title(_ITEMS.get(str(kind), in_figure(kind, 50)), fontweight="normal")
    panels[-1].set_xlabel("layer")
    first = table[(table["items"] == kinds[0]) & table["value"].notna()]
    peak = first.iloc[int(first["value"].to_numpy().argmax())]
    best = f"layer {peak['layer']:.0f} (r = {number(peak['value'])})"
    title = f"The validator's state tells the generator's answer best at {best}"
    style.title(figure, title, 58)
    caption = (
        "Correlation of the base model's generator log-odds with a ridge regression on the state at the validator "
        "prompt's end, fitted on training items. Where it is high and the model's own answer is not, the answer is "
        "known and not said; where it falls again, it is lost. Bands: 95 % intervals over items."
    )
    return Drawn("readout", figure, title, caption, f"Readout by layer. {title}.")


_ITEMS = {"test": "test items", "test-unseen-hypernyms": "unseen categories", "test-unseen-both": "unseen words"}


def draw_patching(pathway: Pathway) -> Drawn | None:
    """The share of the repair's effect that each layer's states carry over, against random directions."""
    table = pathway.patching[pathway.patching["positions"] == LAST]
    if table["layer"].nunique() < 2:
        return None
    ways = list(dict.fromkeys(table["direction"]))
    figure = Figure(figsize=(style.NARROW, 0.7 + 2.4 * len(ways)))
    panels = figure.subplots(len(ways), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    looks = (("states", "states", style.INK, "-"), ("random", "random", style.WRONG, _DOTTED))
    for axes, way in zip(panels, ways, strict=True):
        part = table[table["direction"] == way]
        lines = [(label, colour, line, part[part["what"] == what]) for what, label, colour, line in looks]
        _lines(axes, [line for line in lines if len(line[3])], 0.0)
        axes.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=_DOTTED)
        axes.set_title(in_figure(way, 50), fontweight="normal")
    panels[-1].set_xlabel("layer whose state is put in")
    title = "Which layers carry the repair"
    style.title(figure, title, 58)
    caption = (
        "One model's state of a layer, at the validator prompt's last position, put into the other model: share of the "
        "difference in validator log-odds that comes with it, Σ (patched − own)(other − own) / Σ (other − own)²; 1 is "
        "all of it. Random: a random direction of the same norm. Bands: 95 % intervals over items."
    )
    return Drawn("patching", figure, title, caption, f"Patching effect by layer. {title}.")


def draw_changed_concepts(pathway: Pathway) -> Drawn | None:
    """The concepts that changed most, before → after."""
    table = pathway.concepts
    if table is None:
        return None
    table = table[table["change"].notna()]
    rows = table.reindex(table["change"].abs().sort_values(ascending=False, kind="stable").index).head(MOST_CONCEPTS)
    if rows.empty:
        return None
    figure = Figure(figsize=(style.NARROW, 1.0 + 0.27 * len(rows)))
    axes = figure.add_subplot()
    bare = rows[["low", "high"]].isna().any(axis=1)
    for place, (row, alone) in enumerate(zip(rows.to_dict("records"), bare, strict=True)):
        if not alone:
            axes.plot([row["low"], row["high"]], [place, place], color=style.INK, linewidth=1.5)
        axes.plot(
            row["change"], place, marker="o" if row["change"] > 0 else "s", markersize=5.5, markeredgecolor=style.INK,
            markerfacecolor="none" if alone else style.INK,
        )  # fmt: skip
    axes.axvline(0, color=style.MUTED, linewidth=0.9)
    axes.set_yticks(range(len(rows)), [f"concept {concept}" for concept in rows["concept"]])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("change of mean strength, repaired − base")
    axes.xaxis.set_major_formatter(style.tick)
    axes.grid(axis="x", color=style.GRID, linewidth=0.7)
    style.quiet(axes)
    certain = int(((table["low"] > 0) | (table["high"] < 0)).sum())
    title = f"{certain:,} of {count(len(table), 'concept')} changed for certain; those that changed most"
    style.title(figure, title, 58)
    caption = (
        "Mean strength over test items, at the validator prompt's end. Lines: 95 % intervals that hold for all "
        "concepts at once; for certain: without 0."
        + (" Hollow, without a line: changed on too few items, or too unevenly, for an interval." if bare.any() else "")
    )
    return Drawn("changed-concepts", figure, title, caption, f"Changed concepts. {title}.")


FIGURES = (
    draw_pathway_curves, draw_readout, draw_patching, draw_cka, draw_changed_concepts, draw_pathway_matrix,
)  # fmt: skip
BRIEFLY = (draw_pathway_curves, draw_patching)


def draw_pathway(pathway: Pathway, *, briefly: bool = False) -> list[Drawn | None]:
    """Every figure of a pathway, or the two that say most; None for what it has no numbers for."""
    return [draw(pathway) for draw in (BRIEFLY if briefly else FIGURES)]


def _grid(table: pd.DataFrame) -> np.ndarray:
    wide = table.pivot_table(index="generator_layer", columns="validator_layer", values="pearson", dropna=False)
    return wide.sort_index().sort_index(axis=1).to_numpy(dtype=float)


def _by_model(table: pd.DataFrame) -> list[Line]:
    return [(m, *look, part) for m, look in _LOOKS.items() if len(part := table[table["model"] == m])]


def _lines(axes: Axes, lines: Iterable[Line], level: float) -> None:
    """Curves by layer with their bands, each named at its end."""
    axes.axhline(level, color=style.MUTED, linewidth=0.8)
    ends: list[tuple[float, str, str]] = []
    last = 1.0
    for label, colour, line, rows in lines:
        part = rows[rows["value"].notna()].sort_values("layer")
        if part.empty:
            continue
        layer = part["layer"].to_numpy()
        low, high = (part[end].astype(float) for end in ("low", "high"))
        axes.fill_between(layer, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(layer, part["value"], color=colour, linestyle=line, linewidth=1.8)
        ends.append((float(part["value"].iloc[-1]), label, colour))
        last = max(last, float(layer[-1]))
    style.name_ends(axes, ends, last, apart=0.14, ticks=5)
