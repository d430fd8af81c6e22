"""The figure of the categories: how often the two forms disagree in each, and in which direction."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from accord.gap.result import Gap
from accord.gap.slices import by_category, judged
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.wording import in_figure

MOST = 80
FEWEST = 4  # items: below that, a category's share is noise
NAMED = 20  # items: from there on a category may be named as the most or the least, its interval is ± 20 % at most
ONE_COLUMN = 24  # more rows than this stand in two columns, so that the figure fits on a screen


def draw_categories(gap: Gap) -> Drawn | None:
    """How often the two forms disagree in each category, in which direction, most first."""
    categories = by_category(gap.scores)
    table = categories[categories["n"] >= FEWEST].reset_index(drop=True)
    if len(table) < 2:
        return None
    shown = table.head(MOST)
    columns = 1 if len(shown) <= ONE_COLUMN else 2
    rows = -(-len(shown) // columns)
    width = style.NARROW if columns == 1 else style.WIDE
    figure = Figure(figsize=(width, 1.35 + 0.215 * rows), layout=ConstrainedLayoutEngine(wspace=0.06))
    overall = float((judged(gap.scores)["disagreement"] != "").mean())
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for i, axes in enumerate(panels):
        _bars(axes, shown.iloc[i * rows : (i + 1) * rows], rows, overall)
    legend = panels[0].legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, ncols=2, columnspacing=1.2, handlelength=1.2
    )
    for handle in legend.legend_handles:
        if isinstance(handle, Rectangle):
            handle.set_linewidth(1.1)  # the first category may have none of a kind, and so no edge
    large = table[table["n"] >= NAMED]
    title = f"The two forms disagree on {overall:.0%} of the items; by category"
    if len(large) > 1:
        title = f"Most disagreement: {_share(large.iloc[0])}; least: {_share(large.iloc[-1])}"
    style.title(figure, title, 58 * columns)
    listed = ", ".join(_share(row) for _, row in shown.head(5).iterrows())
    alt = f"Bar chart of disagreement by category. {title}. In the order of their shares: {listed}."
    caption = _caption(overall, len(shown), len(categories), len(large))
    return Drawn("categories", figure, title, caption, alt, wide=columns == 2)


def _bars(axes: Axes, part: pd.DataFrame, rows: int, overall: float) -> None:
    """One column of categories; columns share their number of rows, so that bars are equally thick."""
    place = np.arange(len(part))
    said, affirmed = part["says_denies"].to_numpy(), part["affirms_silent"].to_numpy()
    axes.barh(place, said, height=0.62, color=style.GENERATOR, label="said but denied")
    axes.barh(
        place, affirmed, left=said, height=0.62, label="affirmed but not said",
        facecolor="none", edgecolor=style.VALIDATOR, linewidth=np.where(affirmed > 0, 1.1, 0.0).tolist(),
    )  # fmt: skip
    axes.hlines(place, part["low"], part["high"], color=style.INK, linewidth=1)
    axes.plot(part["rate"], place, "o", color=style.INK, markersize=3, clip_on=False)
    axes.axvline(overall, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
    axes.set_yticks(place, [in_figure(name, 24) for name in part["category"]])
    axes.set(xlim=(0, 1), ylim=(rows - 0.4, -0.6), xlabel="share of items on which the two forms disagree")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    beside = axes.get_yaxis_transform()
    for row, n in enumerate(part["n"]):
        axes.text(1.035, row, f"{n}", transform=beside, va="center", fontsize=8.5, color=style.MUTED)
    axes.text(1.035, -0.85, "n", transform=beside, va="bottom", fontsize=8.5, color=style.MUTED)
    style.quiet(axes)


def _caption(overall: float, shown: int, total: int, large: int) -> str:
    fewer = f"Shown: {shown} of {total} categories" + (f", those with at least {FEWEST} items" if shown < MOST else "")
    more = f" {fewer}." if shown < total else ""
    named = f"those of at least {NAMED} items" if large > 1 else f"none, as fewer than two have {NAMED} items"
    return (
        "Bars: share of a category's items on which one form says yes and the other no, in both directions. Dot and "
        f"line: the whole share with its 95 % interval. Dashed: all items together ({overall:.0%}). n: number of "
        f"items; with few of them the order means little. Named as most and least: {named}.{more}"
    )


def _share(row: pd.Series) -> str:
    return f"{in_figure(row['category'], 30)} ({row['rate']:.0%}, n = {row['n']})"
