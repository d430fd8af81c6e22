"""How large a figure is laid out for print, and in how many columns its panels stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from accord.report import style
from accord.report.figure_numbers import categories, maps

Style = Literal["paper", "slides"]
Width = Literal["column", "page"]
COLUMN: Width = "column"
PAGE: Width = "page"

_TYPE = 10.0  # points: ordinary type on the page, where figures are drawn
_TITLE = 0.3  # inches of a figure that its title takes
_SHAPE, _FOOT = 1.4, 0.3  # of a panel: width by height, and inches of its labels
_SPARE = 1.15  # times the width by height that a figure was drawn with
_AXIS, _LINE = 0.8, 0.5  # inches of a panel that its axis and labels take, and of each name from which on there is room


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


# As wide as a figure that is legible across a phone, and as high as its panels make it.
PHONE = Print(column=style.NARROW, page=style.NARROW, column_height=16.0, page_height=16.0, type=_TYPE)


@dataclass(frozen=True)
class PanelGrid:
    """Panels in rows and columns that may move: each in a place of its own."""

    places: dict[tuple[int, int], Axes]
    rows: int
    columns: int


@dataclass(frozen=True)
class FigureLayout:
    """How large a figure is laid out, in inches of the page, and in how many columns of panels.

    `scale` times as large it has its size in print; `fits` is whether its height is no more than a little too large.
    """

    kind: Width
    columns: int
    width: float
    height: float
    scale: float
    fits: bool


def layout_for(
    medium: Print, kind: Width, figure: Figure, panels: Sequence[Axes], grid: PanelGrid | None
) -> FigureLayout:
    """The columns that leave panels as near to their shape as the print allows."""
    drawn, printed = figure.get_size_inches(), getattr(medium, kind)
    scale = medium.type / _TYPE
    width, most = printed / scale, getattr(medium, f"{kind}_height") / scale
    names = max(len(categories(axes.yaxis)) for axes in panels)
    square = any(axes.get_aspect() == 1 for axes in panels)
    before, rows = (1, 1) if grid is None else (grid.columns, grid.rows)
    number = 1 if grid is None else len(grid.places)
    high = (drawn[1] - _TITLE) / rows
    lines = names > 1 and (high - _AXIS) / names < _LINE  # a line of print a name: no height to spare

    def sized(columns: int) -> tuple[float, float]:
        """The room that a panel has, as a multiple of what it was drawn for, and how high the figure is."""
        room = (width / columns) / (drawn[0] / before)
        shape = high if lines else high * min(1.0, max(0.72, room))
        if columns != before and not lines:  # they move: nearer to the shape that a panel should have
            shape = min(1.1 * high, max(0.75 * high, width / columns / _SHAPE)) + _FOOT
        if square and grid is not None:
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
    fits = height <= (1.1 if lines else 1.4) * most or columns == before
    fits = fits and not any(_crowded(axes, room) for axes in panels if grid is None)
    if height > most and lines:  # they are made smaller together with their type
        scale *= most / height
        return FigureLayout(kind, columns, printed / scale, height, scale, fits)
    height = min(height, most)
    if square and grid is None:  # squares that stay where they are would only stand apart
        width = min(width, _SPARE * height * drawn[0] / (drawn[1] - _TITLE))
    return FigureLayout(kind, columns, width, height, scale, fits)


def _crowded(axes: Axes, room: float) -> bool:
    """Whether words at places of a panel would run into each other with so many times the room between them."""
    words = [text for text in axes.texts if text.get_transform() == axes.transData and not axes.images]
    boxes = [text.get_window_extent() for text in words if text.get_text().strip()]
    return any(
        room * abs(one.x0 + one.x1 - other.x0 - other.x1) < one.width + other.width
        for one, other in combinations(boxes, 2)
        if one.y0 < other.y1 and other.y0 < one.y1
    )


def panels_of(figure: Figure) -> list[Axes]:
    """The axes that show something, but for scales of colours."""
    scales = [artist.colorbar.ax for axes in figure.axes for artist in maps(axes) if artist.colorbar is not None]
    return [axes for axes in figure.axes if axes.get_visible() and axes not in scales]


def grid_of(figure: Figure, panels: Sequence[Axes]) -> PanelGrid | None:
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
    return PanelGrid(dict(sorted(places.items())), whole_grid.nrows, whole_grid.ncols)


def move_panels(figure: Figure, grid: PanelGrid, columns: int) -> None:
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


def _x_label(grid: PanelGrid, place: tuple[int, int]) -> str:
    """A panel's own label, or that of the panels below it."""
    below = [axes.get_xlabel() for (row, column), axes in grid.places.items() if column == place[1] and row >= place[0]]
    return next(filter(None, below), "")


def _y_label(grid: PanelGrid, place: tuple[int, int]) -> str:
    """A panel's own label, or that of the panels to its left."""
    left = [axes.get_ylabel() for (row, column), axes in grid.places.items() if row == place[0] and column <= place[1]]
    return next(filter(None, reversed(left)), "")


def _labelled(axes: Axes, which: Literal["x", "y"]) -> bool:
    """Whether the ticks of an axis have labels."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    return bool(axis.get_tick_params().get("labelbottom" if which == "x" else "labelleft", True))
