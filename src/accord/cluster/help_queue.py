"""The stages under way that idle workers may help with, those first that have fewest helpers."""

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

PAUSE = 5.0
"""Seconds after which help is sent again to a stage with which there was nothing to help."""


@dataclass
class _Helped:
    helpers: int = 0
    not_before: float = 0.0
    entry: int = 0  # the number of its entry in the heap that counts


class HelpQueue:
    """Names of stages; a new entry in the heap takes the place of an older one, which is dropped when it is met."""

    def __init__(self, path_seconds: Mapping[str, float]) -> None:
        """A queue of none.

        Args:
            path_seconds: name -> of the longest path that begins with it; of stages with equally many helpers, the one
                with the longest comes first.
        """
        self._path_seconds = path_seconds
        self._there: dict[str, _Helped] = {}
        self._heap: list[tuple[float, int, float, int, str]] = []
        self._number = 0

    def add(self, name: str) -> None:
        """A stage that is under way now."""
        self._there[name] = _Helped()
        self._push(name)

    def remove(self, name: str) -> None:
        """A stage that is no longer under way."""
        self._there.pop(name, None)

    def take(self, now: float) -> str:
        """The stage that one more worker shall help; empty where there is none now."""
        heap = self._heap
        while heap:
            not_before, _, _, number, name = heap[0]
            of = self._there.get(name)
            if of is None or of.entry != number:
                heappop(heap)
                continue
            if not_before > now:
                return ""
            heappop(heap)
            of.helpers += 1
            self._push(name)
            return name
        return ""

    def leave(self, name: str, now: float | None = None) -> None:
        """A worker no longer helps; `now` is given where there was nothing to do."""
        if (of := self._there.get(name)) is not None:
            of.helpers -= 1
            of.not_before = of.not_before if now is None else now + PAUSE
            self._push(name)

    def _push(self, name: str) -> None:
        of = self._there[name]
        self._number += 1
        of.entry = self._number
        heappush(self._heap, (of.not_before, of.helpers, -self._path_seconds[name], of.entry, name))
