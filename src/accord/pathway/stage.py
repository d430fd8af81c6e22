"""Stages that follow repairs through the layers of the base and of the repaired model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.cache import hash_file
from accord.concepts.stage import concepts_named
from accord.errors import AccordError
from accord.gap.stage import check_words
from accord.lm.config import BackboneSection
from accord.pathway.config import FEWEST_TRAIN, PathwaySection
from accord.pathway.result import Pathway
from accord.repair.config import RepairSection
from accord.repair.learned import unlearned
from accord.repair.stage import RepairNode, learned_for, need_repairs, repairs_named, training_items
from accord.study.plan import Plan, identity, read_by_model
from accord.study.stage import Needs, Stage
from accord.study.work import Work
from accord.tasks import Task
from accord.unfinished import check_finished

if TYPE_CHECKING:
    from accord.concepts import ConceptModel
    from accord.lm import LanguageModel

VERSION = 6  # raise it when the same settings give other files or numbers
_NESTED = ("test", "test-unseen-hypernyms", "test-unseen-both")


@dataclass(frozen=True)
class PathwayItems:
    """Items that the readout learns from, and those that everything is measured on, the nearest first."""

    train: Task
    tests: Mapping[str, Task]

    def settings(self, read: Callable[[Task], Task]) -> dict[str, Any]:
        """What fixes them, as a model reads them."""
        tests = {name: read(task).settings for name, task in self.tests.items()}
        return {"train": read(self.train).settings, "tests": tests}


def items_of(
    section: PathwaySection,
    make: Callable[..., Task],
    *,
    split_kind: str | None = None,
    learned: frozenset[str] = frozenset(),
) -> PathwayItems:
    """The items of a task, divided as a repair's are: training items, and each test set of a nested split.

    Args:
        make: makes the task with these keys of `accord.task` in place of its own.
        split_kind: as the repair had it; by default what `accord repair` takes.
        learned: marks of items that nothing is measured on, see `accord.repair.learned`.

    Raises AccordError as `accord.task` and `accord.repair.learned.unlearned` do.
    """
    kind = split_kind or make().usual_split_kind
    names = _NESTED if kind == "nested" else _NESTED[:1]
    return PathwayItems(
        make(split="train", split_kind=kind, limit=section.train_limit),
        {name: unlearned(make, learned, split=name, split_kind=kind, limit=section.limit) for name in names},
    )


def stages(plan: Plan) -> Iterator[Stage]:
    """The pathway of each repair that the section names, as the first seed made it; of the first, if it names none."""
    section = plan.the(PathwaySection)
    if section is None:
        return
    with plan.at("pathway", section=section):
        if section.concepts is not None:
            concepts_named(plan, section.concepts, "pathway", "concepts")
    with plan.at("pathway", section=section):
        need_repairs(plan, "pathway")
        for task in training_items(plan).values():
            check_words(plan, task, "a pathway")
        titles = list(dict.fromkeys(section.repairs or [plan.all(RepairSection)[0].title]))
        for node in repairs_named(plan, titles, "pathway", "repairs"):
            yield _of_repair(plan, section, node)


def _of_repair(plan: Plan, section: PathwaySection, node: RepairNode) -> Stage:
    base, question = plan.named(plan.backbone), node.section
    items = items_of(section, lambda **keys: plan.task(question, **keys), learned=learned_for(plan, question.folder))
    if len(items.train.items) < FEWEST_TRAIN:
        problem, got = "too few training items to read anything off", len(items.train.items)
        raise AccordError(problem, where=items.train.name, got=got, wanted=f"{FEWEST_TRAIN} or more")
    concepts = None if section.concepts is None else concepts_named(plan, section.concepts, "pathway", "concepts")

    def make(work: Work) -> Pathway:
        lm = base.load(work)
        models = (lm, node.load(work, plan.backbone))
        model_and_layer = None if concepts is None else (concepts.at, concepts.load(work, lm))
        pathway = measure(section, items, models, plan.seed, work, model_and_layer)
        work.all_parts_made()
        return pathway

    settings = {**settings_of(section), **base.identity, "questions": items.settings(plan.read)}
    inputs = {"repair": node.stage} | ({} if concepts is None else {"concepts": concepts.stage})
    needs = lambda: Needs(2 * plan.weights(plan.backbone))  # noqa: E731 - the base, and apart from it what was made of it
    return Stage(
        "pathway", node.stage.label, make, settings, plan.seed, VERSION, inputs, needs, spreads=True, seconds=70
    )


def pair_stage(
    section: PathwaySection,
    items: PathwayItems,
    base: BackboneSection,
    repaired: BackboneSection,
    seed: int,
    concepts: tuple[Path, int] | None = None,
) -> Stage:
    """Compare two models by name or folder, outside any study.

    Args:
        concepts: folder of the concept model whose changes are measured, and the layer it was made on.

    Raises AccordError if there is no concept model in that folder.
    """
    weights = None
    if concepts is not None:
        path = concepts[0] / "weights.safetensors"
        if not path.is_file():
            check_finished(concepts[0])
            raise AccordError("This folder holds no concept model.", where=concepts[0], wanted=path.name)
        weights = hash_file(path)

    def make(work: Work) -> Pathway:
        models = (work.load(base), work.load(repaired))
        model_and_layer = None
        if concepts is not None:
            from accord.concepts import load

            model_and_layer = (concepts[1], load(concepts[0], models[0].device))
        return measure(section, items, models, seed, work, model_and_layer)

    settings = {
        **settings_of(section),
        "base": identity(base),
        "repaired": identity(repaired),
        "questions": items.settings(lambda task: read_by_model(task, base)),
        "concepts": concepts and {"layer": concepts[1], "model": weights},
    }
    return Stage("pathway", "", make, settings, seed, VERSION, seconds=70)


def settings_of(section: PathwaySection) -> dict[str, Any]:
    """What of a section fixes results, beside the items."""
    return section.model_dump(exclude={"repairs", "concepts", "limit", "train_limit"})


def measure(
    section: PathwaySection,
    items: PathwayItems,
    models: "tuple[LanguageModel, LanguageModel]",
    seed: int,
    work: Work,
    concepts: "tuple[int, ConceptModel] | None" = None,
) -> Pathway:
    """The pathway as a section asks for it."""
    from accord.pathway import measure_pathway

    return measure_pathway(
        *models,
        items.train,
        items.tests,
        concepts=concepts,
        seed=seed,
        parts=work.parts,
        progress=work.progress,
        **settings_of(section),
    )
