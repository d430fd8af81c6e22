"""Consistency fine-tuning: the model's own answers, where its two forms agree, in rounds.

Source: Li et al., arXiv 2310.01846.
"""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from accord.errors import AccordError
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import Consistency
from accord.repair.method import PairBatch, TaskPairs, drawn
from accord.repair.sft import answer_loss
from accord.tasks import Task


@dataclass
class Agreeing:
    """See `accord.repair.method.Method`.

    `memory` holds the round, and the items kept in it as [number, says yes].
    """

    config: Consistency
    forms: TaskPairs
    seed: int
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls, config: Consistency, lm: LanguageModel, task: Task, seed: int, progress: Progress | None
    ) -> "Agreeing":
        """See `Method.build`."""
        return cls(config, TaskPairs.of(lm, task), seed)

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        """See `Method.batch`; the first batch of a round measures."""
        round_ = step * self.config.rounds // self.config.steps
        if self.memory.get("round") != round_:
            self.memory = {"round": round_, "kept": self._agreed(lm, round_)}
        agreed = self.memory["kept"]
        pairs = []
        for i in drawn(len(agreed), self.config.batch, step, self.seed):
            item, yes = self.forms.task.items[agreed[i][0]], agreed[i][1]
            pairs += [self.forms.generator(item)] if yes else []
            pairs.append(self.forms.validator(item, yes))
        return PairBatch(pairs, lambda scores: answer_loss(pairs, scores), {"pairs": len(pairs), "kept": len(agreed)})

    def _agreed(self, lm: LanguageModel, round_: int) -> list[list[Any]]:
        """Items on which both forms of the present model say the same, and what they say."""
        numbers = sorted(drawn(len(self.forms.task.items), self.config.items, round_, self.seed))
        items = [self.forms.task.items[i] for i in numbers]
        generator, validator = self.forms.generator_scores(lm, items), self.forms.validator_scores(lm, items)
        if self.config.rank is None:
            middle = median(generator.logodds)
            yes = [value > middle for value in generator.logodds]
        else:
            yes = [rank <= self.config.rank for rank in generator.rank]
        agreed = [[i, y] for i, y, v in zip(numbers, yes, validator, strict=True) if y == (v > 0)]
        if not agreed:
            raise AccordError("the two forms agree on no item", where=f"round {round_}", got=f"{len(items)} asked")
        return agreed
