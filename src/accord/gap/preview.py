"""A task as one model reads it: prompts and tokens of a few items, and how often the label words are what it says."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore, answer_ids, clashing
from accord.gap.label_mass import label_masses
from accord.gap.questions import LabelWords
from accord.lm.model import LanguageModel
from accord.lm.next_tokens import next_tokens
from accord.lm.prefix_tree import Ids
from accord.lm.scoring import score
from accord.tasks import Item, Task

Weighed = list[tuple[str, float]]
"""Tokens or words as text, each with a probability; spaces are shown as ·, line breaks as ⏎."""

_SAID = 5  # of what the model says in place of the label words


@dataclass(frozen=True)
class AsRead:
    """One item as a model reads it.

    Attributes:
        generator, validator: both prompts, chat template and special tokens written out.
        answer: the answer's tokens, each with its probability after those before it.
        labels: the label words with their probabilities, the largest first; `mass` is their sum.
        clashes: whether the answer's first token does not tell it from an answer of the other kind.
    """

    item: Item
    generator: str
    validator: str
    answer: Weighed
    labels: Weighed
    mass: float
    clashes: bool


@dataclass(frozen=True)
class Preview:
    """What to know of a task under a model before measuring it.

    Attributes:
        items: the first ones.
        answer_score: what of an answer counts, and how many first tokens clash.
        blank: answers of the task whose first token is white space alone.
        mass: on the label words, mean of the items tried.
        said: what the model says most after the validator's prompts, mean probability over the items tried.
    """

    items: list[AsRead]
    answer_score: AnswerScore
    blank: int
    mass: float
    said: Weighed


def preview(lm: LanguageModel, task: Task, *, items: int = 3, tried: int = 12) -> Preview:
    """Look at the first `items` of a task closely, and at the label words of the first `tried`.

    Raises AccordError as `accord.gap.measure_gap`.
    """
    pool = task.pool or task.items
    every = answer_ids(lm, task, pool)
    clash = {id(item): clashed for item, clashed in zip(pool, clashing(every, [i.gold for i in pool]), strict=True)}
    words = LabelWords.of(lm, task)
    some = task.items[: max(items, tried)]
    queries = words.queries(lm, task, some)
    scored = score(lm, [query for pair in queries for query in pair])
    read = []
    for item, pair, generator, validator in zip(some, queries, scored[::2], scored[1::2], strict=True):
        steps = 1 / (1 + np.exp(-generator.steps[0]))
        probability = np.exp(validator.total)
        labels = sorted(zip(pair[1].answers, probability.tolist(), strict=True), key=lambda weighed: -weighed[1])
        read.append(
            AsRead(
                item,
                lm.tokenizer.decode(list(pair[0].context)),
                lm.tokenizer.decode(list(pair[1].context)),
                [(shown_tokens(lm, (token,)), float(p)) for token, p in zip(pair[0].answers[0], steps, strict=True)],
                [(shown_tokens(lm, ids), p) for ids, p in labels],
                float(probability.sum()),
                clash.get(id(item), False),
            )
        )
    blank = sum(not lm.tokenizer.decode([ids[0]]).strip() for ids in every)
    mass = float(np.mean([as_read.mass for as_read in read[:tried]]))
    said = _most_said(lm, list(dict.fromkeys(query.context for _, query in queries[:tried])))
    return Preview(read[:items], AnswerScore.of(lm, task), blank, mass, said)


def try_out(lm: LanguageModel, changed: Mapping[str, Callable[[], Task]], *, tried: int = 12) -> dict[str, float]:
    """Mean probability on the label words of each changed task, by its name, over its first items.

    Without those that cannot be made: worked examples may take all items that a small task has.
    """
    tasks: dict[str, Task] = {}
    for name, make in changed.items():
        with suppress(AccordError):
            tasks[name] = make()
    return {name: float(label_masses(lm, task, task.items[:tried]).mean()) for name, task in tasks.items()}


def _most_said(lm: LanguageModel, contexts: Sequence[Ids]) -> Weighed:
    """The next tokens that get most probability after all contexts together."""
    total: defaultdict[int, float] = defaultdict(float)
    for likely in next_tokens(lm, contexts, 20):
        for token, probability in likely:
            total[token] += probability / len(contexts)
    most = sorted(total.items(), key=lambda found: -found[1])[:_SAID]
    return [(shown_tokens(lm, (token,)), share) for token, share in most]


def shown_tokens(lm: LanguageModel, ids: Ids) -> str:
    """Tokens as text on one line, their white space made visible."""
    text = str(lm.tokenizer.decode(list(ids)))
    return text.replace("\r", "⏎").replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·") or "∅"
