"""The stage that tells the backbone's gap by the concepts of a layer."""

from pathlib import Path
from typing import Any

from accord.concepts import load as load_concepts
from accord.explain.config import ExplainSection
from accord.gap import explain_gap
from accord.study.stage import Progress, Run, Stage, found_by
from accord.study.store import Recipe
from accord.tasks import Task

EXPLAIN_VERSION = 3  # raise it when the same settings give other files or numbers


def explain_stage(
    run: Run, section: ExplainSection, task: Task, concepts: str, layer: int, seed: int, inputs: list[str]
) -> Stage:
    """Explain the gap of a task.

    Args:
        concepts: folder of the concept model in the run folder, "concepts/lcblm-s0", made on `layer`.
        inputs: fingerprints of what the concept model was made by.
    """
    settings = {
        **run.identity(),
        "inputs": inputs,
        "layer": layer,
        "task": run.settings(task),
        **section.model_dump(exclude={"gap", "limit"}),
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.lm()
        model = load_concepts(run.at(concepts), lm.device)
        keys = section.model_dump(include={"candidates", "chosen", "draws"})
        explain_gap(lm, layer, model, task, seed=seed, progress=progress, **keys).write(work)
        return found_by(lm)

    name = concepts.replace("concepts/", "explain/", 1)
    return Stage(name, Recipe("explain", EXPLAIN_VERSION, settings, seed), make)
