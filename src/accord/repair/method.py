"""What a trained repair is: for each update the pairs to score, and a loss of their scores. One file a kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from accord.concepts.train import mix
from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.questions import LabelWords
from accord.gap.typicality import Kind, contexts_and_answers
from accord.lm.model import LanguageModel
from accord.lm.scoring import Counted, Query, Score, score
from accord.progress import Progress
from accord.repair.scores import Asked, Odds, Pair, Scored, Terms
from accord.tasks import Item, Task
from accord.tasks.as_read import as_read
from accord.tasks.labels import NO, YES


@dataclass(frozen=True)
class PairBatch:
    """An update's pairs, the loss of their scores [n], and what else the curve shows of it.

    Attributes:
        counts: known beforehand.
        shown: of the scores; `accord.repair.alarm` reads some of it.
    """

    pairs: Sequence[Asked]
    loss: Callable[[Tensor], Terms]
    counts: dict[str, float] = field(default_factory=dict)
    shown: Callable[[Tensor], Terms] = lambda _: {}


class Method(Protocol):
    """A kind of repair, ready to train: it holds whatever the base model had to say before."""

    memory: dict[str, Any]
    """What later batches depend on beside the step, as JSON; kept in checkpoints."""

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        """The batch of a step, which seed and step fix; `lm` is the model as trained so far, not in training."""
        ...


@dataclass(frozen=True)
class TaskPairs:
    """A task's items in both forms as one model reads them."""

    lm: LanguageModel
    task: Task
    words: LabelWords
    answer: AnswerScore

    @classmethod
    def of(cls, lm: LanguageModel, task: Task) -> "TaskPairs":
        """Raises AccordError if there are fewer than two items, or label words cannot be told apart."""
        if len(task.items) < 2:
            raise AccordError("a repair needs items to train on", where=task.name, got=len(task.items), wanted="2 up")
        return cls(lm, task, LabelWords.of(lm, task), AnswerScore.of(lm, task))

    def generator(self, item: Item, counted: Counted = "whole", *, negated: bool = False) -> Pair:
        """The generator prompt with the answer, or with what of it counts."""
        form = self.task.generator
        context, ids = as_read(self.lm.tokenizer, self.task, form, item, negated=negated).answered(self.lm, item.answer)
        return Pair(context, ids[:1] if counted == "first" else ids, per_token=counted == "per_token")

    def typical(self, item: Item, kind: Kind, counted: Counted = "whole") -> Pair:
        """The answer as `generator` has it, after what tells how typical it is; see `accord.gap.typicality`."""
        pair = self.generator(item, counted)
        [(context, answer)] = contexts_and_answers(self.lm, self.task, [item], [pair.answer], kind)
        return Pair(context, answer, pair.per_token)

    def counted(self, generated: str) -> Counted:
        """What of an answer counts, where `generated` says that: "task", "first" or "answer"."""
        parts: dict[str, Counted] = {"task": self.answer.counted, "first": "first", "answer": "whole"}
        return parts[generated]

    def validator(self, item: Item, affirmed: bool = True) -> Pair:
        """The validator prompt with the task's first word for yes, or for no."""
        return self.validator_word(item, self.task.labels.words[YES if affirmed else NO][0])

    def validator_word(self, item: Item, word: str) -> Pair:
        """The validator prompt with a word for an answer."""
        prompt = as_read(self.lm.tokenizer, self.task, self.task.validator, item)
        return Pair(*prompt.answered(self.lm, word))

    def validator_logodds(self, item: Item) -> Odds:
        """The validator prompt with all that counts as yes against all that counts as no: l_V."""
        context = as_read(self.lm.tokenizer, self.task, self.task.validator, item).context(self.lm)
        return Odds(context, *self.words.against(self.task.labels.target(item)))

    def generator_scores(
        self, lm: LanguageModel, items: Sequence[Item], progress: Progress | None = None
    ) -> "GeneratorScores":
        """What a model says of items in the generator form."""
        pairs = [self.generator(item) for item in items]
        scored = score(lm, [Query(pair.context, (pair.answer,)) for pair in pairs], progress=progress)
        rows = [(self.answer.logodds(s), float(s.logodds[0]), float(s.total[0]), int(s.rank[0])) for s in scored]
        return GeneratorScores(*(list(column) for column in zip(*rows, strict=True)))

    def validator_scores(
        self, lm: LanguageModel, items: Sequence[Item], progress: Progress | None = None
    ) -> list[float]:
        """What a model says of items in the validator form: l_V."""
        return frozen(lm, [self.validator_logodds(item) for item in items], progress)


class GeneratorScores(NamedTuple):
    """Scores of the generator form, an entry an item: l_G; first token's log-odds; whole log p; first token's rank."""

    logodds: list[float]
    first: list[float]
    total: list[float]
    rank: list[int]


def frozen(lm: LanguageModel, pairs: Sequence[Scored], progress: Progress | None = None) -> list[float]:
    """The scores of pairs as a model gives them now, without gradients, shared prefixes computed once."""
    queries = [Query(p.context, (p.answer,) if isinstance(p, Pair) else p.plus + p.minus, compared=True) for p in pairs]
    scored = score(lm, queries, progress=progress)
    return [_value(pair, answers) for pair, answers in zip(pairs, scored, strict=True)]


def _value(pair: Scored, answers: Score) -> float:
    if isinstance(pair, Pair):
        return float(answers.total[0]) / (len(pair.answer) if pair.per_token else 1)
    split = len(pair.plus)
    return float(np.logaddexp.reduce(answers.total[:split]) - np.logaddexp.reduce(answers.total[split:]))


def drawn(n: int, size: int, step: int, seed: int, *, together: Sequence[int] | None = None) -> list[int]:
    """The items of a step: n items are gone through again and again, shuffled anew each time.

    Args:
        together: of each item a number; those of one number follow one another, and share a batch if it has room.

    >>> sorted(drawn(6, 3, step=0, seed=0) + drawn(6, 3, step=1, seed=0))
    [0, 1, 2, 3, 4, 5]
    >>> sorted(drawn(6, 3, step=0, seed=5, together=[0, 1, 0, 1, 0, 1]))
    [1, 3, 5]
    """
    size = min(size, n)
    per_epoch = n // size  # what is left over waits for another order
    epoch, part = divmod(step, per_epoch)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(mix(seed, epoch)))
    if together is not None:
        numbers = [together[int(i)] for i in order]
        first = {number: place for place, number in reversed([*enumerate(numbers)])}
        order = order[torch.tensor([first[number] for number in numbers]).argsort(stable=True)]
    return [int(i) for i in order[part * size : (part + 1) * size]]


def reached(n: int, size: int, steps: int, seed: int, *, together: Sequence[int] | None = None) -> list[int]:
    """The items that a run of so many steps meets, in ascending order: all that needs measuring before.

    >>> reached(6, 2, steps=3, seed=0)
    [0, 1, 2, 3, 4, 5]
    """
    return sorted({i for step in range(steps) for i in drawn(n, size, step, seed, together=together)})
