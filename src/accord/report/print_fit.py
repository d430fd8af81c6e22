"""What a figure needs to be read in print: no type too small, nothing over anything else, nothing cut off."""

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.transforms import Bbox, Transform

from accord.report import style
from accord.report.figure_numbers import categories
from accord.report.wording import in_figure

_LEAST = 8.7  # points on the page: the smallest type that stays legible in print
_HIDDEN = 0.15  # of a panel: a legend over more of it is moved
_UNDER = "outside lower center"
_FEW = 300  # points of a line that names keep away from
_PASSES = 4  # what is broken into lines takes room from what stands beside it


def fit(figure: Figure, panels: Sequence[Axes]) -> None:
    """Break, thin out and move what does not fit in a figure of this size, for good."""
    _make_legible(figure)
    words: dict[Text, str] = {}
    for _ in range(_PASSES):
        figure.draw_without_rendering()
        legends = [_gathered(figure), *map(_narrowed, _legends(figure))]
        if not any([_broken(figure, panels, words), *map(_thinned, _axises(figure)), *legends]):
            break
    figure.draw_without_rendering()
    for axes in panels:
        _part_names(axes)
        if (legend := axes.get_legend()) is not None:  # where it lies over curves, it stays legible
            legend.set_frame_on(True)
            legend.get_frame().set(facecolor=style.GROUND, edgecolor="none", alpha=0.8)
    figure.set_layout_engine("none")  # everything has its place


def _make_legible(figure: Figure) -> None:
    """No type is smaller than the least."""
    for text in figure.findobj(Text):
        if float(text.get_fontsize()) < _LEAST:
            text.set_fontsize(_LEAST)
    for axis in _axises(figure):
        sizes = [float(label.get_fontsize()) for label in axis.get_ticklabels()[:1]]
        axis.set_tick_params(which="both", labelsize=max([_LEAST, *sizes]))


def _axises(figure: Figure) -> list[Axis]:
    return [axis for axes in figure.axes if axes.get_visible() for axis in (axes.xaxis, axes.yaxis)]


def _legends(figure: Figure) -> list[Legend]:
    inner = [axes.get_legend() for axes in figure.axes]
    return [*figure.legends, *(legend for legend in inner if legend is not None)]


def _broken(figure: Figure, panels: Sequence[Axes], words: dict[Text, str]) -> bool:
    """Break titles and labels that are longer than their room; whether there was any.

    Args:
        words: what broken ones said before they were.
    """
    edge, changed = figure.bbox, False
    boxes = {axes: axes.get_window_extent() for axes in panels}
    for axes, box in boxes.items():
        beside = [other for other in boxes.values() if other is not box and _overlap(box, other, "y")]
        over = [other for other in boxes.values() if other is not box and _overlap(box, other, "x")]
        right = min([edge.x1, *(other.x0 for other in beside if other.x0 >= box.x1)])
        left = max([edge.x0, *((other.x1 + box.x0) / 2 for other in beside if other.x1 <= box.x0)])
        top = min([edge.y1, *((other.y0 + box.y1) / 2 for other in over if other.y0 >= box.y1)])
        bottom = max([edge.y0, *((other.y1 + box.y0) / 2 for other in over if other.y1 <= box.y0)])
        middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        across = 2 * min(middle[0] - left, (right if right == edge.x1 else (right + box.x1) / 2) - middle[0])
        upright = 2 * min(middle[1] - bottom, top - middle[1])
        labels = [(title, "width", right - box.x0 - 4) for title in (axes.title, axes._left_title)]  # type: ignore[attr-defined]  # no public way to it
        labels += [(axes.xaxis.label, "width", across), (axes.yaxis.label, "height", upright)]
        labels += [(text, "width", 0.48 * box.width) for text in axes.texts if text.get_transform() == axes.transAxes]
        for text, side, room in labels:
            changed |= _break(text, getattr(text.get_window_extent(), side), room, words)
        if axes.images:
            cell = box.width / abs(axes.get_xlim()[1] - axes.get_xlim()[0])
            cut = [_cut(text, cell) for text in axes.texts if text.get_transform() == axes.transData]
            changed |= any(cut)
    return changed


def _break(text: Text, long: float, room: float, words: dict[Text, str]) -> bool:
    """Break a text into lines about equally long."""
    before = text.get_text()
    if not before.strip() or long <= room or room <= 0:
        return False
    letters = max(6, int(max(map(len, before.splitlines())) * room / long))
    lines: list[str] = []
    for part in words.setdefault(text, before).splitlines():
        even = math.ceil(len(part) / math.ceil(len(part) / letters))
        tries = (textwrap.wrap(part, n, break_long_words=False) for n in range(even, letters + 1))
        fewest = len(textwrap.wrap(part, letters, break_long_words=False))
        lines += next(wrapped for wrapped in tries if len(wrapped) == fewest)
    text.set_text("\n".join(lines))
    return text.get_text() != before


def _cut(text: Text, room: float) -> bool:
    """Cut what is written in a cell of a map to its width."""
    words, long = text.get_text(), text.get_window_extent().width
    if long <= room or len(words) < 3:
        return False
    text.set_text(in_figure(words.rstrip("…"), max(2, int(len(words) * room / long))))
    return text.get_text() != words


def _overlap(box: Bbox, other: Bbox, along: Literal["x", "y"]) -> bool:
    if along == "x":
        return bool(box.x0 < other.x1 and other.x0 < box.x1)
    return bool(box.y0 < other.y1 and other.y0 < box.y1)


def _thinned(axis: Axis) -> bool:
    """Fewer ticks where their labels run into each other, names upright; whether any did."""
    across = axis is axis.axes.xaxis
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]  # others are not drawn
    labels = [tick.label1 for tick in ticks if tick.label1.get_visible() and tick.label1.get_text()]
    boxes = sorted(((b.x0, b.x1) if across else (b.y0, b.y1)) for b in (label.get_window_extent() for label in labels))
    room = 3.0 if across else 0.0
    if not any(after[0] < before[1] + room for before, after in pairwise(boxes)):
        return False
    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(nbins=max(2, len(labels) - 2))
    elif categories(axis) and across and axis.get_tick_params().get("labelrotation", 0) == 0:
        axis.set_tick_params(labelrotation=90)
    elif isinstance(locator, FixedLocator) and not categories(axis) and len(labels) > 2:
        axis.set_major_locator(FixedLocator(list(locator())[::2]))
    else:
        return False
    return True


def _gathered(figure: Figure) -> bool:
    """Legends within panels in one below them, where one hides much of its panel; whether there was any."""
    inside = [legend for axes in figure.axes if (legend := axes.get_legend()) is not None and _covers(legend, axes) > 0]
    if not any(_covers(legend, legend.axes) > _HIDDEN for legend in inside):
        return False
    entries = {
        text.get_text(): handle
        for legend in inside
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
    }
    for legend in inside:
        legend.remove()
    _below(figure, list(entries.values()), list(entries), len(entries))
    return True


def _covers(legend: Legend, axes: Axes) -> float:
    """The share of a panel that its legend lies over."""
    box = axes.get_window_extent()
    common = Bbox.intersection(legend.get_window_extent(), box)
    return 0.0 if common is None else common.width * common.height / (box.width * box.height)


def _below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int, place: Any = _UNDER) -> None:
    # Handles that come from another legend are scaled already.
    figure.legend(handles, labels, loc=place, ncols=columns, handletextpad=0.4, markerscale=1.0)


def _narrowed(legend: Legend) -> bool:
    """A legend that is wider than its room over or under all panels, in as many columns as fit; whether it was."""
    figure, box = legend.get_figure(root=True), legend.get_window_extent()
    around = figure.bbox if legend in figure.legends else legend.axes.get_window_extent()  # type: ignore[union-attr]
    if box.width <= around.width:
        return False
    texts = [text.get_text() for text in legend.get_texts()]
    columns = len({round(text.get_window_extent().x0) for text in legend.get_texts()})
    place = "outside upper left" if box.y0 > figure.bbox.height / 2 else _UNDER  # type: ignore[union-attr]
    fitting = max(1, int(columns * figure.bbox.width / box.width))  # type: ignore[union-attr]
    handles = legend.legend_handles
    legend.remove()
    _below(figure, handles, texts, min(columns, fitting), place)  # type: ignore[arg-type]
    return True


def _part_names(axes: Axes) -> None:
    """Names beside points to where they cover least: no name, no point, nothing outside. Names at lines' ends apart."""
    names = [text for text in axes.texts if isinstance(text, Annotation) and text.get_text()]
    _spread([name for name in names if isinstance(name.anncoords, Transform)], axes)
    points = [np.asarray(line.get_xydata()) for line in axes.lines if line.get_transform() == axes.transData]
    places = [place for line in points if len(line) <= _FEW for place in axes.transData.transform(line)]
    names = [name for name in names if name.anncoords == "offset points"]
    taken = [_around(place, 3.5) for place in (*places, *(axes.transData.transform(name.xy) for name in names))]
    inside = axes.get_window_extent()
    for name in names:
        dx, dy = name.xyann
        spots = [(dx, dy), *((sx * abs(dx), sy) for sx in (1, -1) for sy in (0.0, 9.0, -9.0, 18.0, -18.0, 28.0, -28.0))]
        best = min(spots, key=lambda spot: (_covered(_at(name, spot), taken, inside), spots.index(spot)))
        taken.append(_at(name, best))


def _at(name: Annotation, spot: tuple[float, float]) -> Bbox:
    """The place that a name takes when it is put there."""
    name.xyann = spot
    name.set_horizontalalignment("left" if spot[0] > 0 else "right")
    return name.get_window_extent()


def _spread(names: Sequence[Annotation], axes: Axes) -> None:
    """Names under each other, none over another."""
    if len(names) < 2:
        return
    heights = [name.get_window_extent() for name in names]
    middles = [(box.y0 + box.y1) / 2 for box in heights]
    inside = axes.get_window_extent()
    places = style.spread(middles, max(box.height for box in heights), inside.y0, inside.y1)
    for name, middle, place in zip(names, middles, places, strict=True):
        moved = axes.transData.transform((0, name.xyann[1]))[1] + place - middle
        name.xyann = (name.xyann[0], axes.transData.inverted().transform((0, moved))[1])


def _around(place: Any, reach: float) -> Bbox:
    return Bbox([[place[0] - reach, place[1] - reach], [place[0] + reach, place[1] + reach]])


def _covered(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Area that a name shares with others, and what of it lies outside."""
    shared = sum((b.width * b.height for o in taken if (b := Bbox.intersection(box, o)) is not None), 0.0)
    kept = Bbox.intersection(box, inside)
    return round(shared + 5 * (box.width * box.height - (0.0 if kept is None else kept.width * kept.height)), 1)
