"""A finished figure and the words that belong to it."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawn:
    """One figure: `name` is its file name, `title` says what is seen, `caption` how to read it, `alt` replaces it."""

    name: str
    figure: Figure
    title: str
    caption: str
    alt: str
    wide: bool = False
