"""Stages that measure what repairs cost: a base is observed once, each repaired model is compared with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from accord.damage.config import DamageSection
from accord.damage.result import Damage
from accord.embeddings.ordinary import OrdinaryTexts, ordinary_texts
from accord.lm.config import BackboneSection
from accord.repair.learned import unlearned
from accord.repair.stage import RepairNode, learned_for, need_repairs
from accord.study.plan import Named, Plan, identity
from accord.study.stage import Needs, Stage
from accord.study.work import Work
from accord.tasks import Task
from accord.tasks import task as make_task
from accord.verdict.measure import NEAREST
from accord.verdict.result import Verdict
from accord.verdict.stage import question_trials, verdicts

if TYPE_CHECKING:
    from accord.damage import Questions
    from accord.lm import LanguageModel

_HARNESS = ("harness", "harness_limit")
VERSION = 6  # raise it when the same settings give other files or numbers


@dataclass(frozen=True)
class DamageItems:
    """A `[damage]` section with all that it names.

    Attributes:
        texts: ordinary text.
        own: the task that was repaired, on items the repair never saw, or None.
        tasks: other tasks.
        judge: the model that reads free texts, or None.
        seed: draws the free texts and resamples.
        harness: what fixes the tasks of lm-evaluation-harness, by the key "harness"; empty where there are none: runs
            without them, of earlier versions too, stay up to date.
    """

    section: DamageSection
    texts: OrdinaryTexts
    own: Task | None
    tasks: tuple[Task, ...]
    judge: Named | None
    seed: int
    harness: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """What fixes the questions."""
        return {
            **self.section.model_dump(
                exclude={"texts", "column", "held_out", "judge", "tasks", "resamples", *_HARNESS}
            ),
            "texts": self.texts.settings,
            "judge": self.judge and self.judge.identity,
            "own": self.own and self.own.settings,
            "tasks": [task.settings for task in self.tasks],
            **self.harness,
        }

    def questions(self) -> "Questions":
        """The questions; reads the texts."""
        from accord.damage import Questions

        section, texts = self.section, self.texts.divided().held_out[: self.section.limit]
        counts = section.facts, section.samples, section.new_tokens, self.seed
        return Questions(texts, self.own, self.tasks, *counts, section.harness, section.harness_limit)

    def judge_model(self, work: Work) -> "LanguageModel | None":
        """The judge, loaded."""
        return None if self.judge is None else self.judge.load(work)


def other_tasks(section: DamageSection, learned: frozenset[str], seed: int) -> tuple[Task, ...]:
    """The other tasks without what was learned from."""
    return tuple(unlearned(partial(make_task, name, seed=seed), learned, split="all") for name in section.tasks)


def harness_settings(section: DamageSection) -> dict[str, Any]:
    """What fixes the tasks of lm-evaluation-harness, by the key "harness"; nothing where there are none.

    Raises AccordError if the library or a task is missing.
    """
    if not section.harness:
        return {}
    from accord.harness.tasks import check_tasks, task_settings

    check_tasks(section.harness)
    return {"harness": task_settings(section.harness, section.harness_limit)}


def _fetch(tasks: Sequence[str]) -> None:
    from accord.harness.tasks import load_tasks

    for name in tasks:
        load_tasks(name)


def stages(plan: Plan) -> Iterator[Stage]:
    """An observation of the base for every question, then each repaired model beside that of its own."""
    section = plan.the(DamageSection)
    if section is None:
        return
    with plan.at("damage", section=section):
        need_repairs(plan, "damage")
    tasks = [str(plan.file.beside(name)) if name.endswith(".toml") else name for name in section.tasks]
    harness = [str(plan.file.beside(name)) if name.endswith(".yaml") else name for name in section.harness]
    section = section.model_copy(update={"tasks": tasks, "harness": harness})
    with plan.at("damage", section=section):
        ordinary_texts(plan)
    with plan.at("damage", section=section):
        other_tasks(section, frozenset(), plan.seed)
    with plan.at("damage", section=section):
        done = harness_settings(section)
        judge = None if section.judge is None else plan.named(plan.model(section.judge))
        texts = ordinary_texts(plan)
        seen: dict[str, tuple[DamageItems, Stage]] = {}
        for node, verdict in verdicts(plan):
            question = node.section.folder
            if question not in seen:
                own = plan.read(question_trials(plan)[question][0].task)
                others = other_tasks(section, learned_for(plan, question), plan.seed)
                items = DamageItems(section, texts, own, others, judge, plan.seed, done)
                seen[question] = items, observation_stage(plan, items, question)
                yield seen[question][1]
            yield damage_stage(plan, *seen[question], node, verdict)


def observation_stage(plan: Plan, items: DamageItems, question: str) -> Stage:
    """Observe the base once: what each repaired model is compared with. Holds parts of it, states among them."""
    base = plan.named(plan.backbone)

    def make(work: Work) -> None:
        from accord.damage import observe

        lm = base.load(work)
        observe(lm, items.questions(), judge=items.judge_model(work), parts=work.folder, progress=work.progress)
        work.all_parts_made()

    settings = {**base.identity, **items.settings()}
    reach = partial(_fetch, items.section.harness) if items.harness else None
    return Stage("observation", question, make, settings, items.seed, VERSION, reach=reach, spreads=True, seconds=12)


def damage_stage(plan: Plan, items: DamageItems, base: Stage, node: RepairNode, verdict: Stage) -> Stage:
    """Compare a repaired model with its base, as it was observed; its answers to its own task are the verdict's."""

    def make(work: Work) -> Damage:
        from accord.damage import compare, observe

        first, lm = plan.named(plan.backbone).load(work), node.load(work, plan.backbone)
        questions, judge = items.questions(), items.judge_model(work)
        before = observe(first, questions, judge=judge, parts=work.at(base))
        scores = Verdict.read(work.at(verdict)).after[NEAREST]
        after = observe(lm, questions, judge=judge, scores=scores, parts=work.parts, progress=work.progress)
        work.all_parts_made()
        return compare(first, before, lm, after, questions, seed=items.seed, resamples=items.section.resamples)

    inputs = {"base": base, "repair": node.stage, "verdict": verdict}
    settings = {"resamples": items.section.resamples}

    def needs() -> Needs:  # the base and, apart from it, what was made of it
        judge = [] if items.judge is None else [items.judge.section]
        return Needs(plan.weights(plan.backbone) + plan.weights(plan.backbone, *judge))

    return Stage(
        "damage", node.stage.label, make, settings, items.seed, VERSION, inputs, needs, spreads=True, seconds=10
    )


def pair_stage(items: DamageItems, base: BackboneSection, repaired: BackboneSection) -> Stage:
    """Compare two models by name or folder, outside any study."""
    settings = {
        "base": identity(base),
        "repaired": identity(repaired),
        **items.settings(),
        "resamples": items.section.resamples,
    }

    def make(work: Work) -> Damage:
        from accord.damage import measure_damage

        first, second = work.load(base), work.load(repaired)
        questions = items.questions()
        return measure_damage(
            first,
            second,
            texts=questions.texts,
            own=items.own,
            tasks=items.tasks,
            facts=questions.facts,
            judge=items.judge_model(work),
            seed=items.seed,
            resamples=items.section.resamples,
            samples=questions.samples,
            new_tokens=questions.new_tokens,
            harness=questions.harness,
            harness_limit=questions.harness_limit,
            parts=work.parts,
            progress=work.progress,
        )

    return Stage("damage", "", make, settings, items.seed, VERSION, seconds=10)
