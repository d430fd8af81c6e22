"""The stages that make repaired models: folders that `accord.load` opens, on the backbone or on another repair."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.concepts.stage import TRAINED, ConceptNode, concepts_named
from accord.embeddings.ordinary import OrdinaryTexts, ordinary_texts
from accord.errors import AccordError, nearest
from accord.gap.stage import check_words
from accord.lm.config import BackboneSection
from accord.repair.config import RepairSection, Trained, check_task, repair_config
from accord.repair.kept import check_apart, kept_tasks
from accord.repair.learned import marks
from accord.study.manifest import read_manifest
from accord.study.plan import Plan, Unplanned, identity, planned_once, read_by_model
from accord.study.stage import Needs, Stage
from accord.study.work import Work, load, to_make
from accord.tasks import Task

if TYPE_CHECKING:
    from accord.concepts import ConceptModel
    from accord.lm import LanguageModel

VERSION = 5  # raise it when the same settings give other files or numbers


@dataclass(frozen=True)
class RepairNode:
    """One seed of one repair: its section, the items that it learns from, and the stage that makes it."""

    section: RepairSection
    seed: int
    training: Task
    stage: Stage

    def load(self, work: Work, backbone: BackboneSection) -> "LanguageModel":
        """The repaired model, to be measured; not kept in memory, as a study has many."""
        from accord.repair.folder import load_to_measure

        folder, base = work.at(self.stage), work.models.kept(backbone)
        return work.begun_with(load_to_measure(folder, device=backbone.device, dtype=backbone.dtype, base=base))


def stages(plan: Plan) -> Iterator[Stage]:
    """Every repair with every seed; those that go on from another come after it."""
    yield from (node.stage for node in repairs(plan))


@planned_once
def training_items(plan: Plan) -> dict[str, Task]:
    """What each repair learns from, by its title: the side that the verdict's trials share nothing with."""
    by_title = {}
    for i, section in enumerate(plan.all(RepairSection)):
        with plan.at("repair", i, section=section):
            kind = plan.task(section, split="all").usual_split_kind
            task = plan.task(section, split="train", split_kind=kind, limit=section.limit)
            check_task(task, repair_config(section))
            by_title[section.title] = task
            with plan.at("repair", i, "layers"):
                for layer in getattr(section, "layers", None) or []:
                    plan.number(layer)
            if not section.trained:
                check_words(plan, task, f"a {section.kind} repair")
            elif getattr(section, "full", False):
                with plan.at("repair", i, "full"):
                    _check_full(plan)
    return by_title


@planned_once
def kept_items(plan: Plan) -> dict[str, tuple[Task, ...]]:
    """What each repair learns from beside its own task, by its title."""
    by_title, training = {}, training_items(plan)
    for i, section in enumerate(plan.all(RepairSection)):
        names = getattr(section, "keep", [])
        with plan.at("repair", i, "keep"):
            paths = [str(plan.file.beside(name)) if name.endswith(".toml") else name for name in names]
            kept = kept_tasks(paths, plan.seed)
            if section.trained and section.title in training:
                check_apart(training[section.title], kept)
            by_title[section.title] = kept
    return by_title


def _check_full(plan: Plan) -> None:
    """AccordError if the backbone's precision is one in which all its weights cannot be trained."""
    from accord.lm.devices import pick_device
    from accord.lm.opening import pick_dtype

    section = plan.backbone
    dtype = str(pick_dtype(section.dtype, pick_device(section.device))).removeprefix("torch.")
    if dtype != "float32":
        problem, fix = "Full fine-tuning loses small updates in half precision.", '[backbone] dtype = "float32"'
        raise AccordError(problem, got=dtype, fix=fix)


def learned_for(plan: Plan, question: str) -> frozenset[str]:
    """Marks of all that the repairs of a question learned from, and those that they go on from.

    Args:
        question: its folder, see `QuestionSection.folder`.
    """
    return _learned(plan).get(question, frozenset())


@planned_once
def _learned(plan: Plan) -> dict[str, frozenset[str]]:
    """The same of every question; once, as each repair's verdict, damage and pathway ask for it."""
    training, kept = training_items(plan), kept_items(plan)
    of_task = {id(task): marks(task) for task in {id(task): task for task in training.values()}.values()}
    learned: dict[str, frozenset[str]] = {}
    for section in plan.all(RepairSection):
        titles = [title for title in (section.title, section.after) if title in training]
        here = [of_task[id(training[str(title)])] for title in titles]
        here += [marks(task) for title in titles for task in kept.get(str(title), ())]
        learned[section.folder] = learned.get(section.folder, frozenset()).union(*here)
    return learned


@planned_once
def repairs(plan: Plan) -> list[RepairNode]:
    """All repairs of the study, crossed with its seeds, those of a title together."""
    training, sections = training_items(plan), plan.all(RepairSection)
    _check_names(plan, sections)
    nodes: dict[tuple[str, int], RepairNode] = {}
    for section in sorted(sections, key=lambda section: section.after is not None):
        place = ("repair", sections.index(section))
        for seed in plan.study.seeds:
            with plan.at(*place, section=section):
                if section.title not in training or (section.after and (section.after, seed) not in nodes):
                    continue  # the reason is among the plan's problems already
                after = nodes[section.after, seed].stage if section.after else None
                edited = section.edited
                concepts = None if edited is None else concepts_named(plan, edited, *place, "model")
                texts = None if section.trained else ordinary_texts(plan)
                kept = kept_items(plan).get(section.title, ())
                stage = repair_stage(plan, section, training[section.title], seed, after, concepts, texts, kept)
                nodes[section.title, seed] = RepairNode(section, seed, training[section.title], stage)
    return list(nodes.values())


def repair_stage(
    plan: Plan,
    section: RepairSection,
    task: Task,
    seed: int,
    after: Stage | None = None,
    concepts: ConceptNode | None = None,
    texts: OrdinaryTexts | None = None,
    kept: tuple[Task, ...] = (),
) -> Stage:
    """Repair the backbone, or what another repair made of it, on a task's training items.

    Args:
        after: the repair that this one goes on from.
        concepts: the concept model that the kind edits, if it does.
        texts: the ordinary texts that kinds without training leave as they are.
        kept: other tasks that it learns from.
    """
    config, base = repair_config(section), plan.named(plan.backbone)
    about = {"repair": section.title, "kind": section.kind, "seed": seed, "task": task.name}
    inputs: dict[str, Stage] = {} if after is None else {"after": after}
    if concepts is not None:
        inputs["concepts"] = concepts.stage

    def make(work: Work) -> None:
        if after is None:
            lm, name = _base(work, config, plan.backbone), plan.backbone.model
        else:
            name = str(work.at(after))
            lm = work.begun_with(load(plan.backbone.model_copy(update={"model": name})))
        edited = None if concepts is None else (concepts.load(work, lm), concepts.at)
        ordinary = None if texts is None else texts.divided().train
        seconds = _repaired(work, lm, name, task, config, seed, edited, ordinary, kept)
        work.facts["seconds"] = seconds + _seconds_before(work, after)

    settings: dict[str, Any] = {
        **base.identity,
        "about": about,
        "config": config.model_dump(),
        "layer": concepts and concepts.number,
        "task": plan.read(task).settings,
        "texts": texts and texts.settings,
        **({"kept": [other.settings for other in kept]} if kept else {}),
    }

    def needs() -> Needs:
        weights = plan.weights(plan.backbone)
        if not getattr(config, "full", False):  # beside the model that measures, which the run keeps
            return Needs(plan.weights(plan.backbone, to_make(plan.backbone)) if section.trained else weights)
        return Needs(TRAINED * weights, weights, TRAINED * weights)

    label, first = f"{section.title}-s{seed}", "backbone" if after is None else ""
    return Stage("repair", label, make, settings, seed, VERSION, inputs, needs, seconds=40, model=first)


def single_repair_stage(
    config: Any, task: Task, base: BackboneSection, seed: int, concepts: tuple[Path, int] | None = None
) -> Stage:
    """Repair a model by name or folder, outside any study.

    Args:
        config: settings of a kind of repair, see `accord.repair.read_repair`.
        concepts: folder of the concept model that the kind edits, if it does, and the layer it was made on.
    """
    folder, layer = (None, None) if concepts is None else (str(concepts[0].resolve()), concepts[1])
    task = read_by_model(task, base)

    def make(work: Work) -> None:
        lm, edited = _base(work, config, base), None
        if concepts is not None:
            from accord.concepts import load as load_concepts

            edited = (load_concepts(concepts[0], lm.device), concepts[1])
        work.facts["seconds"] = _repaired(work, lm, base.model, task, config, seed, edited, kept=kept)

    kept = kept_tasks(getattr(config, "keep", ()), seed)
    if isinstance(config, Trained):
        check_apart(task, kept)
    about: dict[str, Any] = {"repair": config.model_dump(), "concepts": folder, "layer": layer}
    if kept:
        about["kept"] = [other.settings for other in kept]
    settings = {**identity(base), "task": task.settings, **about}
    return Stage("repair", "", make, settings, seed, VERSION, seconds=40)


def _base(work: Work, config: Any, base: BackboneSection) -> "LanguageModel":
    """The model to repair: adapters learn as well on a base in half precision; what is fitted to measures does not."""
    adapts = isinstance(config, Trained) and not config.full
    return work.load_to_make(base) if adapts else work.load(base)


def _repaired(
    work: Work,
    lm: "LanguageModel",
    base: str,
    task: Task,
    config: Any,
    seed: int,
    concepts: "tuple[ConceptModel, int] | None",
    texts: list[str] | None = None,
    kept: tuple[Task, ...] = (),
) -> float:
    """Fill a stage's folder with the repaired model; the seconds that it took."""
    from accord.repair import repair

    seconds: float = repair(
        lm,
        task,
        config,
        folder=work.folder,
        seed=seed,
        base=base,
        concepts=concepts,
        texts=texts,
        kept=kept,
        progress=work.progress,
    )
    return seconds


def _seconds_before(work: Work, after: Stage | None) -> float:
    """Seconds that the repair took which this one goes on from: without it, there would be none of this."""
    manifest = None if after is None else read_manifest(work.at(after))
    return float(manifest["facts"]["seconds"]) if manifest else 0.0


def _check_names(plan: Plan, sections: list[RepairSection]) -> None:
    """What is wrong with the repairs as they name each other."""
    titles = [section.title for section in sections]
    plain = [section.title for section in sections if section.after is None]
    for i, section in enumerate(sections):
        if titles.index(section.title) != i:
            fix = 'give one of them a name: name = "…"'
            plan.problem(AccordError("Two repairs have the same name.", got=section.title, fix=fix), "repair", i)
        if section.after is not None and section.after not in plain:
            wanted = nearest(section.after, [title for title in plain if title != section.title])
            error = AccordError("No such repair to go on from.", got=section.after, wanted=wanted)
            plan.problem(error, "repair", i, "after")


def repairs_named(plan: Plan, titles: list[str], *place: str | int) -> list[RepairNode]:
    """The repairs of these titles, as the first seed made them; a title that is none becomes a problem at the place."""
    planned = [section.title for section in plan.all(RepairSection)]
    for title in titles:
        if planned and title not in planned:
            plan.problem(AccordError("No such repair.", got=title, wanted=nearest(title, planned)), *place)
    return [node for title in titles for node in repairs(plan) if (node.section.title, node.seed) == (title, plan.seed)]


def need_repairs(plan: Plan, section: str) -> list[RepairNode]:
    """All repairs, for a section that is about them: without any, that is a problem, and Unplanned."""
    if not plan.all(RepairSection):
        error = AccordError("There is no repair that this section is about.", wanted="a [[repair]] section")
        plan.problem(error, section)
        raise Unplanned
    return repairs(plan)
