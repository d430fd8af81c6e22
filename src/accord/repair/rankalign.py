"""RankAlign: for every pair of items that one form tells apart, the other learns the same order.

Source: Rodriguez, Ding, Erk, Durrett, arXiv 2504.11381. There a step passes single pairs through the model; here all
ordered pairs of a batch are learnt from one pass over its items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.errors import AccordError
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import RankAlign
from accord.repair.method import PairBatch, TaskPairs, drawn, frozen, reached
from accord.repair.scores import Scored, Terms
from accord.tasks import Task

# Pairs of training items that the median difference is taken over: exact enough, and no quadratic table.
_DRAWN_PAIRS = 100_000


@dataclass
class Ranking:
    """One direction: the frozen scores that teach, and what is to learn them; an entry an item that is met."""

    pairs: dict[int, Scored]
    teacher: dict[int, float]
    reference: dict[int, float] | None
    delta: float

    def above(self, items: Sequence[int]) -> Tensor:
        """[i, j]: whether the teacher puts item i above item j by more than delta."""
        teacher = torch.tensor([self.teacher[i] for i in items], dtype=torch.float64)
        return teacher[:, None] - teacher[None, :] > self.delta

    def loss(self, items: Sequence[int], scores: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean of −log σ(s_i − s_j) over pairs [i, j]; 0 where no pair counts."""
        if self.reference is not None:
            scores = scores - torch.tensor([self.reference[i] for i in items], device=scores.device)
        each = torch.nn.functional.softplus(scores[None, :] - scores[:, None])  # [i, j]: −log σ(s_i − s_j)
        weights = weights.to(scores)
        return (weights * each).sum() / weights.sum().clamp_min(1e-12)


@dataclass
class RankAligning:
    """See `accord.repair.method.Method`."""

    config: RankAlign
    gold: Tensor  # [item]
    seed: int
    rankings: dict[str, Ranking]  # g2v, v2g or both
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls, config: RankAlign, lm: LanguageModel, task: Task, seed: int, progress: Progress | None
    ) -> "RankAligning":
        """Score what the run will meet under the base model."""
        forms = TaskPairs.of(lm, task)
        met = reached(len(task.items), config.batch, config.steps, seed)
        items = [task.items[i] for i in met]
        directions = ("g2v", "v2g") if config.direction == "both" else (config.direction,)
        rankings = {}
        for direction in directions:
            if direction == "g2v":
                scores = forms.generator_scores(lm, items, progress)
                teacher = {"task": scores.logodds, "first": scores.first, "answer": scores.total}[config.generated]
                odds = config.score == "logodds"
                pairs: list[Scored] = [forms.validator_logodds(i) if odds else forms.validator(i) for i in items]
            else:
                teacher = forms.validator_scores(lm, items, progress)
                pairs = [forms.generator(item, forms.counted(config.generated)) for item in items]
            before = frozen(lm, pairs, progress) if config.reference else None
            delta = median_difference(teacher, seed) if config.delta == "auto" else config.delta
            rankings[direction] = Ranking(_by(met, pairs), _by(met, teacher), _by(met, before), delta)
        method = cls(config, torch.tensor([item.gold for item in task.items]), seed, rankings)
        method._check(task.name)
        return method

    def _check(self, task: str) -> None:
        """Raises AccordError if a direction has nothing to learn from in any batch."""
        batches = (drawn(len(self.gold), self.config.batch, s, self.seed) for s in range(self.config.steps))
        idle = set(self.rankings)
        for items in batches:
            idle -= {name for name, weights in self._weights(items).items() if weights.any()}
            if not idle:
                return
        name = sorted(idle)[0]
        teacher = self.rankings[name].teacher.values()
        raise AccordError(
            "no two items of a batch differ enough to be ranked",
            where=f"{task}, {name}",
            got=f"delta {self.rankings[name].delta:g}",
            wanted=f"less than {max(teacher) - min(teacher):.3g} nats, the largest difference",
            fix='delta = "auto"',
        )

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        """See `Method.batch`."""
        items = drawn(len(self.gold), self.config.batch, step, self.seed)
        weights = self._weights(items)
        pairs = [ranking.pairs[i] for ranking in self.rankings.values() for i in items]

        def loss(scores: Tensor) -> Terms:
            share = {"g2v": 1.0, "v2g": 1.0}
            if self.config.direction == "both" and self.config.weight != "gold":
                share = {"g2v": self.config.weight, "v2g": 1 - self.config.weight}
            return {
                name: share[name] * ranking.loss(items, part, weights[name])
                for (name, ranking), part in zip(self.rankings.items(), torch.split(scores, len(items)), strict=True)
            }

        counts = {f"pairs_{name}": float((w > 0).sum()) for name, w in weights.items()}
        return PairBatch(
            pairs, loss, counts | {f"delta_{name}": ranking.delta for name, ranking in self.rankings.items()}
        )

    def _weights(self, items: list[int]) -> dict[str, Tensor]:
        """Of each direction's pairs [i, j]: 1 where the teacher orders them; 0 too where gold says it errs."""
        gold = self.gold[items]
        wrong = ~gold[:, None] & gold[None, :]  # a wrong item above a right one
        above = {name: ranking.above(items) for name, ranking in self.rankings.items()}
        if self.config.direction == "both" and self.config.weight == "gold":
            return {name: (order & ~wrong).double() for name, order in above.items()}
        return {name: order.double() for name, order in above.items()}


def median_difference(scores: Sequence[float], seed: int) -> float:
    """The median of |x − y| over random pairs of scores: half of all pairs differ by more."""
    values = np.asarray(scores)
    draw = np.random.default_rng(seed).integers(0, len(values), (2, _DRAWN_PAIRS))
    return float(np.median(np.abs(values[draw[0]] - values[draw[1]])[draw[0] != draw[1]]))


def _by(items: Sequence[int], values: Sequence[Any] | None) -> Any:
    return None if values is None else dict(zip(items, values, strict=True))
