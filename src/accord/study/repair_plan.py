"""The stages of a study's repairs: the repaired models, the verdict on each, what it cost, and its pathway."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from accord.damage.config import DamageSection
from accord.gap.config import GapSection
from accord.repair.config import RepairSection
from accord.repair.learned import marks
from accord.study.config import StudyFile
from accord.study.damage_stages import BASE, Asked, base_stage, damage_stage
from accord.study.pathway_stages import pathway_stage, questions
from accord.study.repair_stages import repair_stage
from accord.study.stage import Run, Stage
from accord.study.validate import task_in
from accord.study.verdict_stages import base_answers_stage, trials, verdict_stage
from accord.tasks import Task
from accord.text import corpus
from accord.text.sources import is_local, source_fingerprint
from accord.verdict.config import VerdictSection
from accord.verdict.measure import NEAREST, Trial

ConceptsAt = Callable[[str], tuple[Stage, int]]
"""The stage that makes the concept model of a name, of the first seed, and its layer's number."""


class RepairPlan:
    """Repairs crossed with seeds; the base's answers and observations are made once."""

    def __init__(self, file: StudyFile, run: Run, concepts: ConceptsAt) -> None:
        self.file, self.study, self.run, self.concepts = file, file.study, run, concepts
        self.seed = self.study.seeds[0]  # of the split, the items and the texts: all repairs are tried on the same

    def stages(self) -> Iterator[Stage]:
        """In the order they run."""
        yield from self._repairs.values()
        verdicts = {}
        for (title, seed), repaired in self._repairs.items():
            question = self._section(title).question
            base = self._base_answers[question.folder]
            if base.name not in verdicts:
                verdicts[base.name] = base
                yield base
            verdict = verdict_stage(self.run, self._verdict, self._trials[question.folder], base, repaired)
            verdicts[f"{title}-s{seed}"] = verdict
            yield verdict
        if self.study.damage is not None:
            yield from self._damages(verdicts)
        yield from self._pathways()

    @cached_property
    def _repairs(self) -> dict[tuple[str, int], Stage]:
        """Every repair and seed; those that go on from another come after it."""
        made: dict[tuple[str, int], Stage] = {}
        for section in sorted(self.study.repair, key=lambda one: one.after is not None):
            for seed in self.study.seeds:
                after = None if section.after is None else made[section.after, seed]
                concepts = self.concepts(section.model) if section.edits_concepts else None
                task = self._training[section.title]
                made[section.title, seed] = repair_stage(
                    self.run, section, task, seed, after=after, concepts=concepts, texts=self._texts
                )
        return made

    @property
    def _texts(self) -> tuple[dict[str, Any], Callable[[], list[str]]]:
        """The texts that repairs leave as they are: the side of `[damage]`'s that is not held out."""
        section = damage_of(self.file)
        keys = {"column": section.column, "held_out": section.held_out, "seed": self.seed}
        about = {"source": source_fingerprint(section.texts), **keys}
        return about, lambda: corpus(section.texts, **keys).train  # type: ignore[arg-type]

    @property
    def _verdict(self) -> VerdictSection:
        return self.study.verdict or VerdictSection()

    @cached_property
    def _training(self) -> dict[str, Task]:
        return {section.title: training_items(self.file, section) for section in self.study.repair}

    @cached_property
    def _trials(self) -> dict[str, list[Trial]]:
        return all_trials(self.file, self._training)

    @cached_property
    def _base_answers(self) -> dict[str, Stage]:
        asked = {section.question.folder: section.question for section in self.study.repair}
        return {
            folder: base_answers_stage(self.run, question, self._trials[folder], self.seed)
            for folder, question in asked.items()
        }

    def _section(self, title: str) -> RepairSection:
        return next(section for section in self.study.all(RepairSection) if section.title == title)

    def _damages(self, verdicts: dict[str, Stage]) -> Iterator[Stage]:
        """One observation of the base for every question, then each repaired model beside that of its own."""
        bases: dict[str, tuple[Asked, Stage]] = {}
        for (title, seed), repaired in self._repairs.items():
            folder = self._section(title).question.folder
            if folder not in bases:
                asked = self._damage_asked(folder)
                bases[folder] = asked, base_stage(self.run, asked, name=f"{BASE}-{folder}" if bases else BASE)
                yield bases[folder][1]
            known = self._scores(verdicts[f"{title}-s{seed}"])
            yield damage_stage(self.run, *bases[folder], repaired, scores=known)

    def _damage_asked(self, folder: str) -> Asked:
        own = self._trials[folder][0].task
        learned = learned_for(self.study.repair, self._training, folder)
        return Asked.of(damage_of(self.file), own, self.run.backbone, self.seed, learned)

    def _scores(self, verdict: Stage) -> Callable[[], pd.DataFrame]:
        return lambda: pd.read_parquet(self.run.at(verdict.name) / f"{NEAREST}.parquet")

    def _pathways(self) -> Iterator[Stage]:
        section = self.study.pathway
        if section is None:
            return
        concepts = None
        if section.concepts is not None:
            stage, layer = self.concepts(section.concepts)
            concepts = (layer, stage)
        for title in section.repairs or [self.study.repair[0].title]:
            question = self._section(title).question
            learned = learned_for(self.study.repair, self._training, question.folder)
            asked = questions(
                section, lambda question=question, **keys: _asked(self.file, question, keys), learned=learned
            )
            asked = asked.read_by(self.run.backbone)
            yield pathway_stage(self.run, section, asked, self._repairs[title, self.seed], concepts)


def training_items(file: StudyFile, section: RepairSection) -> Task:
    """What a repair learns from: the training side that the verdict's trials share nothing with but what they say."""
    usual = task_in(file, section.question)
    kind = "nested" if usual.nested else "random"
    return _asked(file, section.question, {"split": "train", "split_kind": kind, "limit": section.limit})


def learned_for(repairs: Sequence[RepairSection], training: Mapping[str, Task], folder: str) -> frozenset[str]:
    """Marks of all that the repairs of a question learned from, and those that they go on from.

    Args:
        training: training items of every repair, by its title.
        folder: of the question.
    """
    here = [one for one in repairs if one.question.folder == folder]
    titles = {title for one in here for title in (one.title, one.after) if title is not None and title in training}
    return frozenset().union(*(marks(training[title]) for title in titles))


def all_trials(file: StudyFile, training: Mapping[str, Task]) -> dict[str, list[Trial]]:
    """The test sets of every question that repairs are made for, by its folder. Raises AccordError as `trials` does."""
    repairs, section = file.study.repair, file.study.verdict or VerdictSection()
    trained = {one.question.folder: training[one.title] for one in repairs}
    return {
        question.folder: trials(file, section, question, trained, learned_for(repairs, training, question.folder))
        for question in {one.question.folder: one.question for one in repairs}.values()
    }


def damage_of(file: StudyFile) -> DamageSection:
    """The [damage] section or its defaults, with paths taken relative to the study file."""
    section = file.study.damage or DamageSection()
    paths: dict[str, Any] = {}
    if is_local(str(file.beside(section.texts))):
        paths["texts"] = str(file.beside(section.texts))
    if section.judge is not None and file.beside(section.judge).exists():
        paths["judge"] = str(file.beside(section.judge).absolute())
    paths["tasks"] = [str(file.beside(name)) if name.endswith(".toml") else name for name in section.tasks]
    return section.model_copy(update=paths)


def _asked(file: StudyFile, question: GapSection, keys: dict[str, Any]) -> Task:
    return task_in(file, question.model_copy(update=keys))
