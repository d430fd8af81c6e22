"""All figures of the concept line: which there are, and writing them as files."""

from collections.abc import Callable
from pathlib import Path

from accord.arguments import checked
from accord.report import style
from accord.report.concepts_data import ConceptLine, read_line
from accord.report.draw_concepts import draw_recovered, draw_sparsity
from accord.report.draw_perplexity import draw_perplexity
from accord.report.draw_terms import draw_loss_terms
from accord.report.draw_training import draw_concept_training, draw_head_training
from accord.report.drawn import Drawn

Draw = Callable[[ConceptLine], Drawn | None]

# In the order of the page, by section. Each gives None where the run does not hold what it draws.
CONCEPT_FIGURES: tuple[Draw, ...] = (draw_sparsity, draw_recovered, draw_concept_training, draw_loss_terms)
PERPLEXITY_FIGURES: tuple[Draw, ...] = (draw_perplexity, draw_head_training)


def draw_line(line: ConceptLine, which: tuple[Draw, ...] = CONCEPT_FIGURES + PERPLEXITY_FIGURES) -> list[Drawn]:
    """Every figure the run has the files for. Call it, and save what it gives, within `house_style()`."""
    return [drawn for make in which if (drawn := make(line)) is not None]


@checked
def write_concept_figures(run: Path, folder: Path) -> list[Path]:
    """Draw a run's concept and perplexity figures into `folder`, each as .svg and .png; the files written."""
    line = read_line(Path(run))
    Path(folder).mkdir(parents=True, exist_ok=True)
    with style.house_style():
        return [path for drawn in draw_line(line) for path in style.save(drawn.figure, Path(folder) / drawn.name)]
