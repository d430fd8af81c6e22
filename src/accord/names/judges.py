"""Who judges names: the tokens themselves, a local model by its log-odds of yes, or a server by lists of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import BaseModel
from scipy.special import logsumexp
from transformers import PreTrainedTokenizerBase

from accord.gap.questions import NO_FORMS, YES_FORMS
from accord.lm import LanguageModel, Query, score
from accord.lm.chat import chat_text
from accord.lm.encoding import encode_prompt, single_tokens
from accord.names.answers import LONGEST, Annotator, Answer, Request, ask, plain
from accord.names.entries import Floats
from accord.names.prompts import list_question, question

_AT_ONCE = 1000  # quizzes whose texts are tokenised together


@dataclass(frozen=True)
class Quiz:
    """A name put to the test: which of the contexts (before, token, after) does it fit?

    The first `positives` of them are those that excite the concept.
    """

    task: str
    concept: int
    name: Answer
    control: bool
    contexts: list[tuple[str, str, str]]
    positives: int

    @property
    def key(self) -> str:
        """What its answer is filed under."""
        return f"{self.task}{'-shuffled' if self.control else ''}:{self.concept}"


class Judge(Protocol):
    """Whatever tells how well names fit contexts."""

    threshold: float | None
    """From where on a value means yes; None for the median of a quiz's values."""

    def judge(self, quizzes: Sequence[Quiz]) -> list[Floats | None]:
        """A value for every context of each quiz, higher where the name fits; None where there is no answer."""
        ...


@dataclass
class TokensJudge:
    """No model: is one of the name's kinds of token (its alternatives) in the context, or is it the one marked?"""

    tokenizer: PreTrainedTokenizerBase
    threshold: float | None = 0.5

    def judge(self, quizzes: Sequence[Quiz]) -> list[Floats | None]:
        """See `Judge.judge`; values are 0 and 1."""
        values: list[Floats | None] = []
        for begin in range(0, len(quizzes), _AT_ONCE):
            part = quizzes[begin : begin + _AT_ONCE]
            texts = ["".join(context) for quiz in part if quiz.task == "detection" for context in quiz.contexts]
            kinds = self._kinds(list(dict.fromkeys(texts)))
            values += [self._values(quiz, kinds) for quiz in part]
        return values

    def _values(self, quiz: Quiz, kinds: Mapping[str, list[str]]) -> Floats:
        words = set(quiz.name.alternatives)
        if quiz.task == "detection":
            own = (kinds["".join(context)] for context in quiz.contexts)
        else:
            own = ([_fold(token)] for _, token, _ in quiz.contexts)
        return np.array([float(not words.isdisjoint(each)) for each in own])

    def _kinds(self, texts: list[str]) -> dict[str, list[str]]:
        """The kinds of token in each text."""
        if not texts:
            return {}
        encoded = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        distinct = sorted({i for ids in encoded for i in ids})
        kind = dict(zip(distinct, map(_fold, self.tokenizer.batch_decode([[i] for i in distinct])), strict=True))
        return {text: [kind[i] for i in ids] for text, ids in zip(texts, encoded, strict=True)}


@dataclass
class LogOddsJudge:
    """A local model: log p(yes) − log p(no) after a question on each context.

    Small models lean to one of the two whatever the question is, so the threshold is the median of a quiz's values.
    """

    lm: LanguageModel
    threshold: float | None = None

    def judge(self, quizzes: Sequence[Quiz]) -> list[Floats | None]:
        """See `Judge.judge`; values are log-odds in nats."""
        tokenizer = self.lm.tokenizer
        yes, no = single_tokens(tokenizer, YES_FORMS), single_tokens(tokenizer, NO_FORMS)
        answers = tuple((token,) for token in (*yes, *no))
        queries = [
            Query(self._ids(question(quiz.task, quiz.name.concept, *context)), answers, compared=True)
            for quiz in quizzes
            for context in quiz.contexts
        ]
        first = [answer.first for answer in score(self.lm, queries)]
        odds = np.array([logsumexp(log_p[: len(yes)]) - logsumexp(log_p[len(yes) :]) for log_p in first])
        ends = np.cumsum([len(quiz.contexts) for quiz in quizzes])
        return list(np.split(odds, ends[:-1])) if quizzes else []

    def _ids(self, text: str) -> tuple[int, ...]:
        if self.lm.tokenizer.chat_template:
            return encode_prompt(self.lm.tokenizer, chat_text(self.lm.tokenizer, text), special=False)
        return encode_prompt(self.lm.tokenizer, text + "\nAnswer:")


class Numbers(BaseModel):
    """Which contexts of a list, counted from 1."""

    numbers: list[int]


@dataclass
class ListJudge:
    """An annotator that is given all contexts of a quiz at once, in random order, and names the numbers that fit.

    Its answers are kept in `folder`, as those of `ask`.
    """

    annotator: Annotator
    folder: Path
    seed: int = 0
    threshold: float | None = 0.5

    def judge(self, quizzes: Sequence[Quiz]) -> list[Floats | None]:
        """See `Judge.judge`; values are 0 and 1."""
        orders = [self._order(quiz) for quiz in quizzes]
        requests = [
            Request(
                quiz.key,
                list_question(quiz.task, quiz.name.concept, [quiz.contexts[i] for i in order]),
                form=Numbers,
            )
            for quiz, order in zip(quizzes, orders, strict=True)
        ]
        answered, _ = ask(self.annotator, requests, self.folder)
        judged: list[Floats | None] = []
        for quiz, order in zip(quizzes, orders, strict=True):
            answer = answered.get(quiz.key)
            values = np.zeros(len(order))
            if isinstance(answer, Numbers):
                values[[order[number - 1] for number in answer.numbers if 1 <= number <= len(order)]] = 1.0
            judged.append(values if answer is not None else None)
        return judged

    def _order(self, quiz: Quiz) -> list[int]:
        draws = np.random.default_rng([self.seed, quiz.concept, len(quiz.key)])
        return [int(i) for i in draws.permutation(len(quiz.contexts))]


@lru_cache(maxsize=2**16)
def _fold(word: str) -> str:
    """A token as the annotator `Tokens` writes its kind; see `token_types`."""
    return plain(word.casefold())[:LONGEST] or word
