"""A finished figure and the words that belong to it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.report import style
from accord.report.printable import for_phone


@dataclass(frozen=True)
class Drawn:
    """One figure.

    Attributes:
        name: of its file.
        title: what is seen.
        caption: how to read it.
        alt: words in its place.
        wide: whether it takes the whole width of the page.
        numbers: what it shows, where places in the drawing are not the numbers themselves; otherwise they are read off
            the drawing (see `accord.report.figure_numbers`).
        items: axes whose points are items, generator log-odds by validator log-odds: before a repair, then after it. On
            the page a point then tells which item it is (see `accord.gap.item_json`).
    """

    name: str
    figure: Figure
    title: str
    caption: str
    alt: str
    wide: bool = False
    numbers: pd.DataFrame | None = None
    items: Sequence[Axes] = ()


def on_page(drawn: Iterable[Drawn | None], key: str) -> list[dict[str, Any]]:
    """Figures for the macros of the page, those that there are; call it within `house_style()`.

    A wide one is there twice, once laid out for a phone (`phone`); `weight` is what both take of the page.

    Args:
        key: begins their ids, which are unique on the page.
    """
    shown = []
    for picture in drawn:
        if picture is None:
            continue
        name = f"{key}-{picture.name}"
        entry: dict[str, Any] = {
            **{part: getattr(picture, part) for part in ("name", "title", "caption", "alt", "wide")},
            "id": name,
            "key": key,
            "drawn": picture,  # for who wants more of it than the page does: `accord export`
            **_inline(picture, picture.figure, name),
        }
        narrow = for_phone(picture.figure) if picture.wide else None
        entry["phone"] = None if narrow is None else _inline(picture, narrow, f"{name}-phone")
        entry["weight"] = len(entry["svg"]) + len(entry["phone"]["svg"] if entry["phone"] else "")
        shown.append(entry)
    return shown


def _inline(picture: Drawn, figure: Figure, prefix: str) -> dict[str, Any]:
    """A figure, or another layout of it, as SVG, and where in it its items are."""
    # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
    svg = Markup(style.inline_svg(figure, prefix))
    return {"svg": svg, "planes": _planes(figure, [figure.axes[picture.figure.axes.index(a)] for a in picture.items])}


def _planes(figure: Figure, items: Sequence[Axes]) -> str:
    """Where in the drawn figure, in the units of its SVG, which log-odds are; empty where its points are no items.

    Of each plane its side (0 before, 1 after), and of x and y the two edges and the values there.
    """
    width, height = (72 * inches for inches in figure.get_size_inches())
    planes = []
    for side, axes in enumerate(items):
        box, across, up = axes.get_position(), axes.get_xlim(), axes.get_ylim()
        x = [width * box.x0, width * box.x1, *across]
        y = [height * (1 - box.y0), height * (1 - box.y1), *up]
        planes.append({"side": side, "x": [round(float(v), 4) for v in x], "y": [round(float(v), 4) for v in y]})
    return json.dumps(planes) if planes else ""
