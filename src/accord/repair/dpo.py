"""Direct preference optimisation (Rafailov et al., arXiv 2305.18290) with preferences from the other form's ranking."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median
from typing import Any

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import DPO
from accord.repair.method import PairBatch, TaskPairs, drawn, frozen
from accord.repair.scores import Pair, Terms
from accord.tasks import Task


@dataclass(frozen=True)
class Preference:
    """Two continuations of one prompt, and by how much the base model prefers the better one, in nats."""

    better: Pair
    worse: Pair
    reference: float


@dataclass
class Preferring:
    """See `accord.repair.method.Method`."""

    config: DPO
    preferences: list[Preference]
    seed: int
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(cls, config: DPO, lm: LanguageModel, task: Task, seed: int, progress: Progress | None) -> "Preferring":
        """Score what the run will meet under the base model. Raises AccordError where no two answers compete."""
        forms = TaskPairs.of(lm, task)
        couples = (_by_generator if config.direction == "g2v" else _by_validator)(config, forms, seed, progress)
        if not couples:
            raise AccordError(
                "no two answers compete for one generator prompt",
                where=task.name,
                fix='use direction = "g2v", or data with several answers to a question',
            )
        before = frozen(lm, [pair for couple in couples for pair in couple], progress)
        preferences = [Preference(*couple, before[2 * i] - before[2 * i + 1]) for i, couple in enumerate(couples)]
        return cls(config, preferences, seed)

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        """See `Method.batch`."""
        chosen = [self.preferences[i] for i in drawn(len(self.preferences), self.config.batch, step, self.seed)]
        pairs = [preference.better for preference in chosen] + [preference.worse for preference in chosen]

        def loss(scores: Tensor) -> Terms:
            better, worse = torch.split(scores, len(chosen))
            reference = torch.tensor([preference.reference for preference in chosen], device=scores.device)
            return {
                "preferences": torch.nn.functional.softplus(-self.config.beta * (better - worse - reference)).mean()
            }

        return PairBatch(pairs, loss, {"pairs": len(chosen)})


def _some(task: Task, config: DPO, seed: int) -> list[int]:
    """The items that the run can meet; no more need scoring."""
    size = min(len(task.items), config.batch * config.steps)
    return sorted(drawn(len(task.items), size, 0, seed))


def _by_generator(config: DPO, forms: TaskPairs, seed: int, progress: Progress | None) -> list[tuple[Pair, Pair]]:
    """Yes above No where the generator's log-odds are above their median, else No above Yes."""
    items = [forms.task.items[i] for i in _some(forms.task, config, seed)]
    logodds = forms.generator_scores(forms.lm, items, progress).logodds
    middle = median(logodds)
    both = [(forms.validator(item, True), forms.validator(item, False)) for item in items]
    return [(yes, no) if value > middle else (no, yes) for (yes, no), value in zip(both, logodds, strict=True)]


def _by_validator(config: DPO, forms: TaskPairs, seed: int, progress: Progress | None) -> list[tuple[Pair, Pair]]:
    """Of two answers to one generator prompt, the one with the higher validator log-odds above the other."""
    answers: dict[tuple[int, ...], list[int]] = defaultdict(list)
    pairs = [forms.generator(item, forms.counted(config.generated)) for item in forms.task.items]
    for i, pair in enumerate(pairs):
        answers[pair.context].append(i)
    couples = [couple for competing in answers.values() for couple in combinations(competing, 2)]
    couples = [couple for couple in couples if pairs[couple[0]].answer != pairs[couple[1]].answer]
    if not couples:
        return []
    size = min(len(couples), config.batch * config.steps)
    couples = [couples[i] for i in drawn(len(couples), size, 0, seed)]
    met = sorted({i for couple in couples for i in couple})
    odds = dict(zip(met, forms.validator_scores(forms.lm, [forms.task.items[i] for i in met], progress), strict=True))
    return [(pairs[i], pairs[j]) if odds[i] > odds[j] else (pairs[j], pairs[i]) for i, j in couples]
