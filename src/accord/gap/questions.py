"""An item's two forms as token ids: what every measure, repair and explanation of the gap asks the model."""

from dataclasses import dataclass

import numpy as np

from accord.lm.encoding import chat_text, encode_answer, encode_prompt, single_tokens
from accord.lm.model import LanguageModel
from accord.lm.scoring import Floats, Query
from accord.tasks import Item, Task

YES_FORMS = ("Yes", " Yes", "YES", "yes", " yes")
NO_FORMS = ("No", " No", "NO", "no", " no")


@dataclass(frozen=True)
class Forms:
    """Ids of the validator's answers: those of `YES_FORMS` and `NO_FORMS` that are single tokens."""

    yes: tuple[int, ...]
    no: tuple[int, ...]

    @classmethod
    def of(cls, lm: LanguageModel) -> "Forms":
        """The forms in a model's vocabulary. Raises AccordError if no form of either is a single token."""
        return cls(single_tokens(lm.tokenizer, YES_FORMS), single_tokens(lm.tokenizer, NO_FORMS))

    def queries(self, lm: LanguageModel, task: Task, item: Item) -> tuple[Query, Query]:
        """The generator's query (its answer) and the validator's (every yes form, then every no form)."""
        validator = as_read(lm, task.prompts(item)[1], task.chat)
        asked = encode_prompt(lm.tokenizer, validator, special=not task.chat)
        return self.generator(lm, task, item), Query(asked, tuple((i,) for i in self.yes + self.no))

    @staticmethod
    def generator(lm: LanguageModel, task: Task, item: Item) -> Query:
        """The generator's query alone."""
        prompt = as_read(lm, task.prompts(item)[0], task.chat)
        context, answer = encode_answer(lm.tokenizer, prompt, item.answer, special=not task.chat)
        return Query(context, (answer,))

    def logodds(self, first: Floats) -> Floats:
        """l_V from log-probabilities [..., form], yes forms first."""
        split = len(self.yes)
        yes, no = np.logaddexp.reduce(first[..., :split], -1), np.logaddexp.reduce(first[..., split:], -1)
        return np.asarray(yes - no)


def as_read(lm: LanguageModel, prompt: str, chat: bool) -> str:
    """A prompt as the model reads it: in its chat template if asked."""
    return chat_text(lm.tokenizer, prompt) if chat else prompt
