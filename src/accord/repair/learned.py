"""What a repaired model learned from, through every repair and merging that made it: so that none of it is tested."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from accord.disk import read_object
from accord.errors import AccordError
from accord.lm.catalog import adapter_base, is_adapter
from accord.loading import folder_of
from accord.repair.result import DESCRIPTION, MERGED, base_of, is_repaired
from accord.tasks import Item, Task
from accord.tasks.base import capitalised

# 48 bits: of a thousand items learned and a thousand tested, two share a mark by chance once in 10^8 times.
_MARK = 12


@dataclass(frozen=True)
class Link:
    """One repair of those that made a model.

    Attributes:
        where: the folder that says so.
        task: settings of its training items.
        marks: of each of them; empty where a folder was written before they were kept.
    """

    where: Path
    task: Mapping[str, Any]
    marks: frozenset[str]

    def is_of(self, settings: Mapping[str, Any]) -> bool:
        """Whether it learned this task from this very data."""
        return _same(self.task, settings)

    def as_json(self) -> dict[str, Any]:
        """What merged weights keep of it."""
        return {"task": dict(self.task), "learned": marks_as_text(self.marks)}


def same_data(task: Task, other: Task) -> bool:
    """Whether two tasks are the same, of the same data; their splits and phrasings aside."""
    return _same(task.settings, other.settings)


def _same(settings: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(settings.get(key) == other.get(key) for key in ("name", "data_sha256"))


def marks(task: Task) -> frozenset[str]:
    """A short hash of each item: what its two forms ask and the answer, whatever the file, phrasing or row order."""
    return frozenset(_mark(task, item) for item in task.items)


def _mark(task: Task, item: Item) -> str:
    names = {*task.generator.template.names, *task.validator.template.names}
    words = sorted({item.fields[capitalised(name, item.fields) or name].casefold() for name in names})
    return sha256(json.dumps([words, item.answer.casefold()]).encode()).hexdigest()[:_MARK]


def marks_as_text(marks: Iterable[str]) -> str:
    """Marks as one text of a JSON file.

    >>> marks_as_text({"b2", "a1"})
    'a1 b2'
    """
    return " ".join(sorted(marks))


def links(folder: Path | str) -> list[Link]:
    """The repairs that made a model, the newest first; none of a model that no repair made.

    Raises AccordError if a base that a repair names is gone.
    """
    return list(_links(folder_of(folder)))


def _links(folder: Path) -> Iterator[Link]:
    if is_repaired(folder):
        about = read_object(folder / DESCRIPTION, "about")["about"]
        yield from _described(folder, [about])
        yield from _links(folder_of(base_of(folder)))
    elif (folder / MERGED).is_file():
        merged = read_object(folder / MERGED)
        yield from _described(folder, merged.get("links", [merged]))
        if "links" not in merged and "from" in merged:
            yield from _links(Path(merged["from"]))
    elif is_adapter(folder) and Path(base := adapter_base(folder)) != folder.resolve():
        yield from _links(Path(base))


def _described(folder: Path, descriptions: Iterable[Mapping[str, Any]]) -> Iterator[Link]:
    for description in descriptions:
        if description.get("task"):
            yield Link(folder, description["task"], frozenset(description.get("learned", "").split()))


def all_marks(chain: Iterable[Link]) -> frozenset[str]:
    """Of everything that was learned from."""
    return frozenset().union(*(link.marks for link in chain))


def unlearned(make: Callable[..., Task], learned: frozenset[str], *, limit: int | None = None, **keys: Any) -> Task:
    """A task without the items that were learned from; `settings["left_out"]` counts them where there are any.

    Args:
        make: makes the task with these keys of `accord.task`, and `limit`, in place of its own.

    Raises:
        AccordError: nothing is left to ask; or the test is one of unseen words, which then are not unseen.
    """
    if not learned:
        return make(**keys, limit=limit)
    whole = make(**keys, limit=None)
    items = [item for item in whole.items if _mark(whole, item) not in learned]
    out = len(whole.items) - len(items)
    if out and (whole.split.startswith("test-") or whole.settings["split_kind"].startswith("unseen")):
        raise AccordError(
            "a repair learned from items of a test of unseen words",
            where=whole.name,
            got=f"{out} of {len(whole.items)} items, split {whole.split}",
            fix="judge it on the data it was made with (--data), or make it with the data it is judged on",
        )
    items = items[:limit]
    if out and len({item.gold for item in items}) < len({item.gold for item in whole.items}):
        got = f"{out} of {len(whole.items)} test items were learned from"
        raise AccordError("no items are left to judge a repair on", where=whole.name, got=got)
    settings = {**whole.settings, "limit": limit, "items": len(items), **({"left_out": out} if out else {})}
    return replace(whole, items=tuple(items), settings=settings)


def left_out(task: Task) -> str | None:
    """In words, if anything was left out of a task."""
    out = task.settings.get("left_out")
    return f"without {out} items learned from" if out else None
