"""Stages that try repairs: the base's answers to every trial once, then each repaired model's beside them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.disk import write_whole
from accord.repair.verdict import Trial, judge, read_scores, score_tests, trials_of, write_scores
from accord.study.config import StudyFile
from accord.study.sections import GapSection
from accord.study.stage import Progress, Run, Stage, found_by
from accord.study.store import Recipe, read_manifest
from accord.study.validate import task_in
from accord.study.verdict_sections import VerdictSection
from accord.tasks import Task

VERDICT_VERSION = 2  # raise it when the same settings give other files or numbers


def trials(file: StudyFile, section: VerdictSection, question: GapSection) -> list[Trial]:
    """The test sets of a question. Raises AccordError as `accord.task` does."""

    def make(**keys: Any) -> Task:
        return task_in(file, question.model_copy(update=keys))

    usual = make()
    return trials_of(
        make,
        nested=usual.nested,
        phrasings=usual.rewordings if section.phrasings else {},
        limit=section.limit,
        phrasing_limit=section.phrasing_limit,
        others={Path(name).stem: make(task=name, data=None, limit=section.limit) for name in section.tasks},
    )


def base_answers_stage(run: Run, question: GapSection, asked: Sequence[Trial], seed: int) -> Stage:
    """The backbone's scores on every trial of a question."""
    settings = {**run.identity(), "trials": {trial.name: trial.task.settings for trial in asked}}

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        return _answer(run.lm(), work, asked, progress)

    return Stage(f"verdict/base-{question.folder}", Recipe("answers", VERDICT_VERSION, settings, seed), build)


def verdict_stage(run: Run, section: VerdictSection, asked: Sequence[Trial], base: Stage, repair: Stage) -> Stage:
    """A repaired model's scores on the trials of its question, compared with the base's."""
    settings = {
        "inputs": [base.recipe.fingerprint, repair.recipe.fingerprint],
        "titles": {trial.name: trial.title for trial in asked},
        "resamples": section.resamples,
    }
    seed = repair.recipe.seed

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.repaired(repair)
        found = _answer(lm, work, asked, progress)
        before = read_scores(asked, run.at(base.name))
        verdict = judge(before, read_scores(asked, work), asked, seed=seed, resamples=section.resamples)
        verdict.write(work)
        made = read_manifest(run.at(repair.name))
        about = {"base": base.name.partition("/")[2], "seconds": made and made["facts"].get("seconds")}
        _add(work / "verdict.json", {**repair.recipe.settings["about"], **about})
        return found

    return Stage(
        repair.name.replace("repair/", "verdict/", 1), Recipe("verdict", VERDICT_VERSION, settings, seed), build
    )


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
