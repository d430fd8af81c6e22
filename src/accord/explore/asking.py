"""One question in both forms: log-odds, the most probable next tokens, and how both come about layer by layer.

A question is a task of one item, so whatever measures a gap takes it. Nothing is computed here that
`accord.measure_gap` does not compute; it is put together for one item.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.measure import measure_gap
from accord.gap.preview import shown_tokens
from accord.gap.questions import contexts_of
from accord.lm.marked import States
from accord.lm.model import LanguageModel
from accord.lm.next_tokens import Likely, likely_at, next_tokens
from accord.lm.prefix_tree import Ids
from accord.tasks import Form, Item, Labels, Task, Template
from accord.tasks.readers import indented

FORMS = ("generator", "validator")
LONGEST = 20_000
"""Characters of a prompt; what is longer is refused before it is tokenised."""


@dataclass(frozen=True)
class BothForms:
    """What a model answers to one question, completing (generator) and asked (validator); natural logarithms.

    Attributes:
        model: its name.
        answer: what the generator's prompt is continued by.
        prompts: form -> prompt, as text; a chat template, where the task asks for one, comes around it.
        generator_logodds: l_G of the answer; see `accord.Gap`.
        generator_logprob: log p of the whole answer.
        generator_rank: of the answer's first token among all, 1 = most probable.
        validator_logodds: l_V: above 0 the model affirms.
        mass: probability of all label words together, after the validator's prompt.
        choice: the most probable label, where the validator chooses among several; else None.
        next: form -> the most probable next tokens, each with its probability, the most probable first; spaces are
            shown as ·, line breaks as ⏎.
        layers: (layer, generator_logodds, validator_logodds) by the logit lens, layer 0 to the top; or None.
    """

    model: str
    answer: str
    prompts: Mapping[str, str]
    generator_logodds: float
    generator_logprob: float
    generator_rank: int
    validator_logodds: float
    mass: float
    choice: str | None
    next: Mapping[str, Sequence[tuple[str, float]]]
    layers: pd.DataFrame | None = field(default=None, compare=False)

    @property
    def affirms(self) -> bool:
        """Whether the validator's log-odds are above 0."""
        return self.validator_logodds > 0

    def row(self) -> dict[str, Any]:
        """The numbers as one row of a table, prompts included."""
        numbers = {
            name: getattr(self, name)
            for name in ("generator_logodds", "generator_logprob", "generator_rank", "validator_logodds", "mass")
        }
        prompts = {f"{form}_prompt": self.prompts[form] for form in FORMS}
        return {"model": self.model, "answer": self.answer, **prompts, **numbers}


def input_fields(task: Task) -> tuple[str, ...]:
    """The fields that its two prompts have places for, in the order in which they first occur.

    >>> import accord
    >>> input_fields(accord.task("hypernymy", limit=2))
    ('noun1', 'noun2')
    """
    names = dict.fromkeys((*task.generator.template.names, *task.validator.template.names))
    known = task.items[0].fields if task.items else {}
    return tuple(dict.fromkeys(name if name in known else name[:1].lower() + name[1:] for name in names))


def answer_field(task: Task) -> str | None:
    """The field that every item's answer is a copy of, or None.

    >>> import accord
    >>> answer_field(accord.task("hypernymy", limit=20))
    'noun2'
    """
    names = task.items[0].fields if task.items else ()
    return next((name for name in names if all(item.fields.get(name) == item.answer for item in task.items)), None)


@checked
def question_of_fields(
    task: Task, fields: Mapping[str, str], *, answer: str | None = None, label: str | None = None
) -> Task:
    """A task's question about any words: its prompts, worked examples and label words, with these fields filled in.

    >>> import accord
    >>> task = accord.task("hypernymy", limit=20)
    >>> question_of_fields(task, {"noun1": "violins", "noun2": "fruit"}).items[0].answer
    'fruit'

    Args:
        fields: a text for each place of the prompts; see `input_fields`.
        answer: what continues the generator's prompt, without the space around it but for a program's indentation; by
            default the field that the task's own answers are.
        label: where the validator chooses among labels, the one that counts as right; by default the first.

    Returns:
        The task with this one item, which counts as right: for one item gold says nothing.

    Raises:
        AccordError: a field is missing, blank, or longer than 20,000 characters; there is no answer.
    """
    needed = input_fields(task)
    if missing := [name for name in needed if not str(fields.get(name, "")).strip()]:
        raise AccordError("This question has an empty place.", got=", ".join(missing), wanted="a text for each place")
    own = answer_field(task)
    answer = fields.get(own) if answer is None and own is not None else answer
    if answer is None or not answer.strip():
        raise AccordError("There is no answer whose probability could be asked for.", fix="give one")
    for name, text in {**fields, "answer": answer}.items():
        _check_text(text, name)
    if task.labels.chooses:
        label = label or next(iter(task.labels.words))
        if label not in task.labels.words:
            raise AccordError("There is no such label.", got=repr(label), wanted=", ".join(task.labels.words))
    item = Item(dict(fields), indented(answer), True, label=label if task.labels.chooses else None)
    return replace(task, items=(item,), split="one question")


@checked
def question_of_prompts(
    generator: str,
    answer: str,
    validator: str,
    *,
    yes: Sequence[str] = ("Yes",),
    no: Sequence[str] = ("No",),
    join: str = " ",
) -> Task:
    """A question given as two whole prompts.

    >>> question_of_prompts("Bees are a kind of", "insect", "Are bees a kind of insect? Answer:")
    Task your question, one question: 1 items
      generator: 'Bees are a kind of'
      validator: 'Are bees a kind of insect? Answer:'

    Args:
        generator: the prompt that the answer continues; space at its end is dropped.
        validator: the prompt that asks for yes or no; likewise.
        yes, no: label words.
        join: between a prompt and what follows it.

    Raises:
        AccordError: a text is blank or longer than 20,000 characters, or a word stands for both labels.
    """
    for name, text in (("the prompt to complete", generator), ("the answer", answer), ("the question", validator)):
        if not text.strip():
            raise AccordError(f"There is no text in {name}.", wanted="a text")
        _check_text(text, name)
    labels = Labels.yes_or_no(yes, no)

    def form(text: str) -> Form:
        return Form("as given", Template(text, (), ((text, None),)), "zero", (), join=join)

    item = Item({}, indented(answer), True)
    return Task("your question", "one question", (item,), form(generator), form(validator), None, {}, labels=labels)


@checked
def ask(lm: LanguageModel, question: Task, *, layers: bool = True, likely: int = 10) -> BothForms:
    """Ask a model one question in both forms.

    >>> import accord
    >>> question = question_of_prompts("Bees are a kind of", "insect", "Are bees a kind of insect? Answer:")
    >>> both = ask(accord.load("smollm2-135m"), question, layers=False)
    >>> both.generator_rank, both.affirms
    (1, True)

    Args:
        question: a task of one item, as `question_of_fields` and `question_of_prompts` make it.
        layers: also by the logit lens of every layer.
        likely: how many of the most probable next tokens.

    Raises:
        AccordError: there is another number of items; and as `accord.measure_gap` does.
    """
    if len(question.items) != 1:
        raise AccordError("one question is asked at a time", where=question.name, got=f"{len(question.items)} items")
    at: dict[Ids, Likely] = {}

    def seen(contexts: Sequence[Ids], states: States) -> None:
        at.update(zip(contexts, likely_at(lm, states, likely), strict=True))

    gap = measure_gap(lm, question, layers=layers, lens=False, typicality=(), resamples=0, seen=seen)
    [row] = gap.scores.to_dict("records")
    contexts = [contexts_of(lm, question, form)[0] for form in FORMS]
    if not all(context in at for context in contexts):  # a model that is another one after each length of prompt
        at |= zip(contexts, next_tokens(lm, contexts, likely), strict=True)
    found = [at[context] for context in contexts]
    return BothForms(
        lm.name,
        str(row["answer"]),
        {form: str(row[f"{form}_prompt"]) for form in FORMS},
        float(row["generator_logodds"]),
        float(row["generator_logprob"]),
        int(row["generator_rank"]),
        float(row["validator_logodds"]),
        float(row["yes_no_mass"]),
        row.get("validator_choice"),
        {
            form: [(shown_tokens(lm, (token,)), probability) for token, probability in tokens]
            for form, tokens in zip(FORMS, found, strict=True)
        },
        None if gap.layers is None else gap.layers.drop(columns="item"),
    )


def settled(lm: LanguageModel, task: Task) -> Task:
    """The task with what counts of an answer settled over all of its items, so that single questions count alike."""
    return replace(task, answer_score=AnswerScore.of(lm, task).counted, pool=())


def _check_text(text: str, where: str) -> None:
    if len(text) > LONGEST:
        got, wanted = f"{len(text):,} characters", f"at most {LONGEST:,}"
        raise AccordError("This text is too long to be asked.", where=where, got=got, wanted=wanted)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a pair: no tokenizer takes it
        raise AccordError("This text is not of whole characters.", where=where, got=f"{text[:40]!a}") from None
