"""Everything that is asked about a repair's pathway, of a base and a repaired model, item by item the same."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.errors import AccordError
from accord.gap.questions import LabelWords, contexts_of
from accord.lm.batching import Progress
from accord.lm.model import LanguageModel
from accord.pathway.comparison import FORMS, Comparison, curves, patch_both, told
from accord.pathway.patching import check_shapes
from accord.pathway.progress import Steps
from accord.pathway.result import Pathway
from accord.pathway.tables import ALL, BASE, INTO_BASE, INTO_REPAIRED, LAST
from accord.tasks import Task


@checked
def measure_pathway(
    base: LanguageModel,
    repaired: LanguageModel,
    task_train: Task,
    tests: Mapping[str, Task],
    *,
    concepts: tuple[int, ConceptModel] | None = None,
    layers: Sequence[int] | None = None,
    patch_items: int = 64,
    draws: int = 3,
    every_position: bool = False,
    seed: int = 0,
    resamples: int = 1000,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> Pathway:
    """Where a repair enters the layers, and where the answer is known in both models.

    Args:
        repaired: made from `base`, or of the same shape and tokens.
        task_train: items that the readout is fitted on; no item of a test may be among them.
        tests: name -> items that it is judged on. All else is measured on the first of them.
        concepts: a layer, and a concept model made on the base model's states of it.
        layers: which are looked at; all by default.
        patch_items: so many of the first test's items are used in patching: its cost grows with the layers.
        draws: random directions of the patching's control.
        every_position: also patch all positions but a prompt's first; some twenty times the cost of the last alone.
        seed: of the random signs, the folds of the readout and the random directions.
        resamples: random signs behind the intervals of concepts; 0 for no intervals at all.
        parts: a folder for finished parts; what is whole there already is not computed again. Of one pair of models,
            one set of tasks and one choice of the above.
        progress: called with (work done, work in all).

    Raises:
        AccordError: the models differ in shape or tokens, a layer does not exist, there is no test, a task has no
            items, training items are in a test, or label words are several
            tokens each.
    """
    shown = _layers(base, layers)
    read = sorted({*shown, *([concepts[0]] if concepts else [])})
    asked = Comparison(base, repaired, tests, shown, read, seed, resamples, parts)
    _check(asked, task_train, concepts)
    ways = [
        (way, place) for place in ((LAST, ALL) if every_position else (LAST,)) for way in (INTO_BASE, INTO_REPAIRED)
    ]
    steps = Steps(progress, 6 + 3 * len(tests) + len(ways))
    gaps = {model: asked.gap(model, steps.next()) for model in asked.models}
    few = dataclasses.replace(asked.first, items=asked.first.items[:patch_items])
    found = Pathway(
        _about(asked, task_train, few, draws, concepts),
        told({model: curves(gap, resamples) for model, gap in gaps.items()}, asked.layers, "layer"),
        told(
            {model: gap.layer_matrix for model, gap in gaps.items()}, asked.layers, "generator_layer", "validator_layer"
        ),
        asked.cka(steps),
        asked.readout(task_train, gaps[BASE].scores, steps),
        *patch_both(asked, few, ways, draws, steps),
        None if concepts is None else asked.concepts(*concepts, steps),
    )
    steps.finish()
    return found


def _layers(lm: LanguageModel, layers: Sequence[int] | None) -> list[int]:
    """Those asked for, in order, the top one always among them."""
    if wrong := [layer for layer in layers or () if not 0 <= layer <= lm.n_layers]:
        raise AccordError("no such layer", got=wrong[0], wanted=f"0 to {lm.n_layers} in {lm.name}")
    return list(range(lm.n_layers + 1)) if layers is None else sorted({*layers, lm.n_layers})


def _check(asked: Comparison, train: Task, concepts: tuple[int, ConceptModel] | None) -> None:
    check_shapes(asked.base, asked.repaired)
    LabelWords.of(asked.base, train).tokens(train, "a pathway")
    if not asked.tests or not all(task.items for task in (train, *asked.tests.values())):
        raise AccordError("a pathway needs training items and at least one test with items", got=list(asked.tests))
    learned = {(*train.prompts(item), item.answer) for item in train.items}
    for name, task in asked.tests.items():
        if any((*task.prompts(item), item.answer) in learned for item in task.items):
            raise AccordError("items that the readout is fitted on are in a test", got=name, fix="divide the items")
    for form in FORMS:
        if contexts_of(asked.base, asked.first, form) != contexts_of(asked.repaired, asked.first, form):
            raise AccordError(
                "the two models read the same prompts as different tokens",
                got=asked.repaired.name,
                wanted=asked.base.name,
            )
    if concepts is not None:
        _layers(asked.base, [concepts[0]])
        if concepts[1].d != asked.base.d_model:
            got, wanted = concepts[1].d, asked.base.d_model
            raise AccordError("the concept model is for states of another width", got=got, wanted=wanted)


def _about(
    asked: Comparison, train: Task, few: Task, draws: int, concepts: tuple[int, ConceptModel] | None
) -> dict[str, object]:
    return {
        "base": asked.base.name,
        "repaired": asked.repaired.name,
        "task": asked.first.name,
        "tests": list(asked.tests),
        "n": {"train": len(train.items), **{name: len(task.items) for name, task in asked.tests.items()}},
        "patched": len(few.items),
        "draws": draws,
        "concept_layer": None if concepts is None else concepts[0],
        "seed": asked.seed,
        "resamples": asked.resamples,
    }
