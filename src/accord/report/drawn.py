"""A finished figure and the words that belong to it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from accord.report import style


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
    """

    name: str
    figure: Figure
    title: str
    caption: str
    alt: str
    wide: bool = False
    numbers: pd.DataFrame | None = None


def on_page(drawn: Iterable[Drawn | None], key: str) -> list[dict[str, Any]]:
    """Figures for the macros of the page, those that there are; call it within `house_style()`.

    Args:
        key: begins their ids, which are unique on the page.
    """
    return [
        {
            **{part: getattr(picture, part) for part in ("name", "title", "caption", "alt", "wide")},
            "id": f"{key}-{picture.name}",
            "drawn": picture,  # for who wants more of it than the page does: `accord export`
            # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
            "svg": Markup(style.inline_svg(picture.figure, f"{key}-{picture.name}")),
        }
        for picture in drawn
        if picture is not None
    ]
