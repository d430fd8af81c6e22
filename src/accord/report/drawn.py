"""A finished figure and the words that belong to it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from accord.report import style


@dataclass(frozen=True)
class Drawn:
    """One figure: `name` is its file name, `title` says what is seen, `caption` how to read it, `alt` replaces it."""

    name: str
    figure: Figure
    title: str
    caption: str
    alt: str
    wide: bool = False


def on_page(drawn: Iterable[Drawn | None], key: str) -> list[dict[str, Any]]:
    """Figures for the macros of the page, those that there are; call it within `house_style()`.

    Args:
        key: begins their ids, which are unique on the page.
    """
    return [
        {
            **{part: getattr(picture, part) for part in ("name", "title", "caption", "alt", "wide")},
            # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
            "svg": Markup(style.inline_svg(picture.figure, f"{key}-{picture.name}")),
        }
        for picture in drawn
        if picture is not None
    ]
