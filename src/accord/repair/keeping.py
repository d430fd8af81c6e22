"""Anchors of a trained repair on other tasks: what it learns from its own items moves their answers, too.

A validator that learns to say yes to its task's questions says yes to most others (docs/log.md, 2026-11-27). So each
batch has some questions of one other task beside its own items, and the loss two more terms: how far the validator's
yes and no are from what is wanted there, and what right answers lost of their likelihood. `keep_batch` bounds what both
cost, whatever the number of tasks; the questions of a task share its worked examples, which are passed once.

Right answers are held, not taught: a run that went on learning them, as fine-tuning does, moved ordinary text and the
generators of other relations far more than the repair alone (docs/log.md, 2026-11-27).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.concepts.train import mix
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import Trained
from accord.repair.method import Method, PairBatch, TaskPairs, drawn, frozen
from accord.repair.readout import taught_logodds
from accord.repair.scores import Asked, Odds, Pair, Terms
from accord.tasks import Task

_SPREAD = 1.5  # nats of standard deviation that a generator's log-odds are given as a target: a readout's default


@dataclass
class Keeping:
    """A method with kept questions in each of its batches; see `accord.repair.method.Method`.

    Attributes:
        kept: the tasks that are kept.
        wanted: the log-odds that the validator should have, by number of the task and of its item.
        likely: log p a token of right answers under the base model, likewise.
    """

    config: Trained
    method: Method
    kept: Sequence[TaskPairs]
    wanted: dict[tuple[int, int], float]
    likely: dict[tuple[int, int], float]
    seed: int

    @classmethod
    def build(
        cls,
        config: Trained,
        method: Method,
        lm: LanguageModel,
        tasks: Sequence[Task],
        seed: int,
        progress: Progress | None,
    ) -> "Keeping":
        """Ask the base model what is wanted of the questions that the run will meet."""
        keeping = cls(config, method, [TaskPairs.of(lm, task) for task in tasks], {}, {}, seed)
        draws = map(keeping._drawn, range(config.steps))
        reached = sorted({(number, i) for number, items in draws for i in items})
        right = [(number, i) for number, i in reached if config.keep_answers and tasks[number].items[i].gold]
        likely = frozen(lm, [keeping._answer(number, i) for number, i in right], progress)
        keeping.likely = dict(zip(right, likely, strict=True))
        met = reached if config.keep_questions else []
        if config.keep_to == "generator":  # centred within a task, so all of its items are asked
            numbers = sorted({number for number, _ in met})
            taught = taught_logodds(lm, [tasks[number] for number in numbers], _SPREAD, progress)
            by_task = dict(zip(numbers, taught, strict=True))
            wanted = [float(by_task[number][i]) for number, i in met]
        else:
            wanted = frozen(lm, [keeping._question(number, i) for number, i in met], progress)
        keeping.wanted = dict(zip(met, wanted, strict=True))
        return keeping

    @property
    def memory(self) -> dict[str, Any]:
        """The method's own."""
        return self.method.memory

    @memory.setter
    def memory(self, memory: dict[str, Any]) -> None:
        self.method.memory = memory

    def _drawn(self, step: int) -> tuple[int, list[int]]:
        """The task of a step, by its number, and which of its items: all tasks have their turn, in random order."""
        (number,) = drawn(len(self.kept), 1, step, mix(self.seed, 2))
        return number, drawn(len(self.kept[number].task.items), self.config.keep_batch, step, self.seed)

    def _question(self, number: int, item: int) -> Odds:
        forms = self.kept[number]
        return forms.validator_logodds(forms.task.items[item])

    def _answer(self, number: int, item: int) -> Pair:
        forms = self.kept[number]
        return forms.generator(forms.task.items[item], "per_token")

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        """See `Method.batch`: the method's own batch, then kept questions."""
        own = self.method.batch(lm, step)
        number, numbers = self._drawn(step)
        questions: list[Odds] = []
        wanted: list[float] = []
        if self.config.keep_questions:
            questions = [self._question(number, i) for i in numbers]
            wanted = [self.wanted[number, i] for i in numbers]
        right = [i for i in numbers if (number, i) in self.likely]
        answers = [self._answer(number, i) for i in right]
        likely = [self.likely[number, i] for i in right]
        first, middle = len(own.pairs), len(own.pairs) + len(questions)

        def loss(scores: Tensor) -> Terms:
            terms = dict(own.loss(scores[:first]))
            if questions:
                far = yes_no_divergence(scores[first:middle], scores.new_tensor(wanted)).mean()
                terms["kept_questions"] = self.config.keep_questions * far
            if answers:
                lost = (scores.new_tensor(likely) - scores[middle:]).relu().mean()
                terms["kept_answers"] = self.config.keep_answers * lost
            return terms

        pairs: list[Asked] = [*own.pairs, *questions, *answers]
        return PairBatch(pairs, loss, own.counts, lambda scores: own.shown(scores[:first]))


def yes_no_divergence(logodds: Tensor, wanted: Tensor) -> Tensor:
    """KL(wanted ‖ model), in nats, of yes and no, each from its log-odds.

    Its gradient by the log-odds is the difference of the two probabilities of yes: never above 1, as a ranking's.

    >>> yes_no_divergence(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 50.0])).tolist()
    [0.0, 0.6931471824645996]
    """
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    yes = wanted.sigmoid()
    return binary(logodds, yes, reduction="none") - binary(wanted, yes, reduction="none")
