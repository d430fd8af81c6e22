"""The stage that explains the backbone's gap by the concepts of a layer."""

from collections.abc import Iterator
from dataclasses import replace

from accord.concepts.in_run import RunOfConcepts
from accord.concepts.stage import check_concepts, concepts_for
from accord.errors import AccordError, nearest
from accord.explain.config import FEWEST, ExplainSection
from accord.explain.result import Explanation
from accord.gap.config import GapSection
from accord.gap.stage import check_words, gap_tasks
from accord.heads.rows import BACKBONE
from accord.study.plan import Named, Plan, read_by_model
from accord.study.stage import Stage
from accord.study.work import Work
from accord.tasks import Task
from accord.tasks import task as make_task

VERSION = 4  # raise it when the same settings give other files or numbers


def stages(plan: Plan) -> Iterator[Stage]:
    """The backbone's gap explained by each concept model of the first seed."""
    section = plan.the(ExplainSection)
    if section is None:
        return
    check_concepts(plan, "explain", ["all"])
    with plan.at("explain", section=section):
        task = plan.read(explained(plan, section))
        check_words(plan, task, "an explanation by concepts")
        for node in concepts_for(plan, ["all"]):
            yield explain_stage(section, task, plan.named(plan.backbone), node.stage, node.number, plan.seed)


def explained(plan: Plan, section: ExplainSection) -> Task:
    """The questions whose gap is explained. Raises AccordError if no [[gap]] of the backbone asks them."""
    tasks = gap_tasks(plan)
    gaps = enumerate(plan.all(GapSection))
    questions = {gap.folder: tasks[i] for i, gap in gaps if gap.model == BACKBONE and i in tasks}
    if not questions or (section.gap is not None and section.gap not in questions):
        wanted = nearest(section.gap or "", questions) or "a [[gap]] section of the backbone"
        raise AccordError("No such gap to explain.", got=section.gap or "none at all", wanted=wanted)
    task = questions[section.gap] if section.gap is not None else next(iter(questions.values()))
    return _first(task, section.limit)


def explained_alone(run: RunOfConcepts, section: ExplainSection, task: str | None) -> Task:
    """The questions that are explained in a run folder by itself: those of a [[gap]] of its study.

    Args:
        task: the one that is asked about; by default that of the gap which the section names, or the first. What no
            [[gap]] asks is asked in the usual way.

    Raises AccordError if they cannot be made from what the run folder holds.
    """
    plan = Plan(run.file)
    gaps = [gap for gap in plan.all(GapSection) if gap.model == BACKBONE and (task is None or gap.task == task)]
    if gaps:
        named = section.gap if task is None else gaps[0].folder
        with plan.at():
            question = explained(plan, section.model_copy(update={"gap": named}))
        if plan.problems:
            got = next(iter(plan.problems.values()))
            problem = "The questions of this run's study cannot be made from here."
            raise AccordError(problem, where=run.folder, got=got, fix="name a task file: --task FILE")
    else:
        question = _first(make_task(task or "hypernymy", split="test", seed=run.seed), section.limit)
    return read_by_model(question, run.backbone.section)


def _first(task: Task, limit: int | None) -> Task:
    task.labels.check_yes_or_no("an explanation by concepts", task.name)
    if len(task.items[:limit]) < FEWEST:
        problem = "too few items to explain a gap"
        raise AccordError(problem, where=task.name, got=len(task.items[:limit]), wanted=f"{FEWEST} or more")
    return replace(task, items=task.items[:limit], settings={**task.settings, "explained": limit})


def explain_stage(
    section: ExplainSection, task: Task, base: Named, concepts: Stage, layer: int | None, seed: int
) -> Stage:
    """Explain the gap of a task by a concept model that was made on a layer."""

    def make(work: Work) -> Explanation:
        from accord.concepts import load
        from accord.explain.measure import explain_gap

        lm = work.backbone(base.section)
        assert layer is not None  # known when anything is made
        keys = section.model_dump(include={"candidates", "chosen", "draws"})
        model = load(work.at(concepts), lm.device)
        return explain_gap(lm, layer, model, task, seed=seed, progress=work.progress, **keys)

    settings = {
        **base.identity,
        "layer": layer,
        "task": task.settings,
        **section.model_dump(exclude={"gap", "limit"}),
    }
    return Stage("explain", concepts.label, make, settings, seed, VERSION, {"concepts": concepts}, seconds=20)
