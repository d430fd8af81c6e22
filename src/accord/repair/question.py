"""The question that a repair was made for, so that it is judged on the same question and on items it never saw."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.repair.learned import Link, all_marks, links, unlearned
from accord.tasks import Task, task

_DIVIDED = ("seed", "split_kind", "split")


def asked_as(
    folder: Path | str, usual: Task, *, seed: int | None = None, split_kind: str | None = None
) -> dict[str, Any]:
    """Keys of `accord.task` that ask a task as the repair in `folder` did: seed and kind of the split, and the forms.

    If neither it nor a repair that it goes on from is of this task and data, seed and kind are those given, or else
    what `accord repair` takes by default, and no keys of the forms are returned; leave out what they learned from
    (`accord.repair.learned.unlearned`).

    Args:
        usual: the task, of any split.
        seed, split_kind: of the split; None for the repair's own.

    Raises:
        AccordError: the repair learned from items that would be tested.
    """
    chain = [link for link in links(folder) if link.is_of(usual.settings)]
    if not chain:
        return {"seed": seed or 0, "split_kind": split_kind or usual.usual_split_kind}
    learned = chain[0].task
    _same_items(chain[1:], learned)
    if learned["split"] != "train":
        fix = "repair again with --split train"
        raise AccordError("no items are left to judge this repair on", where=folder, got=learned["split"], fix=fix)
    split_keys: dict[str, Any] = {"seed": seed or 0, "split_kind": split_kind or usual.usual_split_kind}
    if learned["split_kind"] != "column":  # the data's own split, which nothing moves
        options = {"seed": seed, "split_kind": split_kind}
        for key, value in options.items():
            if value is not None and value != learned[key]:
                raise AccordError(
                    "this repair learned from items that would be tested",
                    where=folder,
                    got=f"{key.replace('_', ' ')} {value}",
                    wanted=f"{learned[key]}, as the repair had it",
                    fix=f"leave that out, or repair again with --{key.replace('_', '-')} {value}",
                )
        split_keys = {key: learned[key] for key in options}
    forms = {
        f"{form}_{key}": learned[form][key] for form in ("generator", "validator") for key in ("shots", "phrasing")
    }
    score = {"answer_score": learned["answer_score"]} if "answer_score" in learned else {}  # older folders lack it
    return {**split_keys, **forms, **score, **_chat(learned["chat"])}


def _chat(recorded: bool | Mapping[str, Any]) -> dict[str, Any]:
    """Keys of `accord.task` that ask in a chat as it was recorded."""
    if isinstance(recorded, bool):  # written before a chat had turns
        return {"chat": recorded, **({"chat_turns": False} if recorded else {})}
    return {
        "chat": True,
        "system": recorded["system"],
        **{f"chat_{key}": recorded[key] for key in ("options", "turns")},
    }


def other_task(folder: Path | str, name: str, limit: int | None) -> Task:
    """Test items of another task than that of the repair in `folder`, in their own phrasing.

    If a repair that this one goes on from was of that task, the task is divided as it was there.

    Raises AccordError as `accord.task`, `asked_as` and `accord.repair.learned.unlearned` do.
    """
    keys = asked_as(folder, task(name, split="all"))
    divided = {"split": "test", "seed": keys["seed"], "split_kind": keys["split_kind"]}
    return unlearned(partial(task, name), all_marks(links(folder)), limit=limit, **divided)


def check_goes_on(base: Path | str, learning: Task) -> None:
    """AccordError if a repair that made `base` learned the same task from other items: nothing could judge both."""
    _same_items([link for link in links(base) if link.is_of(learning.settings)], learning.settings)


def split_seed(folder: Path | str) -> int:
    """The seed that divided the repair's items, and ordinary texts, into those it learned from and others; else 0."""
    return next((int(link.task.get("seed", 0)) for link in links(folder)), 0)


def _same_items(earlier: Sequence[Link], learned: Mapping[str, Any]) -> None:
    """AccordError if a repair that another goes on from learned from other items of the same data."""
    for link in earlier:
        # Where a column of the data divides it, the seed does not matter.
        for key in _DIVIDED[1:] if learned["split_kind"] == "column" else _DIVIDED:
            if link.task.get(key) != learned.get(key):
                raise AccordError(
                    "the repair that this one goes on from learned from other items, which would be tested",
                    where=link.where,
                    got=f"{key.replace('_', ' ')} {link.task.get(key)}",
                    wanted=str(learned.get(key)),
                    fix=f"make both with the same --{key.replace('_', '-')}",
                )
