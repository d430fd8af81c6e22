"""Pictures of the gap explained by concepts: the check against random sets, and what of each form a concept carries."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accord.explain.findings import RULE, sentence
from accord.explain.result import Explanation
from accord.names.meanings import Meanings
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.metric import plain
from accord.report.wording import count, in_figure

LABELS = 6  # concepts whose names stand in the picture
_PULLS = (
    (1, "for agreement", style.RIGHT, "o"),
    (-1, "against it", style.WRONG, "^"),
    (0, "pull not told from 0", style.MUTED, "s"),
)
# what -> column of the check, title and axis of the panel
_PANELS = {
    "against": ("change", "Turned off: those against agreement", "change of r\n(expected: up)"),
    "for": ("change", "Turned off: those for agreement", "change of r\n(expected: down)"),
    "largest": ("moved", "Turned off: the largest", "mean |change of l_V|, nats\n(expected: up)"),
}


def draw_check(label: str, explanation: Explanation) -> Drawn | None:
    """Every set that was turned off, beside random sets of equal rates."""
    table, checks = explanation.check, explanation.summary["check"]
    sets = [what for what in _PANELS if (table["what"] == what).any()]
    if not sets:
        return None
    figure = Figure(figsize=(style.WIDE, 3.6))
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for axes, what in zip(panels, sets, strict=True):
        _check(axes, table[table["what"] == what], what)
    title = f"{in_figure(plain(label), 40)}: concepts turned off together, beside random sets of equal rates"
    style.title(figure, title, 110)
    n = count(int(explanation.summary["checked_items"]), "item")
    caption = (
        f"The diamond is the set that was found, its bar the 95 % interval over {n} that did not choose it. "
        "Each dot is a random set of as many other concepts, equally often active; the grey band holds 95 % of them. "
        f"{RULE} So a diamond outside the band whose bar holds 0 is not told from random either."
    )
    words = "; ".join(sentence(what, checks[what]) for what in sets if what in checks)
    return Drawn("check", figure, title, caption, f"{title}: {words}.", wide=True)


def _check(axes: Axes, table: pd.DataFrame, what: str) -> None:
    measure, title, label = _PANELS[what]
    random = table.loc[table["draw"] >= 0, measure].to_numpy(dtype=float)
    own = table[table["draw"] < 0].iloc[0]
    if len(random):
        low, high = np.percentile(random, [2.5, 97.5])
        axes.axvspan(low, high, color=style.GRID, alpha=0.6, linewidth=0)
        heights = np.random.default_rng(0).uniform(-0.16, 0.16, len(random))  # dots side by side; height says nothing
        axes.plot(random, heights, linestyle="none", marker="o", markersize=4.5, markerfacecolor="none",
                  markeredgecolor=style.MUTED)  # fmt: skip
    axes.hlines(1, float(own[f"{measure}_low"]), float(own[f"{measure}_high"]), color=style.RIGHT, linewidth=2)
    axes.plot(float(own[measure]), 1, marker="D", markersize=7, color=style.RIGHT)
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    axes.set_yticks([0, 1], ["random sets", "found"])
    axes.set_ylim(-0.5, 1.5)
    axes.set_title(title, fontweight="normal")
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=style.ROUND_STEPS))
    axes.xaxis.set_major_formatter(style.tick)
    style.quiet(axes)
    axes.grid(axis="x", color=style.GRID, linewidth=0.7)


def draw_shares(label: str, explanation: Explanation, meant: Meanings) -> Drawn:
    """What share of each form's differences between items goes through each candidate."""
    table = explanation.concepts
    x, y = table["generator_share"].to_numpy(), table["validator_share"].to_numpy()
    called = {int(k): _called(int(k), meant) for k in table["concept"]}
    figure = Figure(figsize=(style.NARROW, 5.2))
    axes = figure.add_subplot()
    for sign, words, colour, marker in _PULLS:
        sure = np.where(table["low"] > 0, 1, np.where(table["high"] < 0, -1, 0)) == sign
        if sure.any():
            axes.plot(x[sure], y[sure], linestyle="none", marker=marker, markersize=5.5, markerfacecolor="none",
                      markeredgecolor=colour, label=f"{words} ({int(sure.sum())})")  # fmt: skip
    axes.axline((0, 0), slope=1, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.axhline(0, color=style.GRID, linewidth=0.9)
    axes.axvline(0, color=style.GRID, linewidth=0.9)
    _name(axes, table["concept"].tolist(), x, y, called)
    axes.set(xlabel="share of the generator", ylabel="share of the validator")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=style.ROUND_STEPS))
        axis.set_major_formatter(style.tick)
    axes.margins(0.14)
    figure.legend(loc="outside lower center", ncols=2)
    title = f"{in_figure(plain(label), 30)}: what of each form goes through a concept"
    style.title(figure, title, 58)
    caption = (
        "Each point is a concept. Share: cov(contribution, log-odds) / var(log-odds), by turning it off exactly, over "
        "all items. On the dashed line a concept carries both forms alike; far from it, one form only. Named: those "
        "farthest from the line; in quotes, typical tokens of a concept without a name."
    )
    far = ", ".join(called[k] for k in _farthest(table["concept"].tolist(), x, y)[:3])
    return Drawn(
        "shares", figure, title, caption, f"A scatter of {len(table)} concepts. {title}. Farthest apart: {far}."
    )


def _farthest(concepts: list[int], x: np.ndarray, y: np.ndarray) -> list[int]:
    return [int(concepts[i]) for i in np.argsort(-np.abs(x - y), kind="stable")[:LABELS]]


def _name(axes: Axes, concepts: list[int], x: np.ndarray, y: np.ndarray, called: Mapping[int, str]) -> None:
    """Names at the points, apart from each other: those that would lie on one that stands are left out."""
    span = max(float(np.ptp(x)), 1e-9), max(float(np.ptp(y)), 1e-9)
    standing: list[tuple[float, float]] = []
    for k in _farthest(concepts, x, y):
        i = concepts.index(k)
        place = (float(x[i]) / span[0], float(y[i]) / span[1])
        if any(abs(place[0] - a) < 0.4 and abs(place[1] - b) < 0.06 for a, b in standing):
            continue
        standing.append(place)
        right = x[i] > float(np.mean([x.min(), x.max()]))
        axes.annotate(
            called[k], (x[i], y[i]), xytext=(-7 if right else 7, 0), textcoords="offset points",
            ha="right" if right else "left", va="center", fontsize=8.5, path_effects=style.halo(),
        )  # fmt: skip


def _called(k: int, meant: Meanings) -> str:
    """`12 small insects`; without a name, its typical tokens in quotes; without a dictionary, its number."""
    if k in meant.names:
        return f"{k} {in_figure(meant.names[k], 22)}"
    tokens = " ".join(f"“{token}”" for token in meant.typical.get(k, []))
    return f"{k} {in_figure(tokens, 24)}" if tokens else f"concept {k}"
