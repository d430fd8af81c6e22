"""All figures of a gap: which there are, and writing them as files."""

from collections.abc import Callable
from pathlib import Path

from accord.gap.draw_categories import draw_categories
from accord.gap.draw_items import draw_rank, draw_scatter
from accord.gap.draw_layers import draw_layer_curves
from accord.gap.draw_lens import draw_lens
from accord.gap.draw_matrix import draw_layer_matrix
from accord.gap.result import Gap
from accord.report import style
from accord.report.drawn import Drawn

# In the order of the page. Each gives None where the gap does not hold what it draws.
FIGURES: tuple[Callable[[Gap], Drawn | None], ...] = (
    draw_scatter,
    draw_layer_curves,
    draw_layer_matrix,
    draw_lens,
    draw_categories,
    draw_rank,
)


def draw_all(gap: Gap) -> list[Drawn]:
    """Every figure that this gap has the tables for. Call it, and save what it gives, within `house_style()`."""
    return [drawn for make in FIGURES if (drawn := make(gap)) is not None]


def write_gap_figures(gap: Gap, folder: Path) -> list[Path]:
    """Draw a gap's figures into a folder, each as .svg and .png; the files written.

    What depends on tables that were not measured is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with style.house_style():
        return [path for drawn in draw_all(gap) for path in style.save(drawn.figure, folder / drawn.name)]
