"""Figures for a paper or for slides: as large as they are there, in type that is legible there.

A figure is drawn for the page, in 10 points. For print it is laid out anew on so many inches of the page's as, made
smaller or larger as a whole, give its width and its type in print: panels move into as many columns as that takes, and
what then does not fit (labels, ticks, legends, names beside points) is broken, thinned out or moved. Its title goes: in
a paper it stands in the caption, on a slide above.
"""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_pdf import Op, PdfFile, PdfPages
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.transforms import Bbox, Transform

from accord.disk import whole
from accord.report import style
from accord.report.figure_numbers import categories, maps
from accord.report.wording import in_figure

Style = Literal["paper", "slides"]
Width = Literal["column", "page"]
Kind = Literal["pdf", "svg", "png"]

_TYPE, _LEAST = 10.0, 8.7  # points on the page: ordinary type, and the smallest that stays legible in print
_TITLE = 0.3  # inches of a figure that its title takes
_DPI = 300
_HIDDEN = 0.15  # of a panel: a legend over more of it is moved
_UNDER = "outside lower center"
_SHAPE, _FOOT = 1.4, 0.3  # of a panel: width by height, and inches of its labels
_FEW = 300  # points of a line that names keep away from
_PASSES = 4  # what is broken into lines takes room from what stands beside it
_LEFT_OUT = dict.fromkeys(["CreationDate", "Creator", "Producer"])


@dataclass(frozen=True)
class Print:
    """What a figure is printed on.

    Attributes:
        column, page: inches that a figure is wide.
        column_height, page_height: inches that it may be high.
        type: points of ordinary type.
    """

    column: float
    page: float
    column_height: float
    page_height: float
    type: float


PRINTS: dict[Style, Print] = {
    "paper": Print(column=3.3, page=6.9, column_height=7.0, page_height=8.8, type=7.5),
    "slides": Print(column=6.0, page=12.2, column_height=6.2, page_height=6.2, type=15.0),
}


@dataclass(frozen=True)
class Printable:
    """A figure laid out for print: `scale` times as large it has the width that it shall have."""

    figure: Figure
    width: Width
    scale: float

    @property
    def inches(self) -> float:
        """How wide it is in print."""
        return round(float(self.figure.get_size_inches()[0]) * self.scale, 3)


def for_print(figure: Figure, look: Style, width: Width) -> Printable:
    """Lay a figure out for print, for good; call it within `house_style()`.

    One whose panels below each other would be too high for a column gets the width of a page.
    """
    style.untitle(figure)
    panels = _panels(figure)
    grid = _grid(figure, panels)
    drawn = tuple(figure.get_size_inches())
    for chosen in ("column", "page") if width == "column" else ("page",):
        layout = _layout(PRINTS[look], chosen, drawn, panels, grid)
        if layout.fits:
            break
    if grid is not None and layout.columns != grid.columns:
        _move(figure, grid, layout.columns)
    figure.set_size_inches(layout.width, layout.height)
    _legible(figure)
    words: dict[Text, str] = {}
    for _ in range(_PASSES):
        figure.draw_without_rendering()
        legends = [_gathered(figure), *map(_narrowed, _legends(figure))]
        if not any([_broken(figure, panels, words), *map(_thinned, _axises(figure)), *legends]):
            break
    figure.draw_without_rendering()
    for axes in panels:
        _apart(axes)
        if (legend := axes.get_legend()) is not None:  # where it lies over curves, it stays legible
            legend.set_frame_on(True)
            legend.get_frame().set(facecolor="white", edgecolor="none", alpha=0.8)
    figure.set_layout_engine("none")  # everything has its place
    return Printable(figure, layout.kind, layout.scale)


def save_printable(printable: Printable, path: Path, kind: Kind) -> None:
    """Write a figure on white, the same bytes each time: fonts embedded in a PDF, glyphs as outlines in an SVG."""
    figure, scale = printable.figure, printable.scale
    dots = _DPI * scale
    with whole(path) as beside, rc_context({"pdf.fonttype": 42, "savefig.facecolor": "white"}):
        if kind == "pdf":
            with PdfPages(beside, metadata=_LEFT_OUT) as pages:
                pages._file = _ScaledPdf(beside, scale)  # PdfPages itself knows one scale
                figure.savefig(pages, format="pdf", dpi=dots)
        elif kind == "svg":
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata=style.NO_METADATA, dpi=dots)
            beside.write_text(_scaled_svg(text.getvalue(), scale), encoding="utf-8")
        else:
            inch = {"dpi": (_DPI, _DPI)}
            figure.savefig(beside, format="png", metadata={"Software": None}, dpi=dots, pil_kwargs=inch)


class _ScaledPdf(PdfFile):
    """A PDF whose page is so many times as large as the figure on it."""

    def __init__(self, path: Path, scale: float) -> None:
        super().__init__(path, metadata=_LEFT_OUT)  # type: ignore[no-untyped-call]
        self._scale = scale

    def newPage(self, width: float, height: float) -> None:
        """Begin the page."""
        super().newPage(width * self._scale, height * self._scale)  # type: ignore[no-untyped-call]
        self.output(self._scale, 0, 0, self._scale, 0, 0, Op.concat_matrix)  # type: ignore[no-untyped-call]


def _scaled_svg(svg: str, scale: float) -> str:
    def scaled(size: re.Match[str]) -> str:
        return f'{size[1]}="{float(size[2]) * scale:.6g}pt"'

    head, element, rest = svg.partition("<svg ")
    attributes, close, rest = rest.partition(">")
    return head + element + re.sub(r'\b(width|height)="([\d.]+)pt"', scaled, attributes) + close + rest


# Size and panels


@dataclass(frozen=True)
class _Grid:
    """Panels in rows and columns that may move: each in a place of its own."""

    places: dict[tuple[int, int], Axes]
    rows: int
    columns: int


@dataclass(frozen=True)
class _Layout:
    """How large a figure is laid out, in inches of the page, and in how many columns of panels."""

    kind: Width
    columns: int
    width: float
    height: float
    scale: float
    fits: bool


def _layout(
    medium: Print, kind: Width, drawn: tuple[float, ...], panels: Sequence[Axes], grid: _Grid | None
) -> _Layout:
    """The columns that leave panels as near to their shape as the print allows."""
    printed = getattr(medium, kind)
    scale = medium.type / _TYPE
    width, most = printed / scale, getattr(medium, f"{kind}_height") / scale
    names = max(len(categories(axes.yaxis)) for axes in panels)
    square = grid is not None and any(axes.get_aspect() == 1 for axes in panels)
    before, rows = (1, 1) if grid is None else (grid.columns, grid.rows)
    number = 1 if grid is None else len(grid.places)
    high = (drawn[1] - _TITLE) / rows

    def sized(columns: int) -> tuple[float, float]:
        """The room that a panel has, as a multiple of what it was drawn for, and how high the figure is."""
        room = (width / columns) / (drawn[0] / before)
        shape = high if names > 3 else high * min(1.0, max(0.72, room))  # rows of names keep their height
        if columns != before and names <= 3:  # they move: nearer to the shape that a panel should have
            shape = min(1.1 * high, max(0.75 * high, width / columns / _SHAPE)) + _FOOT
        if square:
            shape = min(shape, 0.85 * width / columns)
        return room, shape * math.ceil(number / columns)

    def cost(columns: int) -> float:
        _, height = sized(columns)
        shape = width / columns / (height / math.ceil(number / columns))
        holes = math.ceil(number / columns) * columns - number
        return abs(math.log(shape / _SHAPE)) + 2 * math.log(max(1.0, height / most)) + holes / number

    room, height = sized(before)
    columns = before
    if number > 1 and not (0.7 <= room <= 1.35 and height <= 1.15 * most):
        least = 3.4 if names > 1 else 2.4
        columns = min((c for c in range(1, number + 1) if c == 1 or width / c >= least), key=cost)
    height = sized(columns)[1]
    fits = height <= (1.1 if names > 3 else 1.4) * most or columns == before
    if height > most and names > 3:  # rows of names are made smaller together with their type
        scale *= most / height
        return _Layout(kind, columns, printed / scale, height, scale, fits)
    return _Layout(kind, columns, width, min(height, most), scale, fits)


def _panels(figure: Figure) -> list[Axes]:
    """The axes that show something, but for scales of colours."""
    scales = [artist.colorbar.ax for axes in figure.axes for artist in maps(axes) if artist.colorbar is not None]
    return [axes for axes in figure.axes if axes.get_visible() and axes not in scales]


def _grid(figure: Figure, panels: Sequence[Axes]) -> _Grid | None:
    """The grid of the panels, if they are alike and may stand anywhere in it."""
    specs = [axes.get_subplotspec() for axes in panels]
    if len(panels) < 2 or any(spec is None for spec in specs):
        return None
    grids = {id(spec.get_gridspec()) for spec in specs if spec is not None}
    whole_grid = specs[0].get_gridspec()  # type: ignore[union-attr]
    spans = [(spec.rowspan, spec.colspan) for spec in specs if spec is not None]
    alone = all(len(rows) == len(columns) == 1 for rows, columns in spans)
    ratios = {*whole_grid.get_width_ratios(), *whole_grid.get_height_ratios()}  # type: ignore[misc]
    if len(grids) > 1 or not alone or (len(ratios) > 1 and min(whole_grid.nrows, whole_grid.ncols) > 1):
        return None
    places = {(rows.start, columns.start): axes for (rows, columns), axes in zip(spans, panels, strict=True)}
    return _Grid(dict(sorted(places.items())), whole_grid.nrows, whole_grid.ncols)


def _move(figure: Figure, grid: _Grid, columns: int) -> None:
    """Put the panels into so many columns; labels that several share stand at the left and at the bottom."""
    panels = list(grid.places.values())
    labels = {axes: (_x_label(grid, place), _y_label(grid, place)) for place, axes in grid.places.items()}
    alike_x = any(not _labelled(axes, "x") for axes in panels)
    alike_y = any(not _labelled(axes, "y") for axes in panels)
    spec = GridSpec(math.ceil(len(panels) / columns), columns, figure=figure)
    for spare in [axes for axes in figure.axes if not axes.get_visible()]:
        spare.remove()
    for i, axes in enumerate(panels):
        axes.set_subplotspec(spec[i // columns, i % columns])
        below = panels[i + columns] if i + columns < len(panels) else None
        left = panels[i - 1] if i % columns else None
        same_x = below is not None and (alike_x or axes.get_shared_x_axes().joined(axes, below))
        same_y = left is not None and (alike_y or axes.get_shared_y_axes().joined(axes, left))
        axes.tick_params(axis="x", which="both", labelbottom=not same_x)
        axes.tick_params(axis="y", which="both", labelleft=not same_y)
        axes.set_xlabel("" if below is not None and labels[below][0] == labels[axes][0] else labels[axes][0])
        axes.set_ylabel("" if left is not None and labels[left][1] == labels[axes][1] else labels[axes][1])


def _x_label(grid: _Grid, place: tuple[int, int]) -> str:
    """A panel's own label, or that of the panels below it."""
    below = [axes.get_xlabel() for (row, column), axes in grid.places.items() if column == place[1] and row >= place[0]]
    return next(filter(None, below), "")


def _y_label(grid: _Grid, place: tuple[int, int]) -> str:
    """A panel's own label, or that of the panels to its left."""
    left = [axes.get_ylabel() for (row, column), axes in grid.places.items() if row == place[0] and column <= place[1]]
    return next(filter(None, reversed(left)), "")


def _labelled(axes: Axes, which: Literal["x", "y"]) -> bool:
    """Whether the ticks of an axis have labels."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    return bool(axis.get_tick_params().get("labelbottom" if which == "x" else "labelleft", True))


# What has to fit


def _legible(figure: Figure) -> None:
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


def _apart(axes: Axes) -> None:
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
