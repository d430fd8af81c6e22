"""Stages that try repairs: the base's answers to every trial once, then each repaired model's beside them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accord.lm.config import BackboneSection
from accord.repair.config import RepairSection
from accord.repair.learned import same_data, unlearned
from accord.repair.stage import RepairNode, learned_for, need_repairs, repairs, training_items
from accord.study.manifest import read_manifest
from accord.study.plan import Plan, identity, planned_once, read_by_model
from accord.study.stage import Stage
from accord.study.work import Work
from accord.tasks import Task
from accord.tasks.config import QuestionSection
from accord.verdict.config import VerdictSection
from accord.verdict.measure import Trial, judge, score_trials, trials_of
from accord.verdict.result import Answers, Verdict

VERSION = 5  # raise it when the same settings give other files or numbers


def stages(plan: Plan) -> Iterator[Stage]:
    """The base's answers to each question, and a verdict on every repair."""
    if plan.the(VerdictSection) is not None:
        need_repairs(plan, "verdict")
    seen: set[str] = set()
    for _, stage in verdicts(plan):
        base = stage.inputs["base"]
        if base.name not in seen:
            seen.add(base.name)
            yield base
        yield stage


@planned_once
def question_trials(plan: Plan) -> dict[str, list[Trial]]:
    """The trials of every question that repairs are made for, by its folder.

    If a repair of the study trains on one of the other tasks, that task is divided as for training.
    """
    section, by_question = plan.the(VerdictSection) or VerdictSection(), {}
    training, repaired = training_items(plan), plan.all(RepairSection)
    if not repaired or len(training) < len(repaired):
        return {}  # the reason is among the plan's problems already
    place = ("verdict",) if plan.the(VerdictSection) else ("repair", 0)
    with plan.at(*place, section=section):
        for question in {repair.folder: repair for repair in repaired}.values():
            by_question[question.folder] = _trials(plan, section, question, [*training.values()])
    return by_question


def _trials(plan: Plan, section: VerdictSection, question: RepairSection, training: Sequence[Task]) -> list[Trial]:
    learned = learned_for(plan, question.folder)
    usual = plan.task(question)
    others = {}
    for name in section.tasks:
        alone = QuestionSection(task=name)  # in its own wording: the question's may be unknown to it
        other = plan.task(alone)
        if not same_data(other, usual):
            kinds = [task.settings["split_kind"] for task in training if same_data(other, task)]
            kind = next((kind for kind in kinds if kind != "column"), "random")
            others[Path(name).stem] = unlearned(
                lambda alone=alone, **keys: plan.task(alone, **keys), learned, limit=section.limit, split_kind=kind
            )
    return trials_of(
        lambda **keys: plan.task(question, **keys),
        split_kind=usual.usual_split_kind,
        phrasings=usual.rewordings if section.phrasings else {},
        limit=section.limit,
        phrasing_limit=section.phrasing_limit,
        others=others,
        learned=learned,
    )


@planned_once
def answers(plan: Plan) -> dict[str, Stage]:
    """The backbone's scores on every trial of a question, by the question's folder."""
    base = plan.named(plan.backbone)

    def stage(question: str, trials: Sequence[Trial]) -> Stage:
        settings = {**base.identity, "trials": {trial.name: plan.read(trial.task).settings for trial in trials}}

        def make(work: Work) -> Answers:
            scores = score_trials(base.load(work), trials, parts=work.parts, progress=work.progress)
            work.all_parts_made()
            return Answers(scores)

        return Stage("answers", question, make, settings, plan.seed, VERSION, spreads=True, seconds=20)

    return {question: stage(question, trials) for question, trials in question_trials(plan).items()}


@planned_once
def verdicts(plan: Plan) -> list[tuple[RepairNode, Stage]]:
    """Every repair, and the stage of its verdict."""
    known = question_trials(plan)
    return [(node, verdict_stage(plan, node, known[node.section.folder])) for node in repairs(plan) if known]


def verdict_stage(plan: Plan, node: RepairNode, trials: Sequence[Trial]) -> Stage:
    """A repaired model's scores on the trials of its question, compared with the base's."""
    base = answers(plan)[node.section.folder]
    settings = {"titles": {trial.name: trial.title for trial in trials}}

    def make(work: Work) -> Verdict:
        lm = node.load(work, plan.backbone)
        after = score_trials(lm, trials, parts=work.parts, progress=work.progress)
        work.all_parts_made()
        manifest = read_manifest(work.at(node.stage))
        about = {**node.stage.settings["about"], "base": base.label}
        about["seconds"] = manifest and manifest["facts"].get("seconds")
        return judge(Answers.read(work.at(base)).scores, after, trials, about=about)

    inputs = {"base": base, "repair": node.stage}
    return Stage(
        "verdict", node.stage.label, make, settings, node.seed, VERSION, inputs, spreads=True, seconds=15, model=""
    )


def pair_stage(trials: Sequence[Trial], base: BackboneSection, repaired: BackboneSection, seed: int) -> Stage:
    """Compare two models by name or folder, outside any study."""
    settings: dict[str, Any] = {
        "base": identity(base),
        "repaired": identity(repaired),
        "trials": {trial.name: read_by_model(trial.task, base).settings for trial in trials},
        "titles": {trial.name: trial.title for trial in trials},
    }

    def make(work: Work) -> Verdict:
        scores = []
        for side, model in enumerate((base, repaired)):
            report = lambda done, total, side=side: work.progress(side * total + done, 2 * total)  # noqa: E731
            parts = work.parts / ("base", "repaired")[side]
            scores.append(score_trials(work.load(model), trials, parts=parts, progress=report))
        return judge(scores[0], scores[1], trials)

    return Stage("verdict", "", make, settings, seed, VERSION, seconds=15)
