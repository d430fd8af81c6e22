"""Stages that follow a repair through the layers of the base and of the repaired model."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.lm.config import BackboneSection
from accord.pathway.config import PathwaySection
from accord.repair.learned import unlearned
from accord.study.stage import Progress, Run, Stage, found_by, read_by_model
from accord.study.store import Recipe
from accord.tasks import Task

if TYPE_CHECKING:
    from accord.concepts import ConceptModel
    from accord.lm import LanguageModel
    from accord.pathway import Pathway

PATHWAY_VERSION = 2  # raise it when the same settings give other files or numbers
_NESTED = ("test", "test-unseen-hypernyms", "test-unseen-both")


@dataclass(frozen=True)
class Questions:
    """Items that the readout learns from, and those that everything is measured on, the nearest first."""

    train: Task
    tests: Mapping[str, Task]

    @property
    def settings(self) -> dict[str, Any]:
        """What fixes them."""
        return {"train": self.train.settings, "tests": {name: task.settings for name, task in self.tests.items()}}

    def read_by(self, model: BackboneSection) -> "Questions":
        """With what a model's chat template makes of them in their settings, where they are asked in a chat."""
        tests = {name: read_by_model(task, model) for name, task in self.tests.items()}
        return Questions(read_by_model(self.train, model), tests)


def questions(
    section: PathwaySection,
    make: Callable[..., Task],
    *,
    split_kind: str | None = None,
    learned: frozenset[str] = frozenset(),
) -> Questions:
    """The items of a task, divided as a repair's are: training items, and each test set of a nested split.

    Args:
        make: makes the task with these keys of `accord.task` in place of its own.
        split_kind: as the repair had it; by default what `accord repair` takes.
        learned: marks of items that nothing is measured on, see `accord.repair.learned`.

    Raises AccordError as `accord.task` and `accord.repair.learned.unlearned` do.
    """
    kind = split_kind or ("nested" if make().nested else "random")
    names = _NESTED if kind == "nested" else _NESTED[:1]
    return Questions(
        make(split="train", split_kind=kind, limit=section.train_limit),
        {name: unlearned(make, learned, split=name, split_kind=kind, limit=section.limit) for name in names},
    )


@dataclass(frozen=True)
class Concepts:
    """A concept model, made on the base model's states of a layer."""

    layer: int
    identity: str
    load: Callable[["LanguageModel"], "ConceptModel"]


def pathway_stage(
    run: Run, section: PathwaySection, asked: Questions, repair: Stage, concepts: tuple[int, Stage] | None = None
) -> Stage:
    """Compare the backbone with the model that the stage `repair` makes.

    Args:
        concepts: the layer of a concept model, and the stage that makes it.
    """
    name = repair.name.replace("repair/", "pathway/", 1)
    inputs = {"base": run.identity(), "repaired": repair.recipe.fingerprint}
    loaders = (run.lm, lambda: run.repaired(repair))
    return two_models_stage(name, section, asked, inputs, loaders, repair.recipe.seed, _made(run, concepts))


def _made(run: Run, concepts: tuple[int, Stage] | None) -> Concepts | None:
    if concepts is None:
        return None
    layer, stage = concepts
    return Concepts(layer, stage.recipe.fingerprint, lambda lm: load_concepts(run.at(stage.name), lm))


def load_concepts(folder: Path, lm: "LanguageModel") -> "ConceptModel":
    """A saved concept model on the device of a language model."""
    from accord.concepts import load

    return load(folder, lm.device)


def two_models_stage(
    name: str,
    section: PathwaySection,
    asked: Questions,
    inputs: Mapping[str, Any],
    loaders: tuple[Callable[[], "LanguageModel"], Callable[[], "LanguageModel"]],
    seed: int,
    concepts: Concepts | None = None,
) -> Stage:
    """Compare any base model with any repaired one; `inputs` is their identity, as JSON."""
    settings = {
        "inputs": dict(inputs),
        **section.model_dump(exclude={"repairs", "concepts", "limit", "train_limit"}),
        "questions": asked.settings,
        "concepts": None if concepts is None else {"layer": concepts.layer, "model": concepts.identity},
    }

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        base, repaired = (load() for load in loaders)
        found = found_by(base)
        # Named by what "auto" turned out to be, so that parts of two machines are never mixed.
        parts = work / f"parts-{'-'.join(found.values())}"
        measure(section, asked, (base, repaired), seed, progress, concepts, parts).write(work)
        for left in work.glob("parts-*"):
            shutil.rmtree(left)
        return found

    return Stage(name, Recipe("pathway", PATHWAY_VERSION, settings, seed), build)


def measure(
    section: PathwaySection,
    asked: Questions,
    models: tuple["LanguageModel", "LanguageModel"],
    seed: int,
    progress: Progress,
    concepts: Concepts | None = None,
    parts: Path | None = None,
) -> "Pathway":
    """The pathway as a section asks for it."""
    from accord.pathway import measure_pathway

    return measure_pathway(
        *models,
        asked.train,
        asked.tests,
        concepts=None if concepts is None else (concepts.layer, concepts.load(models[0])),
        patch_items=section.patch_items,
        draws=section.draws,
        every_position=section.every_position,
        seed=seed,
        resamples=section.resamples,
        parts=parts,
        progress=progress,
    )
