"""Figures of the concept models: how well they reconstruct with how many concepts, and what the model keeps."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.report import style
from accord.report.concepts_data import ConceptLine
from accord.report.concepts_groups import Group, concept_groups
from accord.report.concepts_verdict import seeds_of
from accord.report.data import Metric
from accord.report.dots import Dots, draw_dots, look, say_means
from accord.report.drawn import Drawn
from accord.report.wording import amount, in_figure

_WIDE_RANGE = 6.0  # times between the smallest and largest L0, from which the axis is logarithmic
_GATES = " Filled: soft gates. Hollow: hard ones, open or shut."


def draw_sparsity(line: ConceptLine) -> Drawn | None:
    """R² against L0, every seed of every concept model a point."""
    groups = [(i, g) for i, g in enumerate(concept_groups(line)) if _points(g)]
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
    best = max((g for _, g in groups), key=lambda g: _order(g.best_r2.value))
    gates = " with hard gates" if best.gated else ""
    text = f"R² {amount(best.best_r2)[0]} at L0 {amount(best.metric('l0'))[0]}{gates}"
    name = in_figure(best.label, 30)
    title = f"Highest: {name}, {text}" if len(groups) > 1 else f"{name}: {text}"
    style.title(figure, title, 58)
    gates = _GATES if any(g.gated for _, g in groups) else ""
    caption = (
        f"Each point is a seed of a concept model ({seeds_of([g for _, g in groups])} each). Upward: more of the "
        f"embeddings' variance explained; to the left: fewer concepts active a token. Better is up and left.{gates}"
    )
    listed = "; ".join(
        f"{in_figure(g.label, 30)}: R² {amount(g.best_r2)[0]} at L0 {amount(g.metric('l0'))[0]}" for _, g in groups
    )
    return Drawn("sparsity", figure, title, caption, f"Scatter of R² against L0. {listed}.")


def draw_recovered(line: ConceptLine) -> Drawn | None:
    """CE recovered by each concept model, every seed a point."""
    groups = [(i, g) for i, g in enumerate(concept_groups(line)) if g.metric("ce_recovered").known]
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
    gates = _GATES if any(g.gated for _, g in groups) else ""
    caption = (
        "The reconstruction takes the embedding's place, and the model goes on from there: what share of the loss in "
        "cross-entropy that leaving the embedding out would cost is avoided? Points: seeds. Upright mark: their mean. "
        f"Line: 95 % t-interval over seeds, where there are several.{gates}"
    )
    return Drawn("recovered", figure, title, caption, f"Dot plot of CE recovered by concept model. {title}.")


def _cloud(axes: Axes, group: Group, colour: str, marker: str) -> None:
    for l0, soft, hard in _points(group):
        if group.gated:
            axes.plot([l0, l0], [soft, hard], color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(l0, hard, marker=marker, markersize=6.5, markerfacecolor="none", markeredgecolor=colour)
        axes.plot(l0, soft, marker=marker, markersize=6, color=colour, markeredgecolor="none", alpha=0.8)


def _points(group: Group) -> list[tuple[float, float, float]]:
    """(L0, R² soft, R² hard) of the seeds that have them."""
    found = zip(group.values("l0"), group.values("r2"), group.values("r2_hard"), strict=True)
    return [point for point in found if all(map(math.isfinite, point))]


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


def _readings(group: Group, colour: str, marker: str) -> list[Dots]:
    soft = Dots(group.values("ce_recovered"), group.metric("ce_recovered"), colour, marker)
    hard = group.metric("ce_recovered_hard")
    if not (group.gated and hard.known):
        return [soft]
    return [soft, Dots(group.values("ce_recovered_hard"), hard, colour, marker, hollow=True)]


def _recovered(group: Group) -> Metric:
    hard = group.metric("ce_recovered_hard")
    return hard if group.gated and hard.known else group.metric("ce_recovered")


def _order(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
