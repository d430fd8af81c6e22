"""The numbers that a figure shows, read off what is drawn in it: lines, points, bars, intervals, bands, maps.

A label that begins with "_" stays out of matplotlib's legends, and names a series here all the same: `label="_mean"`.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import FillBetweenPolyCollection, LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.lines import AxLine, Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator

if TYPE_CHECKING:
    from accord.report.drawn import Drawn


_ENDS = ("", " low", " high")
_NEAR = 0.5  # of a category's place: what is drawn nearer belongs to it
_AUTOMATIC = re.compile(r"|_|_nolegend_|_child\d+")  # labels that matplotlib gives
_NOTHING = ("None", "none", " ", "")
Floats = np.ndarray


@dataclass(frozen=True)
class _Mark:
    """Something drawn at a place, or from one end to another."""

    kind: str
    series: str
    colour: str
    x: float = np.nan
    y: float = np.nan
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None
    value: float | None = None
    text: str = ""


def numbers_of(drawn: "Drawn") -> pd.DataFrame:
    """What a figure shows as a table, a row a point.

    Columns: `panel` (its title, where there are several), `series` (its name in the legend or beside it), `kind` (line,
    point, mark, bar, interval, band, outline, cell, or reference: what others are compared with), then one for each
    axis by its label; what belongs to a category has its name. The ends of intervals and bands are in LABEL low and
    LABEL high, in the row of the point that they belong to where there is only one. `text` is what is written there.

    >>> from matplotlib.figure import Figure
    >>> from accord.report.drawn import Drawn
    >>> figure = Figure()
    >>> lines = figure.add_subplot(xlabel="layer", ylabel="r").plot([0, 1], [0.25, 0.5], label="base")
    >>> numbers_of(Drawn("curve", figure, "A curve", "", "")).to_dict("list")
    {'series': ['base', 'base'], 'kind': ['line', 'line'], 'layer': [0.0, 1.0], 'r': [0.25, 0.5]}
    """
    if drawn.numbers is not None:
        return drawn.numbers
    figure = drawn.figure
    bars = [artist.colorbar for axes in figure.axes for artist in maps(axes) if artist.colorbar is not None]
    panels = [axes for axes in figure.axes if axes.get_visible() and axes not in [bar.ax for bar in bars]]
    measured = _line(_only([bar.ax.get_ylabel() or bar.ax.get_xlabel() for bar in bars])) or "value"
    scales = [(_Scale(axes.xaxis, panels), _Scale(axes.yaxis, panels)) for axes in panels]
    rows: list[dict[str, Any]] = []
    for axes, title, (x, y) in zip(panels, _titles(panels), scales, strict=True):
        if x.label == y.label:
            x.label, y.label = f"{x.label}, across", f"{y.label}, upwards"
        for mark in _marks(axes, categories=(bool(x.categories), bool(y.categories))):
            row: dict[str, Any] = {"panel": title, "series": mark.series, "kind": mark.kind}
            row |= x.read(mark.x, mark.x_ends) | y.read(mark.y, mark.y_ends)
            row |= {} if mark.value is None else {measured: mark.value}
            rows.append(row | ({"text": mark.text} if mark.text else {}))
    # What is measured upwards or in colour stands after what it is measured at, whatever was drawn first.
    order = ["panel", "series", "kind", *(f"{x.label}{end}" for x, _ in scales for end in _ENDS),
             *(f"{y.label}{end}" for _, y in scales for end in _ENDS), measured, "text"]  # fmt: skip
    table = pd.DataFrame(rows)
    table = table[[name for name in dict.fromkeys(order) if name in table]]
    same = [name for name in ("panel", "series") if name in table and not (table[name] != "").any()]
    return table.drop(columns=[*same, *(["panel"] if len(panels) == 1 and "panel" not in same else [])])


class _Scale:
    """An axis as it is read: its label, and the names of its places where they are categories."""

    def __init__(self, axis: Axis, panels: Sequence[Axes]) -> None:
        which, figure = axis.axis_name, axis.get_figure(root=True)  # type: ignore[attr-defined]
        above = figure.get_supxlabel() if which == "x" else figure.get_supylabel()  # type: ignore[union-attr]
        own, others = axis.get_label_text(), [getattr(axes, f"{which}axis").get_label_text() for axes in panels]
        self.categories = categories(axis)
        self.label = _line(own or ("category" if self.categories else _only(others) or above or which))

    def read(self, place: float, ends: tuple[float, float] | None) -> dict[str, Any]:
        """A place and the ends of an interval, under the label."""
        row: dict[str, Any] = {} if np.isnan(place) else {self.label: self._called(place)}
        return row if ends is None else row | {f"{self.label} low": ends[0], f"{self.label} high": ends[1]}

    def _called(self, place: float) -> Any:
        near = [(abs(at - place), name) for at, name in self.categories if abs(at - place) < _NEAR]
        return min(near)[1] if near else float(place)


def categories(axis: Axis) -> list[tuple[float, str]]:
    """Places and names of an axis whose ticks were named one by one, at whole numbers, and not by numbers."""
    locator, name = axis.get_major_locator(), axis.get_major_formatter()
    if not isinstance(locator, FixedLocator):
        return []
    named = [(float(at), _line(str(name(at, i)))) for i, at in enumerate(locator())]
    if len({called for _, called in named}) < len(named):
        named = [(at, f"{i} {called}".strip()) for i, (at, called) in enumerate(named, 1)]
    words = any(called and not re.fullmatch(r"[\d.,− -]*", called) for _, called in named)
    return named if words and all(at == int(at) for at, _ in named) else []


def _titles(panels: Sequence[Axes]) -> list[str]:
    """What tells panels apart: their titles, or their numbers where these do not."""
    titles = [_line(axes.get_title(loc="left") or axes.get_title()) for axes in panels]
    return titles if len(set(titles)) == len(titles) else [f"{i} {title}".strip() for i, title in enumerate(titles, 1)]


def _marks(axes: Axes, categories: tuple[bool, bool]) -> list[_Mark]:
    """All that is drawn in axes; `categories`: whether x, y are places of categories."""
    names, caps = _Names(axes), [cap for bars in _errorbars(axes) for cap in bars.lines[1]]
    named = {id(bars.lines[0]): str(bars.get_label()) for bars in _errorbars(axes) if bars.lines[0] is not None}
    marks: list[_Mark] = []
    unnamed = 0
    for line in axes.lines:
        if line in caps or isinstance(line, AxLine):
            continue
        points, colour = np.asarray(line.get_xydata(), dtype=float), _colour(line)
        name = names.of(line, points) or _given(named.get(id(line), ""))
        straight = line.get_linestyle() not in _NOTHING and len(points) > 1
        given = _given(line.get_label())
        if line.get_transform() != axes.transData:
            marks += _reference(axes, line, points, given) if straight else []
        elif straight and len(points) == 2 and not given and (points[0] == points[1]).any():
            marks += _stroke(points, name, colour, categories)
        elif not (straight and len(points) == 2 and not given and axes.images):  # the diagonal of a map
            if straight and not name:
                unnamed += 1
                name = f"line {unnamed}"
            kind = "line" if straight else "point"
            marks += [_Mark(kind, name, colour, x, y, text="" if straight else names.at(x, y)) for x, y in points]
    for artist in axes.collections:
        colour = _colour(artist)
        if isinstance(artist, PathCollection):
            points = np.ma.filled(np.ma.asarray(artist.get_offsets(), dtype=float), np.nan)
            name = names.of(artist, points)
            marks += [_Mark("point", name, colour, x, y, text=names.at(x, y)) for x, y in points]
        elif isinstance(artist, FillBetweenPolyCollection):
            marks += _band(artist, names, colour)
        elif isinstance(artist, LineCollection):
            for segment in artist.get_segments():
                points = np.asarray(segment, dtype=float)
                marks += _stroke(points[[0, -1]], names.of(artist, points), colour, categories) if len(points) else []
    marks += [*_bars(axes), *_shapes(axes, names), *(cell for artist in maps(axes) for cell in _cells(artist, names))]
    return _joined(
        [mark for mark in marks if not (np.isnan([mark.x, mark.y]).all() and not mark.x_ends and not mark.y_ends)]
    )


class _Names:
    """How what is drawn in axes is called: by its label, by its look in a legend, or by words at one of its points."""

    def __init__(self, axes: Axes) -> None:
        figure = axes.get_figure(root=True)
        inside = [other.get_legend() for other in (axes, *figure.axes)]  # type: ignore[union-attr]
        legends = [legend for legend in (*inside, *figure.legends) if legend is not None]  # type: ignore[union-attr]
        entries = [pair for of in legends for pair in zip(of.legend_handles, of.get_texts(), strict=False)]
        looks = [(_colour(handle), _marker(handle), _line(text.get_text())) for handle, text in entries]
        self.looks = {(colour, marker): text for colour, marker, text in reversed(looks)}  # its own count first
        self.colours = {colour: _only([text for own, _, text in looks if own == colour]) for colour, _, _ in looks}
        written = [
            text for text in axes.texts if isinstance(text, Annotation) or text.get_transform() == axes.transData
        ]
        self.written = [(_line(text.get_text()), _hex(text.get_color())) for text in written]
        places = [text.xy if isinstance(text, Annotation) else text.get_position() for text in written]
        self.places = np.array(places, dtype=float).reshape(-1, 2)

    def of(self, artist: Any, points: Floats) -> str:
        """The name of what is drawn through points [n, 2]; empty where it has none."""
        if name := _given(artist.get_label()):
            return name
        colour = _colour(artist)
        if name := self.looks.get((colour, _marker(artist)), ""):
            return name
        for place, (text, own) in zip(self.places, self.written, strict=True):
            if len(points) > 1 and own == colour and np.isclose(points, place).all(axis=1).any():
                return text
        return self.colours.get(colour, "")

    def at(self, x: float, y: float) -> str:
        """What is written at a place."""
        here = np.flatnonzero(np.isclose(self.places, (x, y)).all(axis=1))
        return self.written[here[0]][0] if len(here) else ""


def _given(label: object) -> str:
    """A label that somebody gave."""
    return "" if label is None or _AUTOMATIC.fullmatch(str(label)) else str(label).lstrip("_")


def _reference(axes: Axes, line: Line2D, points: Floats, name: str) -> list[_Mark]:
    """A line across the axes: one of its coordinates is a number."""
    if line.get_transform() == axes.get_yaxis_transform(which="grid"):
        return [_Mark("reference", name, _colour(line), y=points[0, 1])]
    if line.get_transform() == axes.get_xaxis_transform(which="grid"):
        return [_Mark("reference", name, _colour(line), x=points[0, 0])]
    return []


def _stroke(ends: Floats, name: str, colour: str, categories: tuple[bool, bool]) -> list[_Mark]:
    """A level or an upright stroke: an interval; or, a short one through the place of a category, a mark in it."""
    (x0, y0), (x1, y1) = ends
    if y0 == y1:
        if categories[0] and abs(x1 - x0) < 2 * _NEAR:
            return [_Mark("mark", name, colour, (x0 + x1) / 2, y0)]
        return [_Mark("interval", name, colour, y=y0, x_ends=(min(x0, x1), max(x0, x1)))]
    if x0 == x1:
        if categories[1] and abs(y1 - y0) < 2 * _NEAR:
            return [_Mark("mark", name, colour, x0, (y0 + y1) / 2)]
        return [_Mark("interval", name, colour, x=x0, y_ends=(min(y0, y1), max(y0, y1)))]
    return [_Mark("line", name, colour, x, y) for x, y in ends]


def _band(artist: FillBetweenPolyCollection, names: _Names, colour: str) -> Iterator[_Mark]:
    """The lower and the upper edge at each place; a band that is cut has several pieces."""
    for path in artist.get_paths():
        corners = np.asarray(path.vertices, dtype=float)
        corners = corners[np.isfinite(corners).all(axis=1)]
        name = names.of(artist, corners)
        for x in np.unique(corners[:, 0]):
            heights = corners[corners[:, 0] == x, 1]
            yield _Mark("band", name, colour, x=x, y_ends=(heights.min(), heights.max()))


def _bars(axes: Axes) -> Iterator[_Mark]:
    for container in axes.containers:
        if isinstance(container, BarContainer):
            name, level = _given(container.get_label()), container.orientation == "horizontal"
            for bar in container.patches:
                middle = (bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2)
                place = (bar.get_width(), middle[1]) if level else (middle[0], bar.get_height())
                yield _Mark("bar", name, _colour(bar), float(place[0]), float(place[1]))


def _shapes(axes: Axes, names: _Names) -> Iterator[_Mark]:
    """Outlines, as of histograms in steps; and bands across the axes."""
    for patch in axes.patches:
        if isinstance(patch, Polygon) and patch.get_transform() == patch.get_patch_transform() + axes.transData:
            points = np.asarray(patch.get_xy(), dtype=float)
            name = names.of(patch, points)
            yield from (_Mark("outline", name, _colour(patch), x, y) for x, y in points)
        if isinstance(patch, Rectangle):
            name, box = _given(patch.get_label()), patch.get_bbox()
            if patch.get_data_transform() == axes.get_xaxis_transform(which="grid"):
                yield _Mark("reference", name, _colour(patch), x_ends=(box.xmin, box.xmax))
            elif patch.get_data_transform() == axes.get_yaxis_transform(which="grid"):
                yield _Mark("reference", name, _colour(patch), y_ends=(box.ymin, box.ymax))


def _cells(artist: Any, names: _Names) -> Iterator[_Mark]:
    """The cells of a map of colours, by their middles."""
    values: Floats = np.ma.filled(np.ma.asarray(artist.get_array(), dtype=float), np.nan)
    if isinstance(artist, QuadMesh):
        corners = np.asarray(artist.get_coordinates())
        middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
        values = values.reshape(middles.shape[:2])
    elif values.ndim == 2:
        rows, columns = values.shape
        left, right, bottom, top = artist.get_extent()
        if artist.origin == "upper":
            bottom, top = top, bottom
        xs = left + (np.arange(columns) + 0.5) * (right - left) / columns
        ys = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
        middles = np.stack(np.meshgrid(xs, ys), axis=-1)
    else:
        return  # a picture
    for place in np.ndindex(values.shape):
        x, y = middles[place]
        yield _Mark("cell", "", "", float(x), float(y), value=float(values[place]), text=names.at(x, y))


def _joined(marks: Sequence[_Mark]) -> list[_Mark]:
    """Intervals and bands in the rows of what they belong to: at the same place, of the same colour, the only one."""
    kept: list[_Mark] = [mark for mark in marks if mark.kind not in ("interval", "band")]
    for mark in marks:
        if mark.kind not in ("interval", "band"):
            continue
        own = [i for i, other in enumerate(kept) if _belongs(other, mark)]
        same = [i for i in own if kept[i].colour == mark.colour]
        exact = [i for i in same if kept[i].kind == "mark"] or same or [i for i in own if kept[i].kind == "bar"]
        if len(exact) == 1:
            kept[exact[0]] = replace(
                kept[exact[0]], x_ends=mark.x_ends or kept[exact[0]].x_ends, y_ends=mark.y_ends or kept[exact[0]].y_ends
            )
        else:
            kept.append(mark)
    return kept


def _belongs(point: _Mark, span: _Mark) -> bool:
    if point.kind in ("reference", "outline", "cell"):
        return False
    if span.x_ends:
        return _same(point.y, span.y) and point.x_ends is None and _within(point.x, span.x_ends)
    return _same(point.x, span.x) and point.y_ends is None and _within(point.y, span.y_ends or (0, 0))


def _same(place: float, other: float) -> bool:
    return math.isclose(place, other, abs_tol=1e-12)


def _within(value: float, ends: tuple[float, float]) -> bool:
    room = 1e-9 * max(1.0, abs(ends[0]), abs(ends[1]))
    return ends[0] - room <= value <= ends[1] + room


def _errorbars(axes: Axes) -> list[ErrorbarContainer]:
    return [container for container in axes.containers if isinstance(container, ErrorbarContainer)]


def maps(axes: Axes) -> Iterator[Any]:
    """What is drawn as a map of colours."""
    yield from axes.images
    yield from (artist for artist in axes.collections if isinstance(artist, QuadMesh))


def _colour(artist: Any) -> str:
    """What a reader would call its colour."""
    if isinstance(artist, Line2D):
        edge, face = artist.get_markeredgecolor(), artist.get_markerfacecolor()
        alone = artist.get_linestyle() in _NOTHING or len(artist.get_xdata()) < 2  # type: ignore[arg-type]
        return next(filter(None, map(_hex, [face, edge] if alone else [artist.get_color()])), "")
    if isinstance(artist, FillBetweenPolyCollection):
        return _hex(artist.get_facecolor())
    edge, face = artist.get_edgecolor(), artist.get_facecolor()
    return _hex(edge) or _hex(face)


def _hex(colour: Any) -> str:
    """As #rrggbb, whatever its opacity; empty for none. Of several, the first."""
    if isinstance(colour, np.ndarray) and colour.ndim == 2:
        if not len(colour):
            return ""
        colour = colour[0]
    if isinstance(colour, str) and colour == "none":
        return ""
    return "" if not isinstance(colour, str) and len(colour) == 4 and colour[3] == 0 else to_hex(colour)


def _marker(artist: Any) -> str:
    return str(artist.get_marker()) if isinstance(artist, Line2D) else ""


def _only(texts: Iterable[str]) -> str:
    """The text, where all that are not empty are the same."""
    different = set(filter(None, texts))
    return different.pop() if len(different) == 1 else ""


def _line(text: str) -> str:
    return " ".join(text.split())
