"""The frontier: what each repair gains against what it costs, in perplexity and in what it says of other relations."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from accord.damage.over_seeds import factor, perplexity, yes_share
from accord.report import style
from accord.report.dots import look
from accord.report.drawn import Drawn
from accord.report.metric import UNKNOWN, Metric
from accord.report.wording import in_figure
from accord.verdict.findings import BUDGET, share
from accord.verdict.judged import JudgedRepair, RepairGroup

_LINEAR = 0.02  # up to this excess perplexity the scale is even, beyond it logarithmic: costs differ by powers of ten
_TICKS = (-0.5, -0.2, -0.1, -0.05, -0.02, 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 1000)
_ROOM = 12.0  # points between a mark and its label
_HEIGHT = 4.4
_TRUE_SHARE = 0.5  # of other relations' questions: as many have a right answer as a wrong one
_BALANCED = 0.1  # a share of yes within this of the true one is shaded


class Mark(NamedTuple):
    """A repair on the frontier: what multiple of the base's perplexity it has, what it closes, how often it says yes.

    `yes` is of other relations' questions; not known where damage asked none.
    """

    repair: JudgedRepair
    ratio: Metric
    closure: Metric
    yes: Metric

    @property
    def costs(self) -> tuple[float, ...]:
        """What is better low: the perplexity ratio and, where it is known, how far the share of yes is from the truth.

        >>> nothing = Metric(0.0, 0.0, 0.0)
        >>> Mark(None, Metric(1.01, 1.0, 1.02), nothing, Metric(0.75, 0.7, 0.8)).costs
        (1.01, 0.25)
        """
        off = abs(self.yes.value - _TRUE_SHARE)
        return (self.ratio.value, off) if math.isfinite(off) else (self.ratio.value,)


def draw_frontier(group: RepairGroup) -> Drawn | None:
    """Closure on the items furthest from the training items against the perplexity ratio and the share of yes."""
    far, repairs = group.far, group.repairs
    marks = [
        Mark(r, perplexity(r.damages), r.metric(far, "pearson_all", "closure"), yes_share(r.damages)[1])
        for r in repairs
    ]
    marks = [m for m in marks if math.isfinite(m.ratio.value) and m.ratio.value > 0 and math.isfinite(m.closure.value)]
    if not marks:
        return None
    asked = [m for m in marks if math.isfinite(m.yes.value)]
    figure = Figure(figsize=(style.WIDE, _HEIGHT))
    panels = figure.subplots(1, 2 if asked else 1, sharey=True, squeeze=False)[0]
    looks = {id(m.repair): look(repairs.index(m.repair)) for m in marks}
    _draw_perplexity(panels[0], marks)
    if asked:
        _draw_yes(panels[1], asked, yes_share(asked[0].repair.damages)[0])
    for axes, shown in zip(panels, (marks, asked), strict=False):
        places = [(_excess(m.ratio) if axes is panels[0] else m.yes, m.closure) for m in shown]
        for m, (x, y) in zip(shown, places, strict=True):
            _mark(axes, x, y, looks[id(m.repair)])
        names, colours = [m.repair.label for m in shown], [looks[id(m.repair)][0] for m in shown]
        _label(axes, places, names, colours, style.WIDE / len(panels))
    panels[0].set_ylabel("share of the gap closed")
    panels[0].set_title(f"on {in_figure(group.trials[far], 40)}", fontweight="normal")
    best = undominated(marks)
    names = [f"{in_figure(m.repair.label, 24)} ({_priced(m)})" for m in best if m.repair.closes(far)]
    what = "closure, cost and balance" if asked else "both closure and cost"
    title = f"Not beaten in {what}: {', '.join(names[:3])}" if names else "Closure against cost"
    style.title(figure, title, 110)
    caption = _caption(group, marks, asked)
    alt = f"Closure against perplexity ratio{' and against the share of yes' if asked else ''}. {title}."
    return Drawn("frontier", figure, title, caption, alt, wide=True, numbers=_numbers(marks))


def _excess(ratio: Metric) -> Metric:
    """What of a ratio exceeds 1."""
    return Metric(*(part - 1 for part in ratio))


def _priced(mark: Mark) -> str:
    yes = f", yes to {mark.yes.value:.0%}" if math.isfinite(mark.yes.value) else ""
    return f"{share(mark.closure.value)} at × {factor(mark.ratio)[0]}{yes}"


def _caption(group: RepairGroup, marks: Sequence[Mark], asked: Sequence[Mark]) -> str:
    shown = [m.repair for m in marks]
    lost = ", ".join(r.label for r in group.repairs if r not in shown)
    left = f" Not measured, and so not here: {lost}." if lost else ""
    yes = (
        " Right: how often it says yes when asked about other relations, of whose questions half are right; the nearer "
        f"to .5 the better, shaded within {_BALANCED:g}; dotted: the base model."
        if asked
        else ""
    )
    return (
        "Upper left is best: more of the gap closed, less harm to ordinary text (cost even up to × 1.02, then on a "
        "logarithmic scale). Marks: means over seeds; lines: 95 % "
        "intervals, over items and texts, and over seeds where there are several. Steps join the repairs that no "
        f"other one beats in both.{yes}{left}"
    )


def _draw_perplexity(axes: Axes, marks: Sequence[Mark]) -> None:
    """Scales, budget, and steps between what nothing beats in closure and perplexity."""
    _scales(axes, marks)
    axes.axvline(BUDGET - 1, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.text(
        BUDGET - 1, 0.995, f" budget × {BUDGET:g}", transform=axes.get_xaxis_transform(), va="top", fontsize=8.5,
        color=style.MUTED, path_effects=style.halo(),
    )  # fmt: skip
    by_text = undominated([m._replace(yes=UNKNOWN) for m in marks])
    steps = sorted(((m.ratio.value - 1, m.closure.value) for m in by_text), key=lambda place: place[0])
    axes.step(*zip(*steps, strict=True), where="post", color=style.MUTED, linewidth=1.0, alpha=0.7, zorder=1)
    axes.set_xlabel("perplexity on held-out text, repaired / base")


def _draw_yes(axes: Axes, marks: Sequence[Mark], base: float) -> None:
    """The share of yes from 0 to 1, with the true one and the base's."""
    axes.set_xlim(-0.03, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND_STEPS))
    axes.xaxis.set_major_formatter(style.tick)
    axes.axhline(0, color=style.MUTED, linewidth=0.9)
    axes.axvspan(_TRUE_SHARE - _BALANCED, _TRUE_SHARE + _BALANCED, color=style.GRID, alpha=0.6, linewidth=0, zorder=0)
    axes.axvline(base, color=style.MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.grid(color=style.GRID, linewidth=0.6)
    axes.set_xlabel("share of yes to other relations’ questions")


def _numbers(marks: Sequence[Mark]) -> pd.DataFrame:
    """The ratios themselves: the scale is one of what exceeds 1."""
    named = {"perplexity ratio": "ratio", "share of the gap closed": "closure", "share of yes": "yes"}
    if not any(math.isfinite(m.yes.value) for m in marks):
        del named["share of yes"]
    ends = ("", " low", " high")
    return pd.DataFrame(
        [
            {"repair": m.repair.label}
            | {f"{n}{end}": part for n, key in named.items() for end, part in zip(ends, getattr(m, key), strict=True)}
            for m in marks
        ]
    )


def undominated(marks: Sequence[Mark]) -> list[Mark]:
    """The marks that no other beats in closure without costing more; the repair that closes most comes first."""

    def beats(other: Mark, mark: Mark) -> bool:
        pairs = list(zip(other.costs, mark.costs, strict=False))
        no_worse = other.closure.value >= mark.closure.value and all(theirs <= own for theirs, own in pairs)
        return no_worse and (other.closure.value > mark.closure.value or any(theirs < own for theirs, own in pairs))

    best = [m for m in marks if not any(beats(other, m) for other in marks)]
    return sorted(best, key=lambda m: -m.closure.value)


def _scales(axes: Axes, marks: Sequence[Mark]) -> None:
    xs, ys = [m.ratio.value - 1 for m in marks], [m.closure.value for m in marks]
    axes.axhline(0, color=style.MUTED, linewidth=0.9)
    axes.set_xscale("symlog", linthresh=_LINEAR, linscale=1.0)
    low, high = min([*xs, 0.0]), max([*xs, BUDGET - 1])
    axes.set_xlim(low - 0.004 if low > -_LINEAR else 1.4 * low, 1.7 * high)
    axes.set_xticks([t for t in _TICKS if low <= t <= 1.7 * high])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"× {1 + value:g}"))
    ends = [end for m in marks for end in (m.closure.low, m.closure.high) if math.isfinite(end)]
    axes.set_ylim(max(min([*ys, *ends, -0.05]), -1.0) - 0.05, min(max([*ys, *ends, 0.3]), 1.0) + 0.06)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=style.ROUND_STEPS))
    axes.yaxis.set_major_formatter(style.tick)
    axes.grid(color=style.GRID, linewidth=0.6)


def _mark(axes: Axes, x: Metric, y: Metric, looks: tuple[str, str]) -> None:
    colour, marker = looks
    if math.isfinite(x.low) and math.isfinite(x.high):
        axes.hlines(y.value, x.low, x.high, color=colour, linewidth=1.4)
    if math.isfinite(y.low) and math.isfinite(y.high):
        axes.vlines(x.value, y.low, y.high, color=colour, linewidth=1.4)
    axes.plot(x.value, y.value, marker=marker, markersize=8, color=colour, markeredgecolor=style.GROUND)


def _label(
    axes: Axes, places: Sequence[tuple[Metric, Metric]], names: Sequence[str], colours: Sequence[str], inches: float
) -> None:
    """Names beside the marks, each where it covers least: neither a mark nor a name nor a line."""
    width, height = 72 * inches * 0.92, 72 * _HEIGHT * 0.72  # of the axes in points, about
    scale = axes.transData - axes.transAxes
    points = [scale.transform((x.value, y.value)) * (width, height) for x, y in places]
    taken = [(px - 6, py - 6, px + 6, py + 6) for px, py in points]
    for (px, py), (x, y), name, colour in zip(points, places, names, colours, strict=True):
        text = in_figure(name, 24)
        w, h = 5.9 * len(text), 11.0
        boxes = {
            (dx, dy): (px + dx - (w if dx < 0 else 0), py + dy - h / 2, px + dx + (w if dx > 0 else 0), py + dy + h / 2)
            for dx in (_ROOM - 4, 4 - _ROOM) for dy in (8.0, -8.0, 18.0, -18.0, 30.0, -30.0)
        }  # fmt: skip
        spot = min(boxes, key=lambda k: (_covered(boxes[k], taken, width, height), abs(k[1]), -k[0]))
        taken.append(boxes[spot])
        axes.annotate(
            text, (x.value, y.value), xytext=spot, textcoords="offset points", va="center", fontsize=9.5,
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
