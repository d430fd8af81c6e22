"""The stage that makes a repaired model: a folder that `accord.load` opens, on the backbone or on another repair."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.concepts import load as load_concepts
from accord.repair import repair
from accord.repair.config import RepairSection, repair_config
from accord.study.stage import Progress, Run, Stage, finish, found_by, keep_if_same
from accord.study.store import Recipe, read_manifest
from accord.tasks import Task

REPAIR_VERSION = 1  # raise it when the same settings give other files or numbers


def repair_stage(
    run: Run,
    section: RepairSection,
    task: Task,
    seed: int,
    *,
    after: Stage | None = None,
    concepts: tuple[Stage, int] | None = None,
    texts: tuple[dict[str, Any], Callable[[], list[str]]],
) -> Stage:
    """Repair the backbone, or what another repair made of it, on a task's training items.

    Args:
        after: the repair that this one goes on from.
        concepts: the stage of a concept model and its layer, for the kind that edits one.
        texts: what fixes the ordinary texts that kinds without training leave as they are, and a function that reads
            them.
    """
    config = repair_config(section)
    about = {"repair": section.title, "kind": section.kind, "seed": seed, "task": task.name}
    settings = {
        **run.identity(),
        "inputs": [stage.recipe.fingerprint for stage in (after, concepts and concepts[0]) if stage is not None],
        "about": about,
        "config": config.model_dump(),
        "layer": concepts and concepts[1],
        "task": run.settings(task),
        "texts": None if section.trained else texts[0],
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.weights() if after is None else run.repaired(after)
        keep_if_same(work, found := found_by(lm))
        model = None
        if concepts is not None:
            model = (load_concepts(run.at(concepts[0].name), lm.device), concepts[1])
        seconds = repair(
            lm,
            task,
            config,
            folder=work,
            seed=seed,
            base=run.backbone.model if after is None else str(run.at(after.name)),
            concepts=model,
            texts=None if section.trained else texts[1](),
            progress=progress,
        )
        finish(work)
        return {**found, "seconds": seconds + _before(run, after)}

    return Stage(f"repair/{section.title}-s{seed}", Recipe("repair", REPAIR_VERSION, settings, seed), make)


def _before(run: Run, after: Stage | None) -> float:
    """Seconds that the repair took which this one goes on from: without it, there would be none of this."""
    made = None if after is None else read_manifest(run.at(after.name))
    return float(made["facts"]["seconds"]) if made else 0.0
