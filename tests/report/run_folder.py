"""Run folders for tests of the page: results written by their own types, with the manifests that a study gives them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from accord.study import store
from accord.study.stage import Result, Stage
from accord.study.work import Models, Work


def publish_result(
    run_folder: Path,
    kind: str,
    label: str,
    result: Result | None,
    *,
    settings: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Path:
    """A whole stage of a run folder that holds this result; its folder.

    Args:
        inputs: role -> name of a stage that is there already.
        facts: what only the making could tell.
        files: others that the stage writes: name -> text.
        folder: of the stage, where it is not in the run folder.
    """

    def make(work: Work) -> Result | None:
        work.facts.update(facts or {})
        for name, text in (files or {}).items():
            (work.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (work.folder / name).write_text(text, encoding="utf-8")
        return result

    made_from = {role: store.stage_in(run_folder, name) for role, name in (inputs or {}).items()}
    stage = Stage(kind, label, make, settings or {}, seed, 1, made_from)
    target = folder or run_folder / stage.name
    with mock.patch("os.fsync"):  # most of the time, and no test cuts the power
        store.publish(stage, target, models=Models(), at=lambda other: run_folder / other.name, replace=True)
    return target
