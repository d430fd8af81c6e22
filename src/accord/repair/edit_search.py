"""Choosing among edits that must be run to be judged: on held-out items, and on texts that none was fitted to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.lm.edited import StateEdit, Steered
from accord.lm.model import LanguageModel
from accord.lm.perplexity import perplexity
from accord.progress import Progress
from accord.repair.evidence import Evidence, validator_logodds
from accord.repair.fitted import Fitted, best_within
from accord.tasks import Task

Candidate = tuple[Mapping[str, Any], Sequence[StateEdit]]
"""Settings, and the edits that they stand for."""


@dataclass(frozen=True)
class EditSearch:
    """What edits of a model are judged on.

    Attributes:
        evidence: of the task's items.
        items: edits are judged on at most so many of those held out.
        texts: judged by perplexity.
    """

    lm: LanguageModel
    task: Task
    evidence: Evidence
    items: int
    texts: Sequence[str]

    def choose(self, candidates: Iterable[Candidate], budget: float, progress: Progress | None = None) -> Fitted:
        """The candidate with the highest held-out `agreement` within the budget of perplexity; nothing is refitted.

        The model as it is stands among them (`changed` False), so that a repair that helps nothing changes nothing.
        """
        cases = [({"changed": False}, ()), *(({"changed": True, **settings}, edits) for settings, edits in candidates)]
        tried = []
        for i, (settings, edits) in enumerate(cases):
            tried.append({**settings, **self._judged(edits)})
            if progress:
                progress(i + 1, len(cases))
        best, table = best_within(tried, budget)
        return Fitted(list(cases[best][1]), tried[best], table)

    def _judged(self, edits: Sequence[StateEdit]) -> dict[str, float]:
        model = Steered(self.lm, edits) if edits else self.lm
        validator = self.evidence.validator.copy()
        validator[self._items] = validator_logodds(model, self.task, [self.task.items[i] for i in self._items])
        where = np.isin(np.arange(len(validator)), self._items)
        ratio = perplexity(model, self.texts).token_weighted / self._base
        return {**self.evidence.judge(validator, where), "perplexity_ratio": float(ratio)}

    @cached_property
    def _items(self) -> NDArray[np.int64]:
        """The items to judge on: half of them held out in groups where there are such, the others by themselves."""
        grouped = np.flatnonzero(self.evidence.held == 2)[: self.items // 2]
        alone = np.flatnonzero(self.evidence.held == 1)[: self.items - len(grouped)]
        return np.sort(np.concatenate([alone, grouped]))

    @cached_property
    def _base(self) -> float:
        return perplexity(self.lm, self.texts).token_weighted
