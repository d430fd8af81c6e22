"""The workers that are idle: any of them, or one that has a model loaded."""

from collections import defaultdict
from collections.abc import Iterable


class Idle:
    """Workers, each with the models that it has loaded."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[str, ...]] = {}
        self._cold: dict[str, None] = {}
        self._with: dict[str, dict[str, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._models)

    def add(self, worker: str, models: Iterable[str]) -> None:
        """A worker that is not there."""
        self._models[worker] = tuple(models)
        if not self._models[worker]:
            self._cold[worker] = None
        for model in self._models[worker]:
            self._with[model][worker] = None

    def remove(self, worker: str) -> None:
        """A worker that may be there."""
        self._cold.pop(worker, None)
        for model in self._models.pop(worker, ()):
            self._with[model].pop(worker, None)

    def take(self, model: str, but: str = "") -> str:
        """Of those that are there one that has the model; else one that has none, whose models nobody will miss.

        Args:
            but: a worker that is not taken. Empty is returned where there is no other.
        """
        for choice in (self._with.get(model) or {}, self._cold, self._models):
            for worker in choice:
                if worker != but:
                    self.remove(worker)
                    return worker
        return ""
