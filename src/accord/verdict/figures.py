"""Figures of what a repair did: items before and after, every repair beside the base, closure by trial."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accord.report import style
from accord.report.dots import Dots, draw_dots, look
from accord.report.drawn import Drawn
from accord.report.metric import metric_of
from accord.report.points import CLASSES, MANY_POINTS, points
from accord.report.wording import count, equals, in_figure, number
from accord.verdict.findings import share
from accord.verdict.judged import CORRELATIONS, JudgedRepair, RepairGroup

MOST_PANELS = 11  # repairs drawn item by item, so that with the base the rows are full; the others are in the table
MOST_TRIALS = 6
LEAST = -0.5  # closures below this are arrows: one repair that wrecks a model must not squeeze all others


def draw_before_after(repair: JudgedRepair, trial: str) -> Drawn | None:
    """Generator against validator log-odds, an item a point, of the base and of the repaired model, on equal axes."""
    scores = repair.first.scores(trial)
    if scores is None:
        return None
    figure = Figure(figsize=(style.WIDE, 5.2))
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    label, changes = in_figure(repair.label, 30), repair.first.verdict.changes[trial]
    seed = f" ({repair.first_named})" if repair.first_named else ""
    for axes, table, name, part in zip(
        panels, scores, ("before", f"after {label}{seed}"), ("before", "after"), strict=True
    ):
        _items(axes, table)
        r, right, wrong = (metric_of(getattr(changes[measure], part)) for measure in CORRELATIONS)
        within = f"within right {number(right.value)}, wrong {number(wrong.value)}"
        axes.set_title(f"{name}\n{equals('r', r)}; {within}", fontweight="normal")
        axes.set_xlabel("generator log-odds: would it say the answer?")
    panels[0].set_ylabel("validator log-odds: does it affirm it?")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, markerscale=1.4)
    before, after = (
        number(metric_of(side).value) for side in (changes["pearson_all"].before, changes["pearson_all"].after)
    )
    title = f"The same {count(len(scores[0]), 'item')} before and after {label}: r from {before} to {after}"
    style.title(figure, title, 110)
    caption = (
        "Each point is an item that the repair never saw; both panels have the same axes. Dashed: the threshold above "
        "which the model affirms. In agreement the points climb from lower left to upper right, within each class too."
    )
    alt = f"Two scatter plots side by side. {title}."
    return Drawn("before-after", figure, title, caption, alt, wide=True, items=list(panels))


def draw_every_repair(group: RepairGroup) -> Drawn | None:
    """A small scatter of the base model and of every repaired one, all on equal axes."""
    near = group.near
    tables = [(r, scores) for r in group.repairs if (scores := r.first.scores(near)) is not None]
    if len(tables) < 2:
        return None
    first = tables[:MOST_PANELS]
    columns = 4 if len(first) > 4 else 3
    rows = math.ceil((len(first) + 1) / columns)
    figure = Figure(figsize=(style.WIDE, 0.5 + 2.5 * rows))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    every = [("before any repair", first[0][1][0], first[0][0].before(near, "pearson_all"))]
    for repair, (_, after) in first:
        every.append((repair.label, after, metric_of(repair.first.verdict.changes[near]["pearson_all"].after)))
    for axes, (name, items, r) in zip(panels.flat, every, strict=False):
        _items(axes, items, size=2.6)
        axes.set_title(f"{in_figure(name, 24)}\nr\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{number(r.value)}")
    for spare in panels.flat[len(every) :]:
        spare.set_visible(False)
    for i, axes in enumerate(panels.flat[: len(every)]):
        axes.tick_params(labelbottom=i + columns >= len(every))  # the lowest of its column, whatever is under it
    figure.supxlabel("generator log-odds", fontsize=10)
    figure.supylabel("validator log-odds", fontsize=10)
    title = f"Every repair on the same {count(len(every[0][1]), 'item')}"
    style.title(figure, title, 110)
    left = f" Shown: {len(first)} of {len(tables)} repairs." if len(tables) > len(first) else ""
    caption = f"As above, lowest seed of each; filled circles are right answers, triangles wrong ones.{left}"
    values = ", ".join(f"{name} r = {number(r.value)}" for name, _, r in every)
    return Drawn("every-repair", figure, title, caption, f"Small scatter plots: {values}.", wide=True)


def draw_closure(group: RepairGroup) -> Drawn | None:
    """Closure of every repair on every trial: a panel a trial, a line a repair."""
    columns = _columns(group)
    looks = {repair.label: look(i) for i, repair in enumerate(group.repairs)}
    order = sorted(group.repairs, key=lambda r: -_sortable(r.metric(group.near, "pearson_all", "closure").value))
    cells = [[_cell(repair, trials, *looks[repair.label]) for repair in order] for _, trials in columns]
    if not any(dots.metric.known for column in cells for dots in column):
        return None
    wide = len(columns) > 2
    across = min(len(columns), 3) if wide else len(columns)
    down = math.ceil(len(columns) / across)
    size = (style.WIDE if wide else style.NARROW, 0.7 + down * (0.75 + 0.3 * len(order)))
    figure = Figure(figsize=size)
    panels = figure.subplots(down, across, sharex=True, squeeze=False)
    ends = [end for column in cells for d in column for end in (d.metric.value, d.metric.low) if math.isfinite(end)]
    left = max(LEAST, min([-0.1, *ends]) - 0.05)
    figure.get_layout_engine().set(wspace=0.07)  # type: ignore[union-attr, call-arg]  # house style sets an engine
    for i, (axes, (name, _), column) in enumerate(zip(panels.flat, columns, cells, strict=False)):
        draw_dots(axes, [[dots] for dots in column])
        for place, dots in enumerate(column):
            value = number(dots.metric.value) if dots.metric.known else "–"
            beside = axes.get_yaxis_transform()
            axes.text(1.03, place, value, transform=beside, va="center", fontsize=8.5, color=style.MUTED)
        axes.set_xlim(left, 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND_STEPS))
        axes.axvline(0, color=style.MUTED, linewidth=1.0)
        for place, dots in enumerate(column):
            if dots.metric.value < left:
                axes.plot(left, place, marker="<", markersize=6, color=dots.colour, clip_on=False)
        axes.set_yticks(range(len(order)), [in_figure(r.label, 22) for r in order])
        axes.set_title(in_figure(name, 32))
        axes.tick_params(labelbottom=True, labelleft=i % across == 0)
        if i + across >= len(columns):
            axes.set_xlabel("share of the gap closed")
    for spare in panels.flat[len(columns) :]:
        spare.set_visible(False)
    top = cells[0][0].metric
    title = f"How far each repair carries: {in_figure(order[0].label, 30)} closes {share(top.value)} on {columns[0][0]}"
    style.title(figure, title, 110 if wide else 58)
    caption = (
        "Share of (1 − r) that is closed, r being the correlation of the two forms over all items. Panels go from "
        "items like the training items to ones further away. Points: seeds; bar: their mean; line: 95 % interval over "
        "items, and over seeds where there are several. Left of 0 the gap is wider than before; arrows lie beyond the "
        "scale."
    )
    return Drawn("closure", figure, title, caption, f"Dot plots by test set. {title}.", wide=wide)


def _columns(group: RepairGroup) -> list[tuple[str, list[str]]]:
    """Title and trials of each panel; all other phrasings are one panel."""
    reworded = group.reworded
    columns = [(title, [name]) for name, title in group.trials.items() if name not in reworded]
    if reworded:
        place = next((i for i, (_, names) in enumerate(columns) if names[0].startswith("task-")), len(columns))
        columns.insert(place, (f"other wordings ({len(reworded)})", reworded))
    return columns[:MOST_TRIALS]


def _cell(repair: JudgedRepair, trials: Sequence[str], colour: str, marker: str) -> Dots:
    """Closure on these trials together, seed by seed and over seeds."""
    by_trial = [[metric.value for metric in repair.each(trial, "pearson_all", "closure")] for trial in trials]
    if len(trials) == 1:
        return Dots(by_trial[0], repair.metric(trials[0], "pearson_all", "closure"), colour, marker)
    metric = repair.mean_of(trials, "pearson_all", "closure")
    same = [values for values in by_trial if len(values) == len(repair.seeds)]
    return Dots([float(v) for v in np.mean(same, axis=0)] if same else [metric.value], metric, colour, marker)


def _sortable(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _items(axes: Axes, scores: pd.DataFrame, size: float | None = None) -> None:
    """The points of both classes, and the threshold of the validator."""
    finite = scores[np.isfinite(scores["generator_logodds"]) & np.isfinite(scores["validator_logodds"])]
    for gold, label, colour, marker, filled, _ in CLASSES:
        part = finite[finite["gold"] == gold]
        if part.empty:
            continue
        x, y = part["generator_logodds"].to_numpy(), part["validator_logodds"].to_numpy()
        n = MANY_POINTS + 1 if size is not None and len(finite) > MANY_POINTS // 2 else len(finite)
        points(axes, x, y, n, colour, marker, filled, label=f"{label} (n = {len(part):,})")
        if size is not None:
            axes.lines[-1].set(markersize=size, markeredgewidth=0.7)
    axes.axhline(0, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True, steps=style.ROUND_STEPS))
        axis.set_major_formatter(style.tick)
    axes.grid(color=style.GRID, linewidth=0.6)
