"""Points of the two classes of items: never told apart by colour alone, and light however many they are."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from accord.report import style

MANY_POINTS = 1500  # above this, points are drawn as pixels: an SVG of each would weigh more than the page

# The two classes of items: (gold, label, colour, marker, filled, line style); never told apart by colour alone.
CLASSES: tuple[tuple[bool, str, str, str, bool, Any], ...] = (
    (True, "right answers", style.RIGHT, "o", True, "-"),
    (False, "wrong answers", style.WRONG, "^", False, (0, (4, 2))),
)


def points(
    axes: Axes, x: np.ndarray, y: np.ndarray, n: int, colour: str, marker: str, filled: bool, label: str
) -> None:
    """Points of one class; `n` in all, which decides how they are drawn."""
    axes.plot(
        x, y, linestyle="none", marker=marker, label=label, alpha=0.75 if n < 600 else 0.5,
        markersize=4.6 if n < 600 else 3.4, markerfacecolor=colour if filled else "none",
        markeredgecolor="none" if filled else colour, markeredgewidth=1.0, rasterized=n > MANY_POINTS,
    )  # fmt: skip
