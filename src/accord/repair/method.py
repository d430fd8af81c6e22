"""What a trained repair is: for each update the pairs to score, and a loss of their scores. One file a kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from accord.concepts.train import mix
from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.questions import Forms, as_read
from accord.lm.batching import Progress
from accord.lm.encoding import encode_answer
from accord.lm.model import LanguageModel
from accord.lm.scoring import Counted, Query, Score, score
from accord.repair.scores import Pair, Terms
from accord.tasks import Item, Task


@dataclass(frozen=True)
class Batch:
    """An update's pairs, the loss of their scores [n], and what else the curve shows of it."""

    pairs: Sequence[Pair]
    loss: Callable[[Tensor], Terms]
    counts: dict[str, float] = field(default_factory=dict)


class Method(Protocol):
    """A kind of repair, ready to train: it holds whatever the base model had to say before."""

    memory: dict[str, Any]
    """What later batches depend on beside the step, as JSON; kept in checkpoints."""

    def batch(self, lm: LanguageModel, step: int) -> Batch:
        """The batch of a step, which seed and step fix; `lm` is the model as trained so far, not in training."""
        ...


@dataclass(frozen=True)
class Asked:
    """A task's items in both forms as one model reads them."""

    lm: LanguageModel
    task: Task
    forms: Forms
    answer: AnswerScore

    @classmethod
    def of(cls, lm: LanguageModel, task: Task) -> "Asked":
        """Raises AccordError if there are fewer than two items, or no single yes or no token."""
        if len(task.items) < 2:
            raise AccordError("a repair needs items to train on", where=task.name, got=len(task.items), wanted="2 up")
        return cls(lm, task, Forms.of(lm), AnswerScore.of(lm, task))

    def generator(self, item: Item, counted: Counted = "whole") -> Pair:
        """The generator prompt with the answer, or with what of it counts."""
        pair = self.continued(self.task.generator.prompt(item), item.answer, 1 if counted == "first" else None)
        return replace(pair, per_token=counted == "per_token")

    def counted(self, generated: str) -> Counted:
        """What of an answer counts, where `generated` says that: "task", "first" or "answer"."""
        known: dict[str, Counted] = {"task": self.answer.counted, "first": "first", "answer": "whole"}
        return known[generated]

    def validator(self, item: Item, answer: str = "Yes") -> Pair:
        """The validator prompt with a word for an answer."""
        return self.continued(self.task.validator.prompt(item), answer)

    def validator_logodds(self, item: Item) -> Pair:
        """The validator prompt with all yes forms against all no forms."""
        query = self.forms.queries(self.lm, self.task, item)[1]
        return Pair(query.context, self.forms.yes, self.forms.no)

    def continued(self, prompt: str, answer: str, tokens: int | None = None) -> Pair:
        """Any prompt with an answer, of which the first `tokens` count."""
        text = as_read(self.lm, prompt, self.task.chat)
        context, ids = encode_answer(self.lm.tokenizer, text, answer, special=not self.task.chat)
        return Pair(context, ids[:tokens])

    def said(self, lm: LanguageModel, items: Sequence[Item], progress: Progress | None = None) -> "Said":
        """What a model says of items in the generator form."""
        pairs = [self.generator(item) for item in items]
        found = score(lm, [Query(pair.context, (pair.answer,)) for pair in pairs], progress=progress)
        one = [(self.answer.logodds(s), float(s.logodds[0]), float(s.total[0]), int(s.rank[0])) for s in found]
        return Said(*(list(column) for column in zip(*one, strict=True)))

    def affirmed(self, lm: LanguageModel, items: Sequence[Item], progress: Progress | None = None) -> list[float]:
        """What a model says of items in the validator form: l_V."""
        return frozen(lm, [self.validator_logodds(item) for item in items], progress)


class Said(NamedTuple):
    """Scores of the generator form, an entry an item: l_G; first token's log-odds; whole log p; first token's rank."""

    logodds: list[float]
    first: list[float]
    total: list[float]
    rank: list[int]


def frozen(lm: LanguageModel, pairs: Sequence[Pair], progress: Progress | None = None) -> list[float]:
    """The scores of pairs as a model gives them now, without gradients, shared prefixes computed once."""
    queries = [Query(p.context, tuple((i,) for i in p.answer + p.against) if p.against else (p.answer,)) for p in pairs]
    found = score(lm, queries, progress=progress)
    return [_value(pair, one) for pair, one in zip(pairs, found, strict=True)]


def _value(pair: Pair, found: Score) -> float:
    if not pair.against:
        return float(found.total[0]) / (len(pair.answer) if pair.per_token else 1)
    split = len(pair.answer)
    return float(np.logaddexp.reduce(found.first[:split]) - np.logaddexp.reduce(found.first[split:]))


def drawn(n: int, size: int, step: int, seed: int) -> list[int]:
    """The items of a step: n items are gone through again and again, shuffled anew each time."""
    size = min(size, n)
    per_epoch = n // size  # what is left over waits for another order
    epoch, part = divmod(step, per_epoch)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(mix(seed, epoch)))
    return [int(i) for i in order[part * size : (part + 1) * size]]


def reached(n: int, size: int, steps: int, seed: int) -> list[int]:
    """The items that a run of so many steps meets, in ascending order: all that needs measuring before."""
    return sorted({i for step in range(steps) for i in drawn(n, size, step, seed)})
