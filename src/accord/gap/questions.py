"""An item's two forms as token ids: what every measure, repair and explanation of the gap asks the model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accord.errors import AccordError
from accord.lm.model import LanguageModel, Tokenizing
from accord.lm.prefix_tree import Ids
from accord.lm.scoring import Floats, Query
from accord.tasks import Item, Task
from accord.tasks.as_read import Prompt, answered, as_read, contexts


def generator_queries(lm: LanguageModel, task: Task, items: Sequence[Item]) -> list[Query]:
    """The generator form of items, each with its answer."""
    prompts = [as_read(lm.tokenizer, task, task.generator, item) for item in items]
    both = answered(lm, prompts, [item.answer for item in items])
    return [Query(context, (answer,)) for context, answer in both]


def contexts_of(lm: LanguageModel, task: Task, form: str, items: Sequence[Item] | None = None) -> list[Ids]:
    """Token ids of the "generator" or "validator" prompts of items, all of the task's by default."""
    items = task.items if items is None else items
    if form == "generator":
        return [query.context for query in generator_queries(lm, task, items)]
    return contexts(lm, [as_read(lm.tokenizer, task, task.validator, item) for item in items])


YES_FORMS = ("Yes", " Yes", "YES", "yes", " yes")
NO_FORMS = ("No", " No", "NO", "no", " no")
"""What counts as Yes and No where it is one token, as in RankAlign (arXiv 2504.11381)."""

_FORMS = {"Yes": YES_FORMS, "No": NO_FORMS}


@dataclass(frozen=True)
class LabelWords:
    """What counts as each label of a task for a model: sequences of token ids, none of which begins another.

    A word counts as it follows the prompt, after the space of the join or without one, by the probability of the whole
    sequence of its tokens. Its other form counts too if it is one token; Yes and No have five forms each. What a reply
    writes otherwise ("ja" for "Ja") counts if it is given as a word of the label.

    Attributes:
        sequences: label -> its sequences.
    """

    sequences: Mapping[str, tuple[Ids, ...]]

    @classmethod
    def of(cls, lm: Tokenizing, task: Task) -> "LabelWords":
        """Raises AccordError for a word that the tokenizer does not know, and where two labels cannot be told apart."""
        prompt = Prompt(":", task.validator.join)
        if task.items:
            prompt = as_read(lm.tokenizer, task, task.validator, task.items[0])
        sequences = {
            label: _shortest([ids for word in words for ids in _counted(lm, word, prompt, task)])
            for label, words in task.labels.words.items()
        }
        _check_apart(sequences, lm, task)
        return cls(sequences)

    @property
    def all(self) -> tuple[Ids, ...]:
        """The sequences of all labels, label by label: the order of log-probabilities here."""
        return tuple(ids for each in self.sequences.values() for ids in each)

    @property
    def single(self) -> bool:
        """Whether all of them are single tokens."""
        return all(len(ids) == 1 for ids in self.all)

    def queries(self, lm: LanguageModel, task: Task, items: Sequence[Item]) -> list[tuple[Query, Query]]:
        """Of each item the generator's query (its answer) and the validator's (every label's sequences, `all`)."""
        words = self.all
        validator = [Query(context, words, compared=True) for context in contexts_of(lm, task, "validator", items)]
        return list(zip(generator_queries(lm, task, items), validator, strict=True))

    def against(self, label: str) -> tuple[tuple[Ids, ...], tuple[Ids, ...]]:
        """A label's sequences, and those of all others.

        >>> LabelWords({"yes": ((1,), (2,)), "no": ((3,),)}).against("no")
        (((3,),), ((1,), (2,)))
        """
        others = (ids for other, each in self.sequences.items() if other != label for ids in each)
        return self.sequences[label], tuple(others)

    def tokens(self, task: Task, who: str) -> tuple[Ids, Ids]:
        """Token ids of yes and of no, for what reads or moves the next token alone.

        Raises AccordError, saying that `who` needs them, where words are several tokens each, or labels are no yes and
        no.
        """
        task.labels.check_yes_or_no(who, task.name)
        if not self.single:
            longest = max(self.all, key=len)
            raise AccordError(
                f"{who} needs label words of one token each",
                where=task.name,
                got=f"one of {len(longest)} tokens among {task.labels.as_json()}",
                fix="choose other words for yes and no, or a trained repair (rankalign, sft, consistency, dpo)",
            )
        yes, no = (tuple(ids[0] for ids in each) for each in self.sequences.values())
        return yes, no

    def logodds(self, logprobs: Floats, label: str) -> Floats:
        """l_V: log p(label) − log Σ p(other labels), from log-probabilities [..., sequence] in the order of `all`."""
        own = np.repeat([name == label for name in self.sequences], list(map(len, self.sequences.values())))
        logsum = np.logaddexp.reduce
        return np.asarray(logsum(logprobs[..., own], -1) - logsum(logprobs[..., ~own], -1))

    def choice(self, logprobs: Floats) -> NDArray[np.object_]:
        """The most probable label [...], from log-probabilities [..., sequence] in the order of `all`.

        >>> LabelWords({"yes": ((1,), (2,)), "no": ((3,),)}).choice(np.log([[0.3, 0.2, 0.4], [0.1, 0.2, 0.4]])).tolist()
        ['yes', 'no']
        """
        logodds = np.stack([self.logodds(logprobs, label) for label in self.sequences])
        return np.asarray(np.array(list(self.sequences), dtype=object)[logodds.argmax(0)])


def _counted(lm: Tokenizing, word: str, prompt: Prompt, task: Task) -> Iterator[Ids]:
    """Sequences that count as a word that answers a prompt."""
    follows = f" {word}" if prompt.join.endswith(" ") else word
    for form in _FORMS.get(word, (word, f" {word}")):
        ids = tuple(int(i) for i in lm.tokenizer(form, add_special_tokens=False)["input_ids"])
        if form == follows:
            context, answer = prompt.answered(lm, word)
            # In its place, as some vocabularies put a space before whatever they tokenise by itself; but not where a
            # token straddles the join, as the prompt is read without it.
            ids = answer if context == prompt.context(lm) else ids
            if not ids or lm.tokenizer.unk_token_id in ids:
                raise AccordError("the tokenizer has no tokens for a label word", where=task.name, got=repr(form))
        if form == follows or (len(ids) == 1 and lm.tokenizer.unk_token_id not in ids):
            yield ids


def _begins(start: Ids, ids: Ids) -> bool:
    return ids[: len(start)] == start


def _shortest(sequences: Sequence[Ids]) -> tuple[Ids, ...]:
    """Without those that begin with another one: what begins with the shorter is counted with it.

    >>> _shortest([(1, 2), (1,), (3, 4)])
    ((1,), (3, 4))
    """
    distinct = list(dict.fromkeys(sequences))
    return tuple(ids for ids in distinct if not any(_begins(other, ids) for other in distinct if other != ids))


def _check_apart(sequences: Mapping[str, tuple[Ids, ...]], lm: Tokenizing, task: Task) -> None:
    for label, each in sequences.items():
        for other, its in sequences.items():
            for ids in each:
                if label != other and (same := next((longer for longer in its if _begins(ids, longer)), None)):
                    words = [f"{lm.tokenizer.decode(list(word))!r}" for word in (ids, same)]
                    raise AccordError(
                        "a word of one label begins as a whole word of another: the two cannot be told apart",
                        where=task.name,
                        got=f"{words[0]} ({label}), {words[1]} ({other})",
                        fix="choose words that begin differently",
                    )
