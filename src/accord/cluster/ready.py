"""The stages that are ready: the one on the longest path, of all or of those for a model."""

from collections import defaultdict
from collections.abc import Mapping
from heapq import heappop, heappush


class Ready:
    """Names, each with a model; the first is the one with the longest path.

    What was removed stays in the heaps until it comes to the top of one, so each name is handled a fixed number of
    times.
    """

    def __init__(self, path_seconds: Mapping[str, float]) -> None:
        """`path_seconds`: name -> of the longest path that begins with it."""
        self._path_seconds = path_seconds
        self._there: set[str] = set()
        self._all: list[tuple[float, str]] = []
        self._of: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._there)

    def add(self, name: str, model: str) -> None:
        """A name that is not there."""
        self._there.add(name)
        for heap in (self._all, self._of[model]):
            heappush(heap, (-self._path_seconds[name], name))

    def first(self, model: str | None = None) -> str:
        """The one with the longest path, of a model; empty where there is none."""
        heap = self._all if model is None else self._of.get(model, [])
        while heap and heap[0][1] not in self._there:
            heappop(heap)
        return heap[0][1] if heap else ""

    def remove(self, name: str, model: str) -> None:
        """A name that is there, of this model."""
        self._there.remove(name)
        self.first()
        if not self.first(model):
            self._of.pop(model)
