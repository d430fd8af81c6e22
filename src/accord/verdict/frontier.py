"""The frontier: what each repair gains against what it costs."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from accord.damage.over_seeds import factor, perplexity
from accord.report import style
from accord.report.dots import look
from accord.report.drawn import Drawn
from accord.report.metric import Metric
from accord.report.wording import in_figure
from accord.verdict.findings import BUDGET, share
from accord.verdict.judged import JudgedRepair, RepairGroup

_LINEAR = 0.02  # up to this excess perplexity the scale is even, beyond it logarithmic: costs differ by powers of ten
_TICKS = (-0.5, -0.2, -0.1, -0.05, -0.02, 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 1000)
_ROOM = 12.0  # points between a mark and its label
_HEIGHT = 4.4

Mark = tuple[JudgedRepair, Metric, Metric]  # a repair, its perplexity ratio, its closure


def draw_frontier(group: RepairGroup) -> Drawn | None:
    """Closure on the items furthest from the training items against the perplexity ratio, a mark a repair."""
    far, repairs = group.far, group.repairs
    marks = [(r, perplexity(r.damages), r.metric(far, "pearson_all", "closure")) for r in repairs]
    marks = [(r, x, y) for r, x, y in marks if math.isfinite(x.value) and x.value > 0 and math.isfinite(y.value)]
    if not marks:
        return None
    figure = Figure(figsize=(style.WIDE, _HEIGHT))
    axes = figure.add_subplot()
    _scales(axes, marks)
    axes.axhline(0, color=style.MUTED, linewidth=0.9)
    axes.axvline(BUDGET - 1, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.text(
        BUDGET - 1, 0.995, f" budget × {BUDGET:g}", transform=axes.get_xaxis_transform(), va="top", fontsize=8.5,
        color=style.MUTED, path_effects=style.halo(),
    )  # fmt: skip
    best = undominated(marks)
    steps = sorted(((x.value - 1, y.value) for _, x, y in best), key=lambda place: place[0])
    axes.step(*zip(*steps, strict=True), where="post", color=style.MUTED, linewidth=1.0, alpha=0.7, zorder=1)
    for repair, x, y in marks:
        _mark(axes, repair, x, y, look(repairs.index(repair)))
    axes.set(xlabel="perplexity on held-out text, repaired / base", ylabel="share of the gap closed")
    axes.set_title(f"on {in_figure(group.trials[far], 40)}", fontweight="normal")
    _label(axes, marks, [look(repairs.index(r))[0] for r, _, _ in marks])
    names = [f"{in_figure(r.label, 24)} ({share(y.value)} at × {factor(x)[0]})" for r, x, y in best if r.closes(far)]
    title = f"Not beaten in both closure and cost: {', '.join(names[:3])}" if names else "Closure against cost"
    style.title(figure, title, 110)
    lost = ", ".join(r.label for r in repairs if r not in [m[0] for m in marks])
    left = f" Not measured, and so not here: {lost}." if lost else ""
    caption = (
        "Upper left is best: more of the gap closed, less harm to ordinary text (cost even up to × 1.02, then on a "
        "logarithmic scale). Marks: means over seeds; lines: 95 % "
        "intervals, over items and texts, and over seeds where there are several. Steps join the repairs that no "
        f"other one beats in both.{left}"
    )
    alt = f"Closure against perplexity ratio. {title}."
    return Drawn("frontier", figure, title, caption, alt, wide=True, numbers=_numbers(marks))


def _numbers(marks: Sequence[Mark]) -> pd.DataFrame:
    """The ratios themselves: the scale is one of what exceeds 1."""
    return pd.DataFrame(
        [
            {
                "repair": repair.label,
                **{f"{name}{end}": part for name, m in (("perplexity ratio", x), ("share of the gap closed", y))
                   for end, part in zip(("", " low", " high"), m, strict=True)},
            }
            for repair, x, y in marks
        ]
    )  # fmt: skip


def undominated(marks: Sequence[Mark]) -> list[Mark]:
    """The marks that no other beats in closure without costing more; the repair that closes most comes first."""
    best = [
        m
        for m in marks
        if not any(
            o[1].value <= m[1].value
            and o[2].value >= m[2].value
            and (o[1].value, o[2].value) != (m[1].value, m[2].value)
            for o in marks
        )
    ]
    return sorted(best, key=lambda m: -m[2].value)


def _scales(axes: Axes, marks: Sequence[Mark]) -> None:
    xs, ys = [x.value - 1 for _, x, _ in marks], [y.value for _, _, y in marks]
    axes.set_xscale("symlog", linthresh=_LINEAR, linscale=1.0)
    low, high = min([*xs, 0.0]), max([*xs, BUDGET - 1])
    axes.set_xlim(low - 0.004 if low > -_LINEAR else 1.4 * low, 1.7 * high)
    axes.set_xticks([t for t in _TICKS if low <= t <= 1.7 * high])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"× {1 + value:g}"))
    ends = [end for _, _, y in marks for end in (y.low, y.high) if math.isfinite(end)]
    axes.set_ylim(max(min([*ys, *ends, -0.05]), -1.0) - 0.05, min(max([*ys, *ends, 0.3]), 1.0) + 0.06)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=style.ROUND_STEPS))
    axes.yaxis.set_major_formatter(style.tick)
    axes.grid(color=style.GRID, linewidth=0.6)


def _mark(axes: Axes, repair: JudgedRepair, x: Metric, y: Metric, looks: tuple[str, str]) -> None:
    colour, marker = looks
    if math.isfinite(x.low) and math.isfinite(x.high):
        axes.hlines(y.value, x.low - 1, x.high - 1, color=colour, linewidth=1.4)
    if math.isfinite(y.low) and math.isfinite(y.high):
        axes.vlines(x.value - 1, y.low, y.high, color=colour, linewidth=1.4)
    axes.plot(x.value - 1, y.value, marker=marker, markersize=8, color=colour, markeredgecolor=style.GROUND)


def _label(axes: Axes, marks: Sequence[Mark], colours: Sequence[str]) -> None:
    """Names beside the marks, each where it covers least: neither a mark nor a name nor a line."""
    width, height = 72 * style.WIDE * 0.92, 72 * _HEIGHT * 0.72  # of the axes in points, about
    scale = axes.transData - axes.transAxes
    places = [scale.transform((x.value - 1, y.value)) * (width, height) for _, x, y in marks]
    taken = [(px - 6, py - 6, px + 6, py + 6) for px, py in places]
    for (px, py), (repair, x, y), colour in zip(places, marks, colours, strict=True):
        text = in_figure(repair.label, 24)
        w, h = 5.9 * len(text), 11.0
        boxes = {
            (dx, dy): (px + dx - (w if dx < 0 else 0), py + dy - h / 2, px + dx + (w if dx > 0 else 0), py + dy + h / 2)
            for dx in (_ROOM - 4, 4 - _ROOM) for dy in (8.0, -8.0, 18.0, -18.0, 30.0, -30.0)
        }  # fmt: skip
        spot = min(boxes, key=lambda k: (_covered(boxes[k], taken, width, height), abs(k[1]), -k[0]))
        taken.append(boxes[spot])
        axes.annotate(
            text, (x.value - 1, y.value), xytext=spot, textcoords="offset points", va="center", fontsize=9.5,
            ha="left" if spot[0] > 0 else "right", color=colour, path_effects=style.halo(), annotation_clip=False,
        )  # fmt: skip


def _covered(
    box: tuple[float, float, float, float],
    taken: Sequence[tuple[float, float, float, float]],
    width: float,
    height: float,
) -> float:
    """Area that a label shares with others, and what of it lies outside."""
    shared = sum(
        max(0.0, min(box[2], o[2]) - max(box[0], o[0])) * max(0.0, min(box[3], o[3]) - max(box[1], o[1])) for o in taken
    )
    outside = max(0.0, -box[0]) + max(0.0, box[2] - width) + max(0.0, -box[1]) + max(0.0, box[3] - height)
    return shared + 20 * outside
