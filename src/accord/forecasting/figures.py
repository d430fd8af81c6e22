"""The figures of a forecast: pairs ordered rightly by size of the difference, and what is known at which layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.forecasting.findings import FORMS, bins, unseen
from accord.forecasting.result import RepairForecast
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.wording import number

_DASHED = (0, (5, 2))
_FORMS = {"g2v": (style.GENERATOR, "-"), "v2g": (style.VALIDATOR, _DASHED)}
_LAYERS = {
    "generator_auc": ("generator", style.GENERATOR, "-"),
    "validator_auc": ("validator", style.VALIDATOR, _DASHED),
}


def draw_all(forecast: RepairForecast) -> list[Drawn]:
    """Every figure that this forecast has the numbers for. Call it, and save what it gives, within `house_style()`."""
    return [drawn for make in (draw_pairs, draw_layers) if (drawn := make(forecast)) is not None]


def draw_pairs(forecast: RepairForecast) -> Drawn | None:
    """Share of pairs that each teacher orders rightly, by |Δ|; below, of two answers to one prompt."""
    scopes = [
        scope for scope in ("all", "within") if any(len(bins(forecast, direction, scope)) > 1 for direction in FORMS)
    ]
    if not scopes:
        return None
    figure = Figure(figsize=(style.NARROW, 0.6 + 2.7 * len(scopes)))
    panels = figure.subplots(len(scopes), 1, sharex=True, squeeze=False)[:, 0]
    for axes, scope in zip(panels, scopes, strict=True):
        axes.axhline(0.5, color=style.MUTED, linewidth=0.8)
        ends: list[tuple[float, str, str]] = []
        for direction, (colour, line) in _FORMS.items():
            table = bins(forecast, direction, scope)
            if len(table):
                closer, value = 100 * table["closer"].to_numpy(), table["value"].to_numpy(dtype=float)
                axes.fill_between(closer, table["low"], table["high"], color=colour, alpha=0.16, linewidth=0)
                axes.plot(closer, value, color=colour, linestyle=line, linewidth=1.8, marker="o", markersize=3.5)
                ends.append((float(value[-1]), FORMS[direction], colour))
        axes.set_ylim(top=1.0)
        style.name_ends(axes, ends, 100)
        axes.set_title("Any two items" if scope == "all" else "Two answers to one prompt")
    panels[-1].set_xlabel("per cent of the pairs that are closer")
    title = "Pairs ordered rightly, from the closest to the farthest"
    style.title(figure, title, 58)
    caption = (
        "Pairs of a right and a wrong answer, in equal parts by how far apart a form's scores hold them: the share of "
        "which the right one is higher; at .5 it is chance. Bands: 95 % intervals. A ranking repair learns from the "
        "pairs above its delta, and can teach no better than its teacher orders there."
    )
    return Drawn("pairs", figure, title, caption, f"{title}. {_farthest(forecast)}")


def _farthest(forecast: RepairForecast) -> str:
    """The two ends of each line over any two items, in words."""
    parts = []
    for direction, form in FORMS.items():
        values = bins(forecast, direction)["value"].to_numpy(dtype=float)
        if len(values):
            parts.append(f"{form} {number(values[0])} to {number(values[-1])}")
    return f"Any two items: {', '.join(parts)}." if parts else ""


def draw_layers(forecast: RepairForecast) -> Drawn | None:
    """What each form knows at every layer by the logit lens, and how well l_G is read off the validator there."""
    table = forecast.layers
    if table["layer"].nunique() < 2:
        return None
    figure = Figure(figsize=(style.NARROW, 5.2))
    upper, lower = figure.subplots(2, 1, sharex=True)
    _curves(upper, forecast, _LAYERS, 0.5)
    upper.set_title("Tells right from wrong (AUC; .5 is chance)")
    _curves(lower, forecast, {"readout_r": ("readout", style.INK, "-")}, 0.0)
    lower.set_title("The generator's log-odds read off the validator (r)")
    lower.set_xlabel("layer (0 is what enters the first block)")
    read = table[table["metric"] == "readout_r"].dropna(subset="value")
    title = "What each form knows by layer"
    if len(read):
        best = read.iloc[int(read["value"].to_numpy().argmax())]
        title = f"What the generator says is best read off layer {best['layer']:.0f} (r {number(best['value'])})"
    style.title(figure, title, 58)
    caption = (
        "Above: every layer read with the model's own last norm and output head (logit lens). Below: what a readout of "
        f"the layer alone reads, not having seen {unseen(forecast)}. Bands: 95 % intervals."
    )
    return Drawn("layers", figure, title, caption, f"Curves by layer. {title}.")


def _curves(axes: Axes, forecast: RepairForecast, looks: Mapping[str, tuple[str, str, Any]], level: float) -> None:
    axes.axhline(level, color=style.MUTED, linewidth=0.8)
    ends: list[tuple[float, str, str]] = []
    for metric, (label, colour, line) in looks.items():
        part = forecast.layers[forecast.layers["metric"] == metric].sort_values("layer")
        value = part["value"].to_numpy(dtype=float)
        if np.isfinite(value).any():
            axes.fill_between(part["layer"], part["low"], part["high"], color=colour, alpha=0.16, linewidth=0)
            axes.plot(part["layer"], value, color=colour, linestyle=line, linewidth=1.8)
            ends.append((float(value[np.isfinite(value)][-1]), label, colour))
    axes.set_ylim(top=1.0)
    style.name_ends(axes, ends, forecast.layers["layer"].max())
