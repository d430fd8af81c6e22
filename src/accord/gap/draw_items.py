"""Figures of the items: both forms against each other, and the rank check."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from accord.gap.result import Gap
from accord.gap.slices import AFFIRMS_SILENT, SAYS_DENIES, generator_cut, judged
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.metric import metric_in
from accord.report.points import CLASSES, points
from accord.report.wording import count, equals, interval, measured, number


def draw_scatter(gap: Gap) -> Drawn:
    """Generator against validator log-odds, an item a point, with the distribution of each along the edges."""
    scores = judged(gap.scores)
    drawn = scores[np.isfinite(scores["generator_logodds"]) & np.isfinite(scores["validator_logodds"])]
    figure = Figure(figsize=(style.NARROW, 5.6))
    grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5), hspace=0.02, wspace=0.02)
    main = figure.add_subplot(grid[1, 0])
    top, side = figure.add_subplot(grid[0, 0], sharex=main), figure.add_subplot(grid[1, 1], sharey=main)
    for gold, label, colour, marker, filled, line in CLASSES:
        part = drawn[drawn["gold"] == gold]
        if part.empty:
            continue
        x, y = part["generator_logodds"].to_numpy(), part["validator_logodds"].to_numpy()
        within = metric_in(gap.metrics, "pearson_yes" if gold else "pearson_no")
        text = f"{label} (n = {len(part)})" + (f": {equals('r', within)}" if within.known else "")
        points(main, x, y, len(drawn), colour, marker, filled, label=text)
        look: dict[str, Any] = {"histtype": "step", "color": colour, "linestyle": line, "linewidth": 1.4}
        top.hist(x, bins=_bins(drawn["generator_logodds"]), **look)
        side.hist(y, bins=_bins(drawn["validator_logodds"]), orientation="horizontal", **look)
    _quadrants(main, scores)
    main.set(xlabel="generator log-odds: would it say the answer?", ylabel="validator log-odds: does it affirm it?")
    for edge in (top, side):
        style.quiet(edge)
        edge.tick_params(labelbottom=False, labelleft=False)
    _legend(top, main)
    apart = int((scores["disagreement"] != "").sum())
    over, r = count(len(scores), "item"), equals("r", metric_in(gap.metrics, "pearson_all"))
    title = f"The two forms disagree on {apart:,} of {over} ({r})"
    style.title(figure, title, 58)
    caption, alt = _scatter_caption(scores, len(drawn)), _scatter_alt(gap, scores)
    return Drawn("scatter", figure, title, caption, alt, items=[main])


def draw_rank(gap: Gap) -> Drawn:
    """Generator log-odds against the rank of the answer: they must go together, or something is wrong."""
    # Ranks are of first tokens, so their log-odds stand beside, whatever else the generator's score is of.
    first = "generator_first_logodds" if "generator_first_logodds" in gap.scores else "generator_logodds"
    scores = gap.scores[np.isfinite(gap.scores[first])]
    figure = Figure(figsize=(style.NARROW, 3.9))
    axes = figure.add_subplot()
    for gold, label, colour, marker, filled, _ in CLASSES:
        part = scores[scores["gold"] == gold]
        if not part.empty:
            ranks = part["generator_rank"].to_numpy()
            points(axes, ranks, part[first].to_numpy(), len(scores), colour, marker, filled, label=label)
    deepest = max(1, int(np.ceil(np.log10(gap.scores["generator_rank"].max()))))
    axes.set_xscale("log")
    axes.set_xlim(axes.get_xlim()[1], axes.get_xlim()[0])
    axes.xaxis.set_major_locator(FixedLocator([10**k for k in range(deepest + 1)]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="rank of the answer's first token (1 = the model's choice; log)", ylabel="its log-odds")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(color=style.GRID, linewidth=0.7)
    _legend(axes, axes, ncols=2)
    sanity = metric_in(gap.metrics, "rank_sanity")
    how = f" (correlation {measured(sanity)})" if sanity.known else ""
    follow = "follow" if not sanity.known or sanity.value >= 0.8 else "hardly follow"
    title = f"The first token's log-odds {follow} its rank{how}"
    style.title(figure, title, 58)
    caption = (
        "A check of the measurement, not of the model: log-odds of the answer's first token and its place among all "
        "tokens must rise together. A cloud without direction would mean that prompts or tokens do not fit."
    )
    return Drawn("rank", figure, title, caption, f"Scatter. {title}.")


def _legend(axes: Axes, points: Axes, ncols: int = 1) -> None:
    """A legend on top of `axes`, where no point can lie under it, with marks that are not see-through."""
    handles, labels = points.get_legend_handles_labels()
    legend = axes.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, ncols=ncols,
        handletextpad=0.2, markerscale=1.4,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def _quadrants(axes: Axes, scores: Any) -> None:
    """Where each form changes its mind, and how many items lie in each corner."""
    cut = generator_cut(scores)
    axes.axvline(cut, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
    axes.axhline(0, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
    low, high = axes.get_ylim()
    room = 0.1 * (high - low)
    axes.set_ylim(min(low, 0) - room, max(high, 0) + room)
    for says in (False, True):
        for affirms in (False, True):
            n = int(((scores["says"] == says) & (scores["affirms"] == affirms)).sum())
            text = f"{'said' if says else 'not said'}, {'affirmed' if affirms else 'denied'}: {n}"
            axes.text(
                0.985 if says else 0.015, 0.985 if affirms else 0.015, text, transform=axes.transAxes,
                ha="right" if says else "left", va="top" if affirms else "bottom", fontsize=9,
                color=style.INK if says != affirms else style.MUTED,
                fontweight="bold" if says != affirms else "normal", path_effects=style.halo(),
            )  # fmt: skip


def _bins(values: Any) -> list[float]:
    return [float(edge) for edge in np.histogram_bin_edges(values, bins=int(min(28, 6 + len(values) ** 0.5)))]


def _scatter_caption(scores: Any, drawn: int) -> str:
    lost = len(scores) - drawn
    note = f" {count(lost, 'item')} with an infinite score could not be drawn." if lost else ""
    return (
        "Each point is an item. To the right: more likely to be said; upward: more likely to be affirmed. Dashed "
        "lines: the model says as many answers as there are right ones, and affirms above zero. In agreement, points "
        "would climb from lower left to upper right, within each class too; the bold corners are where it "
        f"contradicts itself.{note}"
    )


def _scatter_alt(gap: Gap, scores: Any) -> str:
    kinds = scores["disagreement"].value_counts()
    r = metric_in(gap.metrics, "pearson_all")
    return (
        f"Scatter of validator against generator log-odds for {count(len(scores), 'item')}; correlation "
        f"{number(r.value)} {interval(r)}; {int(kinds.get(SAYS_DENIES, 0))} said but denied, "
        f"{int(kinds.get(AFFIRMS_SILENT, 0))} affirmed but not said."
    )
