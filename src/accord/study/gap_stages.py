"""Stages that measure the gap: of the backbone, or of a language model that the study made."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.gap.config import GapSection
from accord.lm.config import BackboneSection
from accord.study.stage import Progress, Run, Stage, found_by, identity, read_by_model
from accord.study.store import Recipe
from accord.tasks import Task

if TYPE_CHECKING:
    from accord.gap import Gap
    from accord.lm import LanguageModel

GAP_VERSION = 2  # raise it when the same settings give other files or numbers


def check_model(model: str) -> None:
    """AccordError unless `model` is in the catalog, is written like a hub id, or is a folder or file that will do."""
    from accord.lm.catalog import CATALOG, adapter_base, is_adapter, resolve
    from accord.loading import is_concept_lm, is_repaired

    path = Path(model).expanduser()
    is_gguf = path.suffix.lower() == ".gguf"
    is_hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]*\w", model) is not None and not is_gguf
    would_fetch = model in CATALOG or is_hub_id or (is_gguf and path.is_file())
    made_here = is_concept_lm(path) or is_repaired(path)
    if is_adapter(path) and not made_here:
        base = adapter_base(path)
        if Path(base) != path.resolve():
            check_model(base)
        return
    if (path.is_dir() and not made_here) or not (would_fetch or path.is_dir()):
        resolve(model)


def gap_stage(
    section: GapSection, task: Task, backbone: BackboneSection, seed: int, weights: Callable[[], "LanguageModel"]
) -> Stage:
    """Measure the gap of a model on a task. Fetches the model if it is not on this machine."""
    return _stage(section, read_by_model(task, backbone), identity(backbone), seed, weights)


def row_gap_stage(section: GapSection, task: Task, run: Run, model: Stage, seed: int) -> Stage:
    """Measure the gap of a row that the stage `model` makes."""

    def weights() -> "LanguageModel":
        from accord.heads import load_concept_lm

        return load_concept_lm(run.at(model.name), backbone=run.lm())

    asked = {**run.identity(), "model": model.name.partition("/")[2], "weights": model.recipe.fingerprint}
    return _stage(section, read_by_model(task, run.backbone), asked, seed, weights)


def _stage(
    section: GapSection, task: Task, asked: dict[str, Any], seed: int, weights: Callable[[], "LanguageModel"]
) -> Stage:
    settings = {**asked, "task": task.settings, "layers": section.layers}

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        from accord.report.figures import write_figures

        lm = weights()
        found = found_by(lm)
        # Named by what "auto" turned out to be, so that parts of two machines are never mixed.
        parts = work / f"parts-{'-'.join(found.values())}"
        gap = measure(lm, section, task, progress, parts)
        gap.write(work)
        write_figures(work)
        for left in work.glob("parts-*"):
            shutil.rmtree(left)
        return found

    return Stage(f"gap/{section.folder}", Recipe("gap", GAP_VERSION, settings, seed), build)


def measure(
    lm: "LanguageModel",
    section: GapSection,
    task: Task,
    progress: Progress,
    parts: Path | None = None,
) -> "Gap":
    """The gap as a section asks for it."""
    from accord.gap import measure_gap

    progress(0, len(task.items))
    return measure_gap(lm, task, layers=section.layers, parts=parts, progress=progress)
