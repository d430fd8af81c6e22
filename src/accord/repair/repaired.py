"""What commands that judge a repaired model ask and say of it: what it was made from, and what it learned from."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from accord.screen import tell

if TYPE_CHECKING:
    from accord.lm.config import BackboneSection
    from accord.tasks import Task


def before_and_after(repaired: "BackboneSection", base: str | None) -> "tuple[BackboneSection, BackboneSection]":
    """A repaired model after the model that it was made from: `base`, or the model that its folder names.

    Raises AccordError if there is no such model, or the folder names none.
    """
    from accord.loading import check_model
    from accord.repair.result import base_of

    before = repaired.model_copy(update={"model": base or base_of(repaired.model)})
    for section in (before, repaired):
        check_model(section.model)
    return before, repaired


def say_if_unknown(repaired: str) -> None:
    """A remark where nothing tells which items a repaired model learned from: the tests may hold them."""
    from accord.repair.learned import links

    if not links(repaired):
        tell(f"Nothing in {repaired} tells which items it learned from: they may be among the tests.", err=True)


def say_left_out(tasks: "Iterable[Task]") -> None:
    """Which test sets lack items, because a repair learned from them."""
    from accord.repair.learned import left_out

    for task in tasks:
        if left := left_out(task):
            tell(f"{task.name}, {task.split}: {left}", err=True)
