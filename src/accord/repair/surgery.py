"""Every repair without training by its section: one way in for commands and studies."""

from collections.abc import Sequence
from typing import Any

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.errors import AccordError
from accord.gap.questions import LabelWords
from accord.kinds import code_of
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import KINDS, Surgery, check_task
from accord.repair.fitted import Fitted
from accord.repair.label_mass import check_label_mass
from accord.tasks import Task


@checked
def operate(
    lm: LanguageModel,
    task: Task,
    config: Surgery,
    *,
    concepts: tuple[ConceptModel, int] | None = None,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    kept: Sequence[Task] = (),
    progress: Progress | None = None,
) -> Fitted:
    """Fit the repair that `config` asks for on `task`, its training side.

    Args:
        concepts: a concept model and the layer it was made on, for a kind that edits them.
        seed: what is held out, and the order of the texts.
        texts: ordinary text; the training side of movie-reviews by default.
        kept: other tasks to learn from, for a kind with the key `keep`.

    Raises:
        AccordError: the label words get too little probability; the kind edits concepts and none are given; else see
            the `fit` of each kind.
    """
    check_task(task, config)
    LabelWords.of(lm, task).tokens(task, f"a {config.kind} repair")
    check_label_mass(lm, task, allowed=config.allow_low_mass)
    options: dict[str, Any] = {"seed": seed, "texts": texts, "progress": progress}
    if config.edits_concepts:
        if concepts is None:
            raise AccordError(
                "a repair by concepts needs a concept model, and the layer it was made on", got=config.kind
            )
        options["concepts"], options["layer"] = concepts
    if hasattr(config, "keep"):
        options["kept"] = kept
    fitted: Fitted = code_of(KINDS, config.kind)(lm, task, config, **options)
    return fitted
