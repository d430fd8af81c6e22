"""A form of an item as a model reads it: in its chat template, where the task asks for one, and as token ids."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from accord.lm.chat import chat_text, reply_space
from accord.lm.encoding import encode_answers, encode_prompts
from accord.lm.model import Tokenizing
from accord.lm.prefix_tree import Ids
from accord.tasks import Form, Item, Task


@dataclass(frozen=True)
class Prompt:
    """A form of an item as a model reads it.

    Attributes:
        text: in the model's chat template, where the task asks for one.
        join: what stands between it and an answer.
        special: whether the tokenizer adds its special tokens; a chat template has written them already.
    """

    text: str
    join: str
    special: bool = True

    def context(self, lm: Tokenizing) -> Ids:
        """Token ids up to where an answer begins."""
        return contexts(lm, [self])[0]

    def answered(self, lm: Tokenizing, answer: str) -> tuple[Ids, Ids]:
        """Token ids of the context, and of an answer that continues it."""
        return answered(lm, [self], [answer])[0]


def contexts(lm: Tokenizing, prompts: Sequence[Prompt]) -> list[Ids]:
    """`Prompt.context` of many prompts of one task, tokenised together."""
    special = all(prompt.special for prompt in prompts)
    return encode_prompts(lm.tokenizer, [(prompt.text, prompt.join) for prompt in prompts], special=special)


def answered(lm: Tokenizing, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[tuple[Ids, Ids]]:
    """`Prompt.answered` of many prompts of one task, tokenised together."""
    special = all(prompt.special for prompt in prompts)
    texts = [(prompt.text, prompt.join, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return encode_answers(lm.tokenizer, texts, special=special)


def as_read(tokenizer: PreTrainedTokenizerBase, task: Task, form: Form, item: Item, *, negated: bool = False) -> Prompt:
    """A form of an item as a model with this tokenizer reads it. Raises AccordError as `accord.lm.chat.chat_text`."""
    if task.chat is None:
        return Prompt(form.prompt(item, negated=negated), form.join)
    messages = task.chat.messages(form, item, negated=negated)
    text = chat_text(tokenizer, messages, task.chat.options)
    return Prompt(text, reply_space(tokenizer, messages, task.chat.options, text), special=False)


def read_by(tokenizer: PreTrainedTokenizerBase, task: Task) -> Task:
    """The task with what a chat template makes of it in its settings: the template, and its first item rendered.

    A template may write today's date into every prompt, and then numbers change from day to day: so do the settings.
    """
    if task.chat is None or not task.items:
        return task
    prompts = [as_read(tokenizer, task, form, task.items[0]) for form in (task.generator, task.validator)]
    content = "\0".join([tokenizer.get_chat_template(), *(f"{prompt.text}\0{prompt.join}" for prompt in prompts)])
    rendered = hashlib.sha256(content.encode()).hexdigest()
    return replace(task, settings={**task.settings, "chat": {**task.chat.settings, "rendered": rendered}})
