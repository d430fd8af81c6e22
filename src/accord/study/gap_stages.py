"""The stages of a study: each turns a section of the study file into one folder of results."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.study.sections import Backbone, GapSection
from accord.study.store import Recipe
from accord.tasks import Task

if TYPE_CHECKING:
    from accord.gap import Gap
    from accord.lm import LanguageModel

GAP_VERSION = 1  # raise it when the same settings give other files or numbers

Progress = Callable[[int, int], None]  # takes how much is done, and of how much


@dataclass(frozen=True)
class Stage:
    """A folder of results and how to make it."""

    name: str  # where in the run folder: "gap/hypernymy"
    recipe: Recipe
    build: Callable[[Path, Progress], dict[str, Any]]  # writes into a work folder, going on from what is there


def check_model(model: str) -> None:
    """AccordError unless `model` is in the catalog, is written like a hub id, or is a folder or file that will do."""
    from accord.lm.catalog import CATALOG, resolve

    path = Path(model).expanduser()
    is_gguf = path.suffix.lower() == ".gguf"
    is_hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]*\w", model) is not None and not is_gguf
    would_fetch = model in CATALOG or is_hub_id or (is_gguf and path.is_file())
    if path.is_dir() or not would_fetch:
        resolve(model)


def lazy(backbone: Backbone) -> Callable[[], "LanguageModel"]:
    """A function that loads the weights when first called: stages share them, and a rerun loads none."""

    @cache
    def weights() -> "LanguageModel":
        from accord.lm import load

        return load(backbone.model, device=backbone.device, dtype=backbone.dtype)

    return weights


def gap_stage(
    section: GapSection, task: Task, backbone: Backbone, seed: int, weights: Callable[[], "LanguageModel"]
) -> Stage:
    """Measure the gap of the backbone on a task. Fetches the model if it is not on this machine."""
    from accord.lm.catalog import resolve

    settings: dict[str, Any] = {
        "model": Path(backbone.model).name if Path(backbone.model).exists() else backbone.model,
        "weights": resolve(backbone.model).fingerprint,
        # As asked, not as found: results brought from a machine with a GPU to one without stay up to date.
        "device": backbone.device.partition(":")[0],
        "dtype": backbone.dtype,
        "task": task.settings,
        "layers": section.layers,
        "resamples": section.resamples,
    }

    def build(work: Path, progress: Progress) -> dict[str, Any]:
        from accord.report.figures import write_figures

        lm = weights()
        found = {"device": lm.device.type, "dtype": str(lm.dtype).removeprefix("torch.")}
        # Named by what "auto" turned out to be, so that parts of two machines are never mixed.
        parts = work / f"parts-{'-'.join(found.values())}"
        gap = measure(lm, section, task, seed, progress, parts)
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
    seed: int,
    progress: Progress,
    parts: Path | None = None,
) -> "Gap":
    """The gap as a section asks for it."""
    from accord.gap import measure_gap

    progress(0, len(task.items))
    return measure_gap(
        lm,
        task,
        layers=section.layers,
        seed=seed,
        resamples=section.resamples,
        parts=parts,
        progress=progress,
    )
