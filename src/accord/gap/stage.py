"""Stages that measure the gap: of the backbone, or of a language model that the study made."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from accord.cache import checked_once
from accord.errors import AccordError, nearest
from accord.gap.config import GapSection
from accord.gap.result import Gap
from accord.heads.rows import BACKBONE, all_rows
from accord.heads.stage import head_of
from accord.study.plan import Plan, Unplanned, planned_once
from accord.study.stage import Stage
from accord.study.work import Work
from accord.tasks import Task

if TYPE_CHECKING:
    from accord.lm import LanguageModel

VERSION = 3  # raise it when the same settings give other files or numbers


def stages(plan: Plan) -> Iterator[Stage]:
    """One for each section."""
    yield from gaps(plan).values()


@planned_once
def gaps(plan: Plan) -> dict[str, Stage]:
    """The stage of each section by its folder: what another capability may be made from."""
    tasks, planned = gap_tasks(plan), {}
    for i, section in enumerate(plan.all(GapSection)):
        with plan.at("gap", i, section=section):
            if i in tasks:
                planned[section.folder] = _stage(plan, section, tasks[i], i)
    return planned


@planned_once
def gap_tasks(plan: Plan) -> dict[int, Task]:
    """The task of each section by its number; those that cannot be made are problems."""
    tasks: dict[int, Task] = {}
    folders: dict[str, int] = {}
    for i, section in enumerate(plan.all(GapSection)):
        first = folders.setdefault(section.folder.casefold(), i)
        if first != i:
            got, fix = f"gap/{section.folder}, as [[gap]] number {first + 1}", 'give one of them a name: name = "…"'
            plan.problem(AccordError("Two sections would write to the same folder.", got=got, fix=fix), "gap", i)
        with plan.at("gap", i, section=section):
            if section.task not in plan.unsound:
                tasks[i] = plan.task(section)
    return tasks


def _stage(plan: Plan, section: GapSection, task: Task, number: int) -> Stage:
    labels = list(dict.fromkeys([BACKBONE, *(row.label for row in all_rows(plan.study))]))
    if section.model not in labels:
        error = AccordError(
            "The study makes no such model.", got=repr(section.model), wanted=nearest(section.model, labels)
        )
        plan.problem(error, "gap", number, "model")
        raise Unplanned
    base = plan.named(plan.backbone)
    if section.model == BACKBONE:
        return gap_stage(section, plan.read(task), base.identity, base.load, plan.seed)
    node = head_of(plan, section.model, plan.seed)
    if node is None:
        raise Unplanned
    head = node

    def load(work: Work) -> "LanguageModel":
        return head.load(work, plan)

    settings = {**base.identity, "model": node.stage.label}
    return gap_stage(section, plan.read(task), settings, load, plan.seed, {"model": node.stage})


def check_words(plan: Plan, task: Task, who: str) -> None:
    """AccordError unless label words are one token each for the backbone: `who` reads or moves the next token alone.

    It is not tried on a model that must be fetched first.
    """
    task.labels.check_yes_or_no(who, task.name)
    weights = plan.named(plan.backbone).identity["weights"]
    if weights is None:
        return

    def check() -> None:
        from accord.gap.questions import LabelWords

        LabelWords.of(SimpleNamespace(tokenizer=plan.tokenizer), task).tokens(task, who)

    prompt = task.validator.prompt(task.items[0]) if task.items else ""
    asked = [task.settings["chat"], task.validator.join, prompt]
    checked_once(["single label words", weights, task.labels.as_json(), asked], check)


def gap_stage(
    section: GapSection,
    task: Task,
    identity: dict[str, Any],
    load: "Callable[[Work], LanguageModel]",
    seed: int,
    inputs: dict[str, Stage] | None = None,
) -> Stage:
    """Measure the gap of a model on a task, and draw it.

    Args:
        identity: what of the model fixes the numbers, beside the stage that makes it.
        inputs: that stage.
    """

    if section.negated:
        task.check_negated("negated")

    def make(work: Work) -> Gap:
        from accord.gap import measure_gap
        from accord.gap.figures import write_gap_figures

        lm = load(work)
        work.progress(0, len(task.items))
        gap = measure_gap(
            lm,
            task,
            layers=section.layers,
            typicality=("own", "negated") if section.negated else ("own",),
            parts=work.parts,
            progress=work.progress,
            scored=work.all_parts_made,
        )
        write_gap_figures(gap, work.folder / "figures")
        return gap

    settings = {**identity, "task": task.settings, "layers": section.layers}
    if section.negated and task.generator.negated:
        settings["negated"] = task.generator.negated.text
    return Stage("gap", section.folder, make, settings, seed, VERSION, inputs or {}, spreads=True, seconds=45)
