"""Questions that a repair learns to answer as well, so that it does not say yes to all: tasks other than its own."""

from collections.abc import Iterator, Sequence
from functools import cache

from accord.errors import AccordError
from accord.relations import relation_tasks
from accord.repair.learned import marks
from accord.tasks import Task
from accord.tasks import task as make_task

RELATIONS = "relations"
"""What `keep` calls the built-in relations that no repair is judged on."""


def kept_tasks(names: Sequence[str], seed: int = 0) -> tuple[Task, ...]:
    """The tasks that `keep` names, their training sides.

    Args:
        names: `RELATIONS`, tasks with built-in items, task files.
        seed: of their splits.

    Raises:
        AccordError: no such task, one that is not asked for yes or no, one name twice, or items that repairs are
            judged on.
    """
    tasks = tuple(_tasks(names, seed))
    for i, task in enumerate(tasks):
        task.labels.check_yes_or_no("keep", task.name)
        if task.name in (other.name for other in tasks[:i]):
            raise AccordError("keep names a task twice", got=task.name)
        if shared := marks(task) & _judged():
            raise AccordError(
                "keep names items that repairs are judged on",
                where=task.name,
                got=f"{len(shared)} of {len(task.items)}",
                fix=f'leave them out, or keep = ["{RELATIONS}"]',
            )
    return tasks


def check_apart(task: Task, kept: Sequence[Task]) -> None:
    """AccordError if a kept task has items that a repair trains otherwise: one loss would pull them two ways."""
    own = marks(task)
    for other in kept:
        if shared := marks(other) & own:
            got = f"{len(shared)} of {len(other.items)} items"
            problem = f"keep names items that {task.name} trains"
            raise AccordError(problem, where=other.name, got=got, fix="keep other tasks")


def _tasks(names: Sequence[str], seed: int) -> Iterator[Task]:
    for name in names:
        if name == RELATIONS:
            yield from relation_tasks("learned")
        else:
            yield make_task(name, split="train", seed=seed)


@cache
def _judged() -> frozenset[str]:
    """Marks of everything that repairs are judged on."""
    return frozenset().union(*(marks(task) for task in relation_tasks("judged")))
