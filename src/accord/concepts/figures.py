"""Figures of the concept models: how well they reconstruct with how many concepts, and how their training went."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.concepts.groups import best_r2, is_gated
from accord.report import style
from accord.report.dots import COLOURS, Dots, draw_dots, look, say_means
from accord.report.drawn import Drawn
from accord.report.metric import Metric
from accord.report.seed_curves import MOST, columns_of, draw_curves, is_wide, small_multiples, steps_axis
from accord.report.seeds import SeedGroup, seeds_of
from accord.report.wording import amount, in_figure

_WIDE_RANGE = 6.0  # ratio of the largest L0 to the smallest from which the axis is logarithmic
_GATES = " Filled: soft gates. Hollow: hard ones, open or shut."
# What the trainer and the judge write into a curve beside the terms of the loss.
_OTHERS = {"step", "lr", "loss", "batch", "seconds", "fvu", "fvu_hard", "l0", "alive"}
_STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def draw_sparsity(models: Sequence[SeedGroup]) -> Drawn | None:
    """R² against L0, every seed of every concept model a point."""
    groups = [(i, g) for i, g in enumerate(models) if _points(g)]
    if not groups:
        return None
    figure = Figure(figsize=(style.NARROW, 4.2 + 0.2 * math.ceil(len(groups) / 2)))
    axes = figure.add_subplot()
    for i, group in groups:
        _cloud(axes, group, *look(i))
    sizes = [x for _, group in groups for x, _, _ in _points(group)]
    log = min(sizes) > 0 and max(sizes) / min(sizes) > _WIDE_RANGE
    _scales(axes, sizes, log)
    handles = [
        Line2D([], [], linestyle="none", marker=look(i)[1], color=look(i)[0], label=in_figure(g.label, 26))
        for i, g in groups
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, ncols=2, handletextpad=0.2
    )
    best = max((g for _, g in groups), key=lambda g: _order(best_r2(g).value))
    gates = " with hard gates" if is_gated(best) else ""
    text = f"R² {amount(best_r2(best))[0]} at L0 {amount(best.metric('l0'))[0]}{gates}"
    name = in_figure(best.label, 30)
    title = f"Highest: {name}, {text}" if len(groups) > 1 else f"{name}: {text}"
    style.title(figure, title, 58)
    gates = _GATES if any(is_gated(g) for _, g in groups) else ""
    caption = (
        f"Each point is a seed of a concept model ({seeds_of([g for _, g in groups])} each). Upward: more of the "
        f"embeddings' variance explained; to the left: fewer concepts active a token. Better is up and left.{gates}"
    )
    values = "; ".join(
        f"{in_figure(g.label, 30)}: R² {amount(best_r2(g))[0]} at L0 {amount(g.metric('l0'))[0]}" for _, g in groups
    )
    return Drawn("sparsity", figure, title, caption, f"Scatter of R² against L0. {values}.")


def draw_recovered(models: Sequence[SeedGroup]) -> Drawn | None:
    """CE recovered by each concept model, every seed a point."""
    groups = [(i, g) for i, g in enumerate(models) if g.metric("ce_recovered").known]
    if not groups:
        return None
    rows = [_readings(group, *look(i)) for i, group in groups]
    figure = Figure(figsize=(style.NARROW, 1.1 + 0.42 * len(rows)))
    axes = figure.add_subplot()
    draw_dots(axes, rows)
    say_means(axes, rows)
    axes.set_yticks(range(len(rows)), [in_figure(g.label, 24) for _, g in groups])
    axes.set_xlabel("CE recovered (1: predictions as before)")
    best = max((g for _, g in groups), key=lambda g: _order(_recovered(g).value))
    title = f"Most of the prediction is kept by {in_figure(best.label, 30)}: {amount(_recovered(best))[0]}"
    if len(groups) == 1:
        title = f"{in_figure(best.label, 30)} keeps {amount(_recovered(best))[0]} of the prediction"
    style.title(figure, title, 58)
    gates = _GATES if any(is_gated(g) for _, g in groups) else ""
    caption = (
        "The reconstruction takes the embedding's place, and the model goes on from there: what share of the loss in "
        "cross-entropy that leaving the embedding out would cost is avoided? Points: seeds. Upright mark: their mean. "
        f"Line: 95 % t-interval over seeds, where there are several.{gates}"
    )
    return Drawn("recovered", figure, title, caption, f"Dot plot of CE recovered by concept model. {title}.")


def draw_training(models: Sequence[SeedGroup]) -> Drawn | None:
    """Held-out FVU by step, for every concept model."""
    gates = " Dashed: the mean with hard gates." if any(is_gated(group) for group in models) else ""
    return draw_curves(
        models,
        "fvu",
        name="training",
        title="What the reconstruction leaves unexplained",
        axis="held-out FVU",
        caption="Share of held-out variance that is not explained (FVU, 1 − R²; 1 is no better than the mean "
        "embedding) as training goes on. Thin: each seed. Thick: their mean, where all were evaluated." + gates,
        dashed=lambda group: "fvu_hard" if is_gated(group) else None,
    )


def draw_loss_terms(models: Sequence[SeedGroup]) -> Drawn | None:
    """Every named term of the training loss by step, its mean over seeds; None where no curve names any."""
    tables = [(group.label, table) for group in models if len((table := _terms(group)).columns)]
    if not tables:
        return None
    first = tables[:MOST]
    figure, panels = small_multiples(len(first), height=2.5, foot=0.6, sharey=False)
    names = list(dict.fromkeys(str(term) for _, table in first for term in table.columns))
    for axes, (label, table) in zip(panels, first, strict=True):
        _terms_panel(axes, label, table, names)
    for axes in panels[:: columns_of(len(first))]:
        axes.set_ylabel("loss (log scale)")
    title = "What the training losses are made of"
    wide = is_wide(len(first))
    style.title(figure, title, 116 if wide else 58)
    caption = (
        "Each term of the training loss, its weight included, on the batches that a model learned from; their sum is "
        "what training lowers. Means over seeds. A term that is 0 has no line: its weight is 0, or has yet to rise."
    )
    if len(tables) > MOST:
        caption += f" Shown: {MOST} of {len(tables)}."
    alt = f"Curves of loss terms in {len(first)} panels: {', '.join(names)}."
    return Drawn("loss-terms", figure, title, caption, alt, wide=wide)


def _cloud(axes: Axes, group: SeedGroup, colour: str, marker: str) -> None:
    for l0, soft, hard in _points(group):
        if is_gated(group):
            axes.plot([l0, l0], [soft, hard], color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(l0, hard, marker=marker, markersize=6.5, markerfacecolor="none", markeredgecolor=colour)
        axes.plot(l0, soft, marker=marker, markersize=6, color=colour, markeredgecolor="none", alpha=0.8)


def _points(group: SeedGroup) -> list[tuple[float, float, float]]:
    """(L0, R² soft, R² hard) of the seeds that have them."""
    points = zip(group.values("l0"), group.values("r2"), group.values("r2_hard"), strict=True)
    return [point for point in points if all(map(math.isfinite, point))]


def _scales(axes: Axes, sizes: list[float], log: bool) -> None:
    axes.set(xlabel="L0: concepts active a token" + (" (log scale)" if log else ""), ylabel="R² on held-out embeddings")
    if log:
        axes.set_xscale("log", base=2)
        axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    else:
        room = 0.08 * max(max(sizes) - min(sizes), 0.25 * max(sizes), 1.0)
        axes.set_xlim(max(0.0, min(sizes) - room), max(sizes) + room)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=style.ROUND_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=style.ROUND_STEPS))
    axes.yaxis.set_major_formatter(style.tick)
    axes.grid(color=style.GRID, linewidth=0.7)


def _readings(group: SeedGroup, colour: str, marker: str) -> list[Dots]:
    soft = Dots(group.values("ce_recovered"), group.metric("ce_recovered"), colour, marker)
    hard = group.metric("ce_recovered_hard")
    if not (is_gated(group) and hard.known):
        return [soft]
    return [soft, Dots(group.values("ce_recovered_hard"), hard, colour, marker, hollow=True)]


def _recovered(group: SeedGroup) -> Metric:
    hard = group.metric("ce_recovered_hard")
    return hard if is_gated(group) and hard.known else group.metric("ce_recovered")


def _order(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _terms_panel(axes: Axes, label: str, table: pd.DataFrame, names: list[str]) -> None:
    for term in table.columns:
        i = names.index(str(term))
        axes.plot(
            table.index, table[term], color=COLOURS[i % len(COLOURS)], linestyle=_STYLES[i % len(_STYLES)],
            linewidth=1.6, label=in_figure(term, 16),
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_title(in_figure(label, 34))
    axes.set_xlabel("step")
    axes.legend(loc="best", fontsize=8.5, handlelength=2.2)
    steps_axis(axes)
    style.log_axis(axes, "y")
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)


def _terms(group: SeedGroup) -> pd.DataFrame:
    """The terms above zero, by step: of each its mean over the seeds that have it."""
    curves = [curve.drop_duplicates("step", keep="last") for curve in group.curves()]
    if not curves:
        return pd.DataFrame()
    table = pd.concat(curves).groupby("step").mean()
    table = table[[name for name in table.columns if name not in _OTHERS]]
    table = table.where(np.isfinite(table) & (table > 0))
    return table.dropna(axis="columns", how="all")
