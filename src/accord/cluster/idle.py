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
        """A worker becomes idle."""
        self._models[worker] = tuple(models)
        if not self._models[worker]:
            self._cold[worker] = None
        for model in self._models[worker]:
            self._with[model][worker] = None

    def remove(self, worker: str) -> None:
        """A worker is no longer idle, if it was."""
        self._cold.pop(worker, None)
        for model in self._models.pop(worker, ()):
            self._with[model].pop(worker, None)

    def take(self, model: str, but: str = "") -> str:
        """A worker that has the model loaded; where none has, one with no model at all, before one with others.

        Args:
            but: a worker that is not taken. Empty is returned where there is no other.
        """
        for choice in (self._with.get(model) or {}, self._cold, self._models):
            for worker in choice:
                if worker != but:
                    self.remove(worker)
                    return worker
        return ""
