"""How repairs were made, as their chapter shows it: training curves, settings, and where their files are."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accord.repair.result import RepairRecord
from accord.report import style
from accord.report.dots import look
from accord.report.drawn import Drawn, on_page
from accord.report.links import href
from accord.report.prompts import flat
from accord.report.wording import in_figure

MOST = 12  # panels
_WINDOW = 9  # single batches are noisy: the line drawn thick is a running mean over this many steps


Records = Mapping[str, Mapping[int, RepairRecord | None]]
"""Label of a repair -> seed -> how it was made, None where that is not there."""


def made_shown(repairs: Records, files: Mapping[str, Sequence[Path]], run: Path, key: str) -> dict[str, Any]:
    """What page.html shows.

    Args:
        files: label of a repair -> its files in the folder `run`.
        key: begins the ids of the figure.
    """
    records = []
    for label, seeds in repairs.items():
        first = next(iter(seeds.values()))
        links = [{"text": path.relative_to(run).as_posix(), "href": href(path, run)} for path in files[label]]
        records.append({"label": label, "settings": list(flat(first.about if first else {})), "files": links})
    template = str(Path(__file__).with_name("page.html"))
    return {"template": template, "training": on_page([draw_training(repairs)], key), "made": records}


def draw_training(repairs: Records) -> Drawn | None:
    """Loss by step of every trained repair: a panel a repair, every seed a thin line, their mean a thick one."""
    curves = [(i, label, parts) for i, (label, seeds) in enumerate(repairs.items()) if (parts := _losses(seeds))]
    if not curves:
        return None
    first = curves[:MOST]
    columns = min(len(first), 2 if len(first) in (2, 4) else 3)
    rows = math.ceil(len(first) / columns)
    wide = columns == 3
    figure = Figure(figsize=(style.WIDE if wide else style.NARROW, 0.5 + 2.1 * rows))
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, (i, label, parts) in zip(panels.flat, first, strict=False):
        colour = look(i)[0]
        for part in parts:
            axes.plot(part.index, part, color=colour, linewidth=0.7, alpha=0.35, label=f"_{part.name}")
        middle = pd.concat(parts, axis=1).mean(axis=1).sort_index().rolling(_WINDOW, min_periods=1, center=True).mean()
        axes.plot(middle.index, middle, color=colour, linewidth=2.0, label=f"_mean over {_WINDOW} steps")
        axes.set_title(in_figure(label, 30))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=style.ROUND_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=style.ROUND_STEPS))
        axes.yaxis.set_major_formatter(style.tick)
        axes.grid(axis="y", color=style.GRID, linewidth=0.7)
    for axes in panels[:, 0]:
        axes.set_ylabel("loss")
    for spare in panels.flat[len(first) :]:
        spare.set_visible(False)
    for k, axes in enumerate(panels.flat[: len(first)]):
        if k + columns >= len(first):
            axes.set_xlabel("step")
    note = f" Shown: {len(first)} of {len(curves)}." if len(curves) > len(first) else ""
    title = "How the losses fall in training"
    style.title(figure, title, 110 if wide else 58)
    caption = (
        f"Loss of each update. Thin: each seed; thick: their mean, run over {_WINDOW} steps. Each kind of repair has a "
        f"loss of its own, so the panels have scales of their own.{note}"
    )
    alt = f"Training curves of {', '.join(in_figure(label, 30) for _, label, _ in first)}, loss by step."
    return Drawn("repair-training", figure, title, caption, alt, wide=wide)


def _losses(seeds: Mapping[int, RepairRecord | None]) -> list[pd.Series]:
    """Finite losses by step, of every seed that was trained."""
    curves = {seed: record.curve for seed, record in seeds.items() if record is not None and record.curve is not None}
    losses = [
        curve[np.isfinite(curve["loss"])]
        .drop_duplicates("step", keep="last")
        .set_index("step")["loss"]
        .rename(f"seed {seed}")
        for seed, curve in curves.items()
    ]
    return [loss for loss in losses if len(loss) > 1]
