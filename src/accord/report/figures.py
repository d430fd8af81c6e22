"""All figures of a measured gap: which there are, and writing them as files."""

from collections.abc import Callable
from pathlib import Path

from accord.arguments import checked
from accord.report import style
from accord.report.data import Gap, read_gap
from accord.report.draw_categories import draw_categories
from accord.report.draw_items import draw_rank, draw_scatter
from accord.report.draw_layers import draw_layer_curves
from accord.report.draw_lens import draw_lens
from accord.report.draw_matrix import draw_layer_matrix
from accord.report.drawn import Drawn

# In the order of the page. Each gives None where the folder does not hold what it draws.
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


@checked
def write_figures(gap_folder: Path) -> list[Path]:
    """Draw a gap folder's figures into `figures/`, each as .svg and .png; the files written.

    Needs scores.parquet and metrics.json; what depends on tables that are not there is left out.
    """
    gap = read_gap(Path(gap_folder))
    folder = gap.path / "figures"
    folder.mkdir(exist_ok=True)
    with style.house_style():
        return [path for drawn in draw_all(gap) for path in style.save(drawn.figure, folder / drawn.name)]
