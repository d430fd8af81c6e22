"""Stages that measure what repairs cost: a base is observed once, each repaired model is compared with it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from accord.damage import Questions, compare, measure_damage, observe
from accord.damage.config import DamageSection
from accord.errors import AccordError
from accord.lm import LanguageModel
from accord.lm.config import BackboneSection
from accord.loading import load
from accord.repair.learned import unlearned
from accord.study.gap_stages import check_model
from accord.study.stage import Progress, Run, Stage, finish, found_by, identity, keep_if_same, lazy, read_by_model
from accord.study.store import Recipe
from accord.tasks import Task
from accord.tasks import task as make_task
from accord.text import corpus
from accord.text.sources import source_fingerprint

DAMAGE_VERSION = 3  # raise it when the same settings give other files or numbers
BASE = "damage/base"


@dataclass(frozen=True)
class Asked:
    """A `[damage]` section with all that it names.

    Attributes:
        own: the task that was repaired, on items the repair never saw, or None.
        tasks: other tasks.
        judge: the model that reads free texts, or None.
        seed: divides the texts (take the one of `[text]`), and draws the free texts and resamples.
    """

    section: DamageSection
    own: Task | None
    tasks: tuple[Task, ...]
    judge: BackboneSection | None
    seed: int

    @classmethod
    def of(
        cls,
        section: DamageSection,
        own: Task | None,
        backbone: BackboneSection,
        seed: int,
        learned: frozenset[str] = frozenset(),
    ) -> "Asked":
        """Build the other tasks without what was learned from, and check that the judge can be found; loads nothing.

        Args:
            learned: marks of items, see `accord.repair.learned`.
        """
        judge = None
        if section.judge is not None:
            check_model(section.judge)
            judge = backbone.model_copy(update={"model": section.judge})
        tasks = tuple(unlearned(partial(make_task, name, seed=seed), learned, split="all") for name in section.tasks)
        return cls(section, own and read_by_model(own, backbone), tasks, judge, seed)

    def settings(self) -> dict[str, Any]:
        """What fixes the questions; the source of the texts by its fingerprint."""
        return {
            **self.section.model_dump(exclude={"texts", "judge", "tasks", "resamples"}),
            "source": source_fingerprint(self.section.texts),
            "judge": identity(self.judge) if self.judge else None,
            "own": self.own.settings if self.own else None,
            "tasks": [task.settings for task in self.tasks],
        }

    def questions(self) -> Questions:
        """The questions; reads the texts."""
        section = self.section
        found = corpus(section.texts, column=section.column, held_out=section.held_out, seed=self.seed).held_out
        if not found:
            raise AccordError("No text is held out.", where=section.texts, wanted="two texts or more")
        return Questions(
            found[: section.limit],
            self.own,
            self.tasks,
            section.facts,
            section.samples,
            section.new_tokens,
            self.seed,
        )

    def judge_model(self) -> LanguageModel | None:
        """The judge, loaded."""
        return lazy(self.judge)() if self.judge else None


def base_stage(run: Run, asked: Asked, *, name: str = BASE) -> Stage:
    """Observe the base once: what `damage_stage` compares with. Holds parts of an observation, states among them."""
    settings = {**run.identity(), **asked.settings()}

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.weights()
        keep_if_same(work, found := found_by(lm))
        observe(lm, asked.questions(), judge=asked.judge_model(), parts=work, progress=progress)
        finish(work)
        return found

    return Stage(name, Recipe("damage-base", DAMAGE_VERSION, settings, asked.seed), make)


def damage_stage(
    run: Run, asked: Asked, base: Stage, repaired: Stage, *, scores: Callable[[], pd.DataFrame] | None = None
) -> Stage:
    """Compare the model that the stage `repaired` makes with its base, which `base_stage` observed.

    Args:
        scores: reads the repaired model's score table of `asked.own`, where another stage has it already.
    """
    settings = {
        "inputs": [base.recipe.fingerprint, repaired.recipe.fingerprint],
        "resamples": asked.section.resamples,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        first = run.weights()
        lm = load(run.at(repaired.name), device=run.backbone.device, dtype=run.backbone.dtype)
        keep_if_same(work, found := found_by(lm))
        questions, judge = asked.questions(), asked.judge_model()
        before = observe(first, questions, judge=judge, parts=run.at(base.name))
        known = scores() if scores else None
        after = observe(lm, questions, judge=judge, scores=known, parts=work / "parts", progress=progress)
        resamples = asked.section.resamples
        compare(first, before, lm, after, questions, seed=asked.seed, resamples=resamples).write(work)
        finish(work, "parts")
        return found

    name = f"damage/{repaired.name.partition('/')[2]}"
    return Stage(name, Recipe("damage", DAMAGE_VERSION, settings, asked.seed), make)


def pair_stage(asked: Asked, base: BackboneSection, repaired: BackboneSection) -> Stage:
    """Compare two models by name or folder, outside any study."""
    settings = {
        "base": identity(base),
        "repaired": identity(repaired),
        **asked.settings(),
        "resamples": asked.section.resamples,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        first, second = lazy(base)(), lazy(repaired)()
        keep_if_same(work, found := found_by(second))
        questions = asked.questions()
        measure_damage(
            first,
            second,
            texts=questions.texts,
            own=asked.own,
            tasks=asked.tasks,
            facts=questions.facts,
            judge=asked.judge_model(),
            seed=asked.seed,
            resamples=asked.section.resamples,
            samples=questions.samples,
            new_tokens=questions.new_tokens,
            parts=work / "parts",
            progress=progress,
        ).write(work)
        shutil.rmtree(work / "parts")
        finish(work)
        return found

    return Stage("damage", Recipe("damage", DAMAGE_VERSION, settings, asked.seed), make)
