"""The figure of the layers: what each form knows at each, how the two correlate, where the validator leans."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.gap.result import Gap
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.wording import number

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
    style.name_ends(axes, ends, table["layer"].max())


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
    style.name_ends(axes, ends, layers["layer"].max())


def _peaks(table: pd.DataFrame) -> str:
    """Where each form is at its best, as the title: computed, so that it cannot drift from the curves."""
    peaks = []
    for metric, (label, _, _) in _AUC.items():
        part = table[(table["metric"] == metric) & table["value"].notna()]
        if not part.empty:
            best, last = part.iloc[part["value"].argmax()], part.iloc[part["layer"].argmax()]
            peak, top = number(best["value"]), number(last["value"])
            peaks.append(f"{label} {top} at the top")
            if peak != top:
                peaks[-1] = f"{label} {peak} at layer {best['layer']:.0f}, {top} at the top"
    return "Best AUC: " + "; ".join(peaks) if peaks else "What each form knows by layer"
