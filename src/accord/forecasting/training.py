"""The items that a forecast is made from: those that a repair would learn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.forecasting.config import FEWEST_ITEMS
from accord.tasks import Task
from accord.tasks import task as make_task


def training_items(name: str | Path | Mapping[str, Any], **keys: Any) -> Task:
    """The items that `accord repair` learns from: the training side, nested where the task has pairs of words.

    Args:
        keys: of `accord.task`.
    """
    whole = make_task(name, **{**keys, "split": "all", "limit": None})
    return make_task(name, **{**keys, "split": "train", "split_kind": whole.usual_split_kind})


def check_task(task: Task, *, negated: bool = False) -> None:
    """AccordError unless a forecast can be made from the items of a task."""
    task.labels.check_yes_or_no("a forecast", task.name)
    if task.split != "train":
        raise AccordError(
            "a forecast is made from training items: those of the test are for judging what was forecast",
            where=task.name,
            got=f"split {task.split!r}",
            fix='split="train"',
        )
    if len(task.items) < FEWEST_ITEMS:
        wanted = f"{FEWEST_ITEMS} or more"
        raise AccordError(
            "too few training items to forecast from", where=task.name, got=len(task.items), wanted=wanted
        )
    if negated:
        task.check_negated("negated")
