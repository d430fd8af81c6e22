"""Training curves of the repairs that are trained: a panel a repair, every seed a thin line, their mean a thick one."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accord.report import style
from accord.report.dots import look
from accord.report.drawn import Drawn
from accord.report.repair_groups import Repair
from accord.report.wording import in_figure

MOST = 12  # panels
_WINDOW = 9  # single batches are noisy: the line drawn thick is a running mean over this many steps


def draw_repair_training(repairs: Sequence[Repair]) -> Drawn | None:
    """Loss by step of every trained repair."""
    curves = [(i, r, parts) for i, r in enumerate(repairs) if (parts := _losses(r))]
    if not curves:
        return None
    shown = curves[:MOST]
    columns = min(len(shown), 2 if len(shown) in (2, 4) else 3)
    rows = math.ceil(len(shown) / columns)
    wide = columns == 3
    figure = Figure(figsize=(style.WIDE if wide else style.NARROW, 0.5 + 2.1 * rows))
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, (i, repair, parts) in zip(panels.flat, shown, strict=False):
        colour = look(i)[0]
        for part in parts:
            axes.plot(part.index, part, color=colour, linewidth=0.7, alpha=0.35)
        middle = pd.concat(parts, axis=1).mean(axis=1).sort_index().rolling(_WINDOW, min_periods=1, center=True).mean()
        axes.plot(middle.index, middle, color=colour, linewidth=2.0)
        axes.set_title(in_figure(repair.label, 30))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=style.ROUND_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=style.ROUND_STEPS))
        axes.yaxis.set_major_formatter(style.tick)
        axes.grid(axis="y", color=style.GRID, linewidth=0.7)
    for axes in panels[:, 0]:
        axes.set_ylabel("loss")
    for spare in panels.flat[len(shown) :]:
        spare.set_visible(False)
    for k, axes in enumerate(panels.flat[: len(shown)]):
        if k + columns >= len(shown):
            axes.set_xlabel("step")
    note = f" Shown: {len(shown)} of {len(curves)}." if len(curves) > len(shown) else ""
    title = "How the losses fall in training"
    style.title(figure, title, 110 if wide else 58)
    caption = (
        f"Loss of each update. Thin: each seed; thick: their mean, run over {_WINDOW} steps. Each kind of repair has a "
        f"loss of its own, so the panels have scales of their own.{note}"
    )
    alt = f"Training curves of {', '.join(in_figure(r.label, 30) for _, r, _ in shown)}, loss by step."
    return Drawn("repair-training", figure, title, caption, alt, wide=wide)


def _losses(repair: Repair) -> list[pd.Series]:
    """Finite losses by step, of every seed that was trained."""
    curves = [one.curve.drop_duplicates("step", keep="last") for one in repair.seeds if one.curve is not None]
    losses = [c[np.isfinite(c["loss"])].set_index("step")["loss"] for c in curves]
    return [loss for loss in losses if len(loss) > 1]
