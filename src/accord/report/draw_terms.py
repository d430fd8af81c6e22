"""The terms of the concept models' losses as training goes on: a panel a model, a line a term."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.report import style
from accord.report.concepts_data import ConceptLine
from accord.report.concepts_groups import Group, concept_groups
from accord.report.dots import COLOURS
from accord.report.draw_training import MOST
from accord.report.drawn import Drawn
from accord.report.wording import in_figure

# What the trainer and the judge write beside the terms.
_OTHERS = {"step", "lr", "loss", "batch", "seconds", "fvu", "fvu_hard", "l0", "alive"}
_STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def draw_loss_terms(line: ConceptLine) -> Drawn | None:
    """Every named term of the training loss by step, its mean over seeds; None where no curve names any."""
    known = [(group, terms) for group in concept_groups(line) if len(terms := _terms(group).columns)]
    if not known:
        return None
    shown = known[:MOST]
    columns = min(len(shown), 2 if len(shown) in (2, 4) else 3)
    rows = -(-len(shown) // columns)
    wide = columns > 2
    figure = Figure(figsize=(style.WIDE if wide else style.NARROW, 0.6 + 2.5 * rows))
    panels = figure.subplots(rows, columns, squeeze=False)
    for spare in panels.flat[len(shown) :]:
        spare.set_visible(False)
    names = list(dict.fromkeys(str(term) for _, terms in shown for term in terms))
    for axes, (group, _) in zip(panels.flat, shown, strict=False):
        _panel(axes, group, names)
    for axes in panels[:, 0]:
        axes.set_ylabel("loss (log scale)")
    title = "What the training losses are made of"
    style.title(figure, title, 116 if wide else 58)
    caption = (
        "Each term of the training loss, its weight included, on the batches that a model learned from; their sum is "
        "what training lowers. Means over seeds. A term that is 0 has no line: its weight is 0, or has yet to rise."
    )
    if len(known) > MOST:
        caption += f" Shown: {MOST} of {len(known)}."
    alt = f"Curves of loss terms in {len(shown)} panels: {', '.join(names)}."
    return Drawn("loss-terms", figure, title, caption, alt, wide=wide)


def _panel(axes: Axes, group: Group, names: list[str]) -> None:
    table = _terms(group)
    for term in table.columns:
        i = names.index(str(term))
        axes.plot(
            table.index, table[term], color=COLOURS[i % len(COLOURS)], linestyle=_STYLES[i % len(_STYLES)],
            linewidth=1.6, label=in_figure(term, 16),
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_title(in_figure(group.label, 34))
    axes.set_xlabel("step")
    axes.legend(loc="best", fontsize=8.5, handlelength=2.2)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=style.ROUND_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    style.log_axis(axes, "y")
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)


def _terms(group: Group) -> pd.DataFrame:
    """The terms above zero, by step: of each its mean over the seeds that have it."""
    curves = [stage.curve.drop_duplicates("step", keep="last") for stage in group.stages if stage.curve is not None]
    if not curves:
        return pd.DataFrame()
    table = pd.concat(curves).groupby("step").mean()
    table = table[[name for name in table.columns if name not in _OTHERS]]
    table = table.where(np.isfinite(table) & (table > 0))
    return table.dropna(axis="columns", how="all")
