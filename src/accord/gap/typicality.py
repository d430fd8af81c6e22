"""How typical an answer is by itself: its log-probability where nothing is asked, by which scores are corrected.

A common answer gets a high score whatever the prompt. So the development of RankAlign (after arXiv 2504.11381) scores
an answer y by log p(y | prompt) − t(y), t being log p(y | null), or log p(y | the prompt turned round).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from accord.arguments import checked
from accord.gap.questions import generator_queries
from accord.lm.chat import chat_text, reply_space
from accord.lm.encoding import start_id
from accord.lm.model import LanguageModel, Tokenizing
from accord.lm.prefix_tree import Ids
from accord.lm.scoring import Floats, Query, score
from accord.progress import Progress
from accord.tasks import Item, Task
from accord.tasks.as_read import Prompt, as_read, contexts

Kind = Literal["own", "negated"]
"""own: t(y) = log p(y | null); negated: t(y) = log p(y | the negated generator prompt); both under the scored model."""
Asked = tuple[Ids, Ids]
"""What an answer is read after, and its tokens."""


@checked
def typicality(
    lm: LanguageModel,
    task: Task,
    items: Sequence[Item] | None = None,
    *,
    kind: Kind = "own",
    progress: Progress | None = None,
) -> Floats:
    """t(y) of the answer of each item, in nats [item].

    Args:
        items: all of the task's by default.
        kind: see `Kind`. A repaired model's t is its own; for its base's, give the base as `lm`.
        progress: called with (tokens done, tokens in all).

    Raises:
        AccordError: the task has no negated wording, where it is needed; nothing can stand for the empty context; or as
            `accord.score`.
    """
    items = task.items if items is None else items
    answers = [query.answers[0] for query in generator_queries(lm, task, items)]
    return logprobs(lm, contexts_and_answers(lm, task, items, answers, kind), progress)


def logprobs(lm: LanguageModel, asked: Sequence[Asked], progress: Progress | None = None) -> Floats:
    """log p(answer | what it is read after) of each [asked]; equal ones are scored once."""
    distinct = list(dict.fromkeys(asked))
    scored = score(lm, [Query(context, (answer,)) for context, answer in distinct], progress=progress)
    found = {each: float(result.total[0]) for each, result in zip(distinct, scored, strict=True)}
    return np.array([found[each] for each in asked])


def contexts_and_answers(
    lm: Tokenizing, task: Task, items: Sequence[Item], answers: Iterable[Ids], kind: Kind
) -> list[Asked]:
    """What `kind` reads of each item: the same tokens of the answer, after another context. Raises as `typicality`."""
    if kind == "own":
        null = null_context(lm, task)
        return [(null, answer) for answer in answers]
    task.check_negated("negated")
    prompts = [as_read(lm.tokenizer, task, task.generator, item, negated=True) for item in items]
    return list(zip(contexts(lm, prompts), answers, strict=True))


def null_context(lm: Tokenizing, task: Task) -> Ids:
    """The empty context: BOS, or EOS where the tokenizer has no BOS; in a chat, the template with an empty message.

    In a chat there are neither a system message of the task's nor its worked examples.

    Raises:
        AccordError: the tokenizer has neither token, or the template takes no empty message.
    """
    if task.chat is None:
        return (start_id(lm.tokenizer),)
    messages = [{"role": "user", "content": ""}]
    text = chat_text(lm.tokenizer, messages, task.chat.options)
    join = reply_space(lm.tokenizer, messages, task.chat.options, text)
    return Prompt(text, join, special=False).context(lm)
