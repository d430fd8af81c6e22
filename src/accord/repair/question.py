"""The question that a repair was made for, so that it is judged on the same question and on items it never saw."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.repair.folder import DESCRIPTION, MERGED, base_of, is_repaired
from accord.tasks import Task


def asked_as(
    folder: Path | str, usual: Task, *, seed: int | None = None, split_kind: str | None = None
) -> dict[str, Any]:
    """Keys of `accord.task` that ask a task as the repair in `folder` did: seed and kind of the split, and the forms.

    Where the folder does not tell (merged weights), or is of another task or other data, seed and kind are those
    given, or else what `accord repair` takes, and the forms are left open.

    Args:
        usual: the task, of any split.
        seed, split_kind: of the split; None for the repair's own.

    Raises:
        AccordError: the repair learned from items that would be tested.
    """
    usually = "nested" if usual.nested else "random"
    asked: dict[str, Any] = {"seed": seed or 0, "split_kind": split_kind or usually}
    learned = _learned(folder)
    _same_items(folder, learned)
    if any(learned.get(key) != usual.settings[key] for key in ("name", "data_sha256")):
        return asked
    if learned["split"] != "train":
        fix = "repair again with --split train"
        raise AccordError("no items are left to judge this repair on", where=folder, got=learned["split"], fix=fix)
    if learned["split_kind"] != "column":  # the data's own split, which nothing moves
        given = {"seed": seed, "split_kind": split_kind}
        for key, value in given.items():
            if value is not None and value != learned[key]:
                raise AccordError(
                    "this repair learned from items that would be tested",
                    where=folder,
                    got=f"{key.replace('_', ' ')} {value}",
                    wanted=f"{learned[key]}, as the repair had it",
                    fix=f"leave that out, or repair again with --{key.replace('_', '-')} {value}",
                )
        asked = {key: learned[key] for key in given}
    forms = {
        f"{form}_{key}": learned[form][key] for form in ("generator", "validator") for key in ("shots", "phrasing")
    }
    return {**asked, **forms, "chat": learned["chat"]}


def split_seed(folder: Path | str) -> int:
    """The seed that divided the repair's items, and ordinary texts, into those it learned from and others; else 0."""
    return int(_learned(folder).get("seed", 0))


def _same_items(folder: Path | str, learned: Mapping[str, Any]) -> None:
    """AccordError if a repair that this one goes on from learned from other items of the same data."""
    before = Path(folder)
    while is_repaired(before):
        before = Path(base_of(before))
        earlier = _learned(before)
        keys = ("name", "data_sha256")
        divided = ("seed", "split_kind", "split")
        if earlier and all(earlier.get(key) == learned.get(key) for key in keys):
            for key in divided:
                if earlier.get(key) != learned.get(key):
                    raise AccordError(
                        "the repair that this one goes on from learned from other items, which would be tested",
                        where=before,
                        got=f"{key.replace('_', ' ')} {earlier.get(key)}",
                        wanted=str(learned.get(key)),
                        fix=f"make both with the same --{key.replace('_', '-')}",
                    )


def _learned(folder: Path | str) -> Mapping[str, Any]:
    """Settings of the training items, if the folder tells; merged weights tell those of their adapter."""
    for name, inside in ((DESCRIPTION, "about"), (MERGED, None)):
        path = Path(folder) / name
        if path.is_file():
            described = json.loads(path.read_text(encoding="utf-8"))
            found: Mapping[str, Any] = (described if inside is None else described[inside]).get("task") or {}
            return found
    return {}
