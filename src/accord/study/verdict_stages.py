"""Stages that try repairs: the base's answers to every trial once, then each repaired model's beside them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import write_whole
from accord.gap.config import GapSection
from accord.lm.config import BackboneSection
from accord.repair.learned import same_data, unlearned
from accord.study.config import StudyFile
from accord.study.stage import Progress, Run, Stage, found_by, identity, lazy, read_by_model
from accord.study.store import Recipe, read_manifest
from accord.study.validate import task_in
from accord.tasks import Task
from accord.verdict.config import VerdictSection
from accord.verdict.measure import Trial, judge, read_scores, score_tests, trials_of, write_scores

VERDICT_VERSION = 3  # raise it when the same settings give other files or numbers


def trials(
    file: StudyFile, section: VerdictSection, question: GapSection, trained: Mapping[str, Task], learned: frozenset[str]
) -> list[Trial]:
    """The test sets of a question.

    Args:
        trained: what the study's repairs train on, by the folder of their question: where that is one of the other
            tasks, it is divided as for training. The question's own task is tried already, and is no other one.
        learned: marks of what the repairs of this question learned from.

    Raises AccordError as `accord.verdict.measure.trials_of` does.
    """

    def make(**keys: Any) -> Task:
        return task_in(file, question.model_copy(update=keys))

    usual = make()
    others = {}
    for name in section.tasks:
        alone = GapSection(task=name)  # in its own wording: the question's may be unknown to it
        known = task_in(file, alone)
        if not same_data(known, usual):
            kinds = [task.settings["split_kind"] for task in trained.values() if same_data(known, task)]
            split = {"split_kind": next((kind for kind in kinds if kind != "column"), alone.split_kind)}
            others[Path(name).stem] = unlearned(
                lambda alone=alone, **keys: task_in(file, alone.model_copy(update=keys)),
                learned,
                limit=section.limit,
                **split,
            )
    return trials_of(
        make,
        split_kind="nested" if usual.nested else "random",
        phrasings=usual.rewordings if section.phrasings else {},
        limit=section.limit,
        phrasing_limit=section.phrasing_limit,
        others=others,
        learned=learned,
    )


def base_answers_stage(run: Run, question: GapSection, asked: Sequence[Trial], seed: int) -> Stage:
    """The backbone's scores on every trial of a question."""
    settings = {**run.identity(), "trials": {trial.name: run.settings(trial.task) for trial in asked}}

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        return _answer(run.lm(), work, asked, progress)

    return Stage(f"verdict/base-{question.folder}", Recipe("answers", VERDICT_VERSION, settings, seed), build)


def verdict_stage(run: Run, section: VerdictSection, asked: Sequence[Trial], base: Stage, repair: Stage) -> Stage:
    """A repaired model's scores on the trials of its question, compared with the base's."""
    settings = {
        "inputs": [base.recipe.fingerprint, repair.recipe.fingerprint],
        "titles": {trial.name: trial.title for trial in asked},
    }
    seed = repair.recipe.seed

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.repaired(repair)
        found = _answer(lm, work, asked, progress)
        before = read_scores(asked, run.at(base.name))
        verdict = judge(before, read_scores(asked, work), asked)
        verdict.write(work)
        made = read_manifest(run.at(repair.name))
        about = {"base": base.name.partition("/")[2], "seconds": made and made["facts"].get("seconds")}
        _add(work / "verdict.json", {**repair.recipe.settings["about"], **about})
        return found

    return Stage(
        repair.name.replace("repair/", "verdict/", 1), Recipe("verdict", VERDICT_VERSION, settings, seed), build
    )


def pair_stage(asked: Sequence[Trial], base: BackboneSection, repaired: BackboneSection, seed: int) -> Stage:
    """Compare two models by name or folder, outside any study."""
    settings = {
        "base": identity(base),
        "repaired": identity(repaired),
        "trials": {trial.name: read_by_model(trial.task, base).settings for trial in asked},
        "titles": {trial.name: trial.title for trial in asked},
    }

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        def scores(model: BackboneSection, side: int) -> tuple[dict[str, str], dict[str, pd.DataFrame]]:
            lm = lazy(model)()
            found = found_by(lm)
            parts = work / f"parts-{side}-{'-'.join(found.values())}"  # parts of two machines are never mixed
            told = lambda done, total: progress(side * total + done, 2 * total)  # noqa: E731
            return found, score_tests(lm, asked, parts=parts, progress=told)

        (_, before), (found, after) = scores(base, 0), scores(repaired, 1)
        judge(before, after, asked).write(work)
        for left in work.glob("parts-*"):
            shutil.rmtree(left)
        return found

    return Stage("verdict", Recipe("verdict", VERDICT_VERSION, settings, seed), build)


def _answer(lm: Any, work: Path, asked: Sequence[Trial], progress: Progress) -> dict[str, str]:
    found = found_by(lm)
    parts = work / f"parts-{'-'.join(found.values())}"  # parts of two machines are never mixed
    write_scores(score_tests(lm, asked, parts=parts, progress=progress), work)
    for left in work.glob("parts-*"):
        shutil.rmtree(left)
    return found


def _add(path: Path, about: dict[str, Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    write_whole(path, json.dumps({**about, **content}, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
