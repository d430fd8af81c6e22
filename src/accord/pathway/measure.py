"""Every measure of a repair's pathway, of a base and a repaired model on the same items."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.errors import AccordError
from accord.gap.questions import LabelWords, contexts_of
from accord.lm.model import LanguageModel
from accord.pathway.comparison import FORMS, Comparison, both_models, curves, patch_both
from accord.pathway.patching import check_shapes
from accord.pathway.progress import Steps
from accord.pathway.result import Pathway
from accord.pathway.tables import ALL, BASE, INTO_BASE, INTO_REPAIRED, LAST
from accord.progress import Progress
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
            items, training items are in a test, or label words are several tokens each.
    """
    reported = _layers(base, layers)
    read = sorted({*reported, *([concepts[0]] if concepts else [])})
    pair = Comparison(base, repaired, tests, reported, read, seed, resamples, parts)
    _check(pair, task_train, concepts)
    ways = [
        (way, place) for place in ((LAST, ALL) if every_position else (LAST,)) for way in (INTO_BASE, INTO_REPAIRED)
    ]
    steps = Steps(progress, 6 + 3 * len(tests) + len(ways))
    gaps = {model: pair.gap(model, steps.next()) for model in pair.models}
    few = dataclasses.replace(pair.first, items=pair.first.items[:patch_items])
    pathway = Pathway(
        _about(pair, task_train, few, draws, concepts),
        both_models({model: curves(gap, resamples) for model, gap in gaps.items()}, pair.layers, "layer"),
        both_models(
            {model: gap.layer_matrix for model, gap in gaps.items()}, pair.layers, "generator_layer", "validator_layer"
        ),
        pair.cka(steps),
        pair.readout(task_train, gaps[BASE].scores, steps),
        *patch_both(pair, few, ways, draws, steps),
        None if concepts is None else pair.concepts(*concepts, steps),
    )
    steps.finish()
    return pathway


def _layers(lm: LanguageModel, layers: Sequence[int] | None) -> list[int]:
    """These layers in order, by default all; the top one is always among them."""
    if wrong := [layer for layer in layers or () if not 0 <= layer <= lm.n_layers]:
        raise AccordError("no such layer", got=wrong[0], wanted=f"0 to {lm.n_layers} in {lm.name}")
    return list(range(lm.n_layers + 1)) if layers is None else sorted({*layers, lm.n_layers})


def _check(pair: Comparison, train: Task, concepts: tuple[int, ConceptModel] | None) -> None:
    check_shapes(pair.base, pair.repaired)
    LabelWords.of(pair.base, train).tokens(train, "a pathway")
    if not pair.tests or not all(task.items for task in (train, *pair.tests.values())):
        raise AccordError("a pathway needs training items and at least one test with items", got=list(pair.tests))
    learned = {(*train.prompts(item), item.answer) for item in train.items}
    for name, task in pair.tests.items():
        if any((*task.prompts(item), item.answer) in learned for item in task.items):
            raise AccordError("items that the readout is fitted on are in a test", got=name, fix="divide the items")
    for form in FORMS:
        if contexts_of(pair.base, pair.first, form) != contexts_of(pair.repaired, pair.first, form):
            raise AccordError(
                "the two models read the same prompts as different tokens",
                got=pair.repaired.name,
                wanted=pair.base.name,
            )
    if concepts is not None:
        _layers(pair.base, [concepts[0]])
        if concepts[1].d != pair.base.d_model:
            got, wanted = concepts[1].d, pair.base.d_model
            raise AccordError("the concept model is for states of another width", got=got, wanted=wanted)


def _about(
    pair: Comparison, train: Task, few: Task, draws: int, concepts: tuple[int, ConceptModel] | None
) -> dict[str, object]:
    return {
        "base": pair.base.name,
        "repaired": pair.repaired.name,
        "task": pair.first.name,
        "tests": list(pair.tests),
        "n": {"train": len(train.items), **{name: len(task.items) for name, task in pair.tests.items()}},
        "patched": len(few.items),
        "draws": draws,
        "concept_layer": None if concepts is None else concepts[0],
        "seed": pair.seed,
        "resamples": pair.resamples,
    }
