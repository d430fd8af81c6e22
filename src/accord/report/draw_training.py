"""Training curves as small multiples: a panel a model, every seed a thin line, their mean a thick one."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from accord.report import style
from accord.report.concepts_data import ConceptLine
from accord.report.concepts_groups import Group, concept_groups, row_groups
from accord.report.dots import look
from accord.report.drawn import Drawn
from accord.report.wording import amount, in_figure

MOST = 18  # panels; the others are in their folders
_DASHED = (0, (4, 2))


def draw_concept_training(line: ConceptLine) -> Drawn | None:
    """Held-out FVU by step, for every concept model."""
    groups = concept_groups(line)
    drawn = _multiples(groups, "fvu", "fvu_hard", "held-out FVU")
    if drawn is None:
        return None
    figure, ends, note = drawn
    title = f"What the reconstruction leaves unexplained{ends}"
    gates = " Dashed: the mean with hard gates." if any(group.gated for group in groups) else ""
    caption = (
        "Share of held-out variance that is not explained (FVU, 1 − R²; 1 is no better than the mean embedding) as "
        f"training goes on. Thin: each seed. Thick: their mean, where all were evaluated.{gates}{note}"
    )
    return _finished("training", figure, title, caption, len(groups))


def draw_head_training(line: ConceptLine) -> Drawn | None:
    """Held-out cross-entropy by step, for every head that was trained."""
    groups = row_groups(line.heads, concept_groups(line))
    drawn = _multiples(groups, "held_out_ce", None, "held-out CE")
    if drawn is None:
        return None
    figure, ends, note = drawn
    title = f"Held-out cross-entropy of the heads{ends}"
    caption = (
        "Nats a token on texts that a head was not trained on, as training goes on; where it rises again, the head has "
        f"begun to learn its texts by heart, and the weights before are kept. Thin: each seed. Thick: their mean.{note}"
    )
    return _finished("head-training", figure, title, caption, len(groups))


def _multiples(groups: Sequence[Group], soft: str, hard: str | None, label: str) -> tuple[Figure, str, str] | None:
    """The panels, what the trained models reach, and a word on those that are not shown."""
    known = [(i, g) for i, g in enumerate(groups) if any(_evaluated(c, soft) is not None for c in _curves(g))]
    if not known:
        return None
    shown = known[:MOST]
    columns = min(len(shown), 2 if len(shown) in (2, 4) else 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_width(len(shown)), 0.5 + 2.1 * rows))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for spare in panels.flat[len(shown) :]:
        spare.set_visible(False)
    ends = []
    for axes, (i, group) in zip(panels.flat, shown, strict=False):
        _panel(axes, group, look(i)[0], soft, hard)
        axes.set_title(in_figure(group.label, 34))
        if group.metric(soft).known:
            ends.append(f"{in_figure(group.label, 30)} {amount(group.metric(soft))[0]}")
    for axes in panels[:, 0]:
        axes.set_ylabel(label)
    for k, axes in enumerate(panels.flat[: len(shown)]):
        if k >= len(shown) - columns:
            axes.set_xlabel("step")
    note = f" Shown: {len(shown)} of {len(known)}." if len(known) > len(shown) else ""
    more = f", and {len(ends) - 3} more" if len(ends) > 3 else ""
    return figure, (": " if ends else "") + ", ".join(ends[:3]) + more, note


def _panel(axes: Axes, group: Group, colour: str, soft: str, hard: str | None) -> None:
    """One model: its seeds, their mean, and the mean of the hard reading."""
    parts = [c for curve in _curves(group) if (c := _evaluated(curve, soft)) is not None]
    for part in parts if len(parts) > 1 else ():
        axes.plot(part.index, part, color=colour, linewidth=0.8, alpha=0.5)
    middle = _mean(parts)
    axes.plot(middle.index, middle, color=colour, linewidth=2.0)
    if hard is not None and group.gated:
        readings = [c for curve in _curves(group) if (c := _evaluated(curve, hard)) is not None]
        if readings:
            other = _mean(readings)
            axes.plot(other.index, other, color=colour, linewidth=1.4, linestyle=_DASHED)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=style.ROUND_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND_STEPS))
    axes.yaxis.set_major_formatter(style.tick)
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)


def _mean(parts: Sequence[pd.Series]) -> pd.Series:
    """The mean over seeds at the steps that all of them have; of those that stopped early, up to there."""
    return pd.concat(parts, axis=1, join="inner").mean(axis=1).sort_index()


def _curves(group: Group) -> list[pd.DataFrame]:
    return [stage.curve for stage in group.stages if stage.curve is not None]


def _evaluated(curve: pd.DataFrame, name: str) -> pd.Series | None:
    """The evaluations, by step: most rows of a curve have none."""
    if name not in curve.columns:
        return None
    known = curve[np.isfinite(curve[name])].drop_duplicates("step", keep="last").set_index("step")[name]
    return known if len(known) else None


def _width(panels: int) -> float:
    return style.NARROW if panels <= 2 or panels == 4 else style.WIDE


def _finished(name: str, figure: Figure, title: str, caption: str, panels: int) -> Drawn:
    wide = float(figure.get_size_inches()[0]) == style.WIDE
    style.title(figure, title, 116 if wide else 58)
    return Drawn(name, figure, title, caption, f"Training curves in {panels} panels. {title}.", wide=wide)
