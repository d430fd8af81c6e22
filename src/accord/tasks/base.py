"""What a task is made of: items, templates, the two forms, and the definition that a kind of task gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, Literal, NamedTuple

from accord.errors import AccordError
from accord.tasks.chat import Chat
from accord.tasks.labels import Labels
from accord.tasks.readers import DataFile

ANSWER_SCORES = ("auto", "whole", "first", "per_token")
"""What of an answer counts in the generator's log-odds; "auto" is settled under a tokenizer, see `accord.gap`."""


@dataclass(frozen=True)
class Item:
    """One question: the data row, the answer that the generator form scores, and whether it is right.

    >>> Item({"noun1": "bees", "noun2": "insect"}, answer="insect", gold=True).answer
    'insect'
    """

    fields: Mapping[str, str]  # the data row: what templates may name
    answer: str  # continues the generator prompt as join + answer; has no space around it but a program's indentation
    gold: bool  # is the answer right?
    group: str | None = None  # category, for slices of the report
    similarity: str | None = None  # "high" or "low" where the data has it
    label: str | None = None  # the right one, where the validator chooses among labels: then every answer is right
    prompt: str | None = None  # items of one answer one prompt; None: those with the same generator prompt do


def capitalised(name: str, known: Mapping[str, object]) -> str | None:
    """The field that `{Name}` stands for when only `name` exists: its value then begins with a capital.

    >>> capitalised("Noun", {"noun": "kebabs"})
    'noun'
    """
    lowered = name[:1].lower() + name[1:]
    return lowered if name not in known and lowered in known else None


@dataclass(frozen=True)
class Template:
    """A prompt with `{field}` places; `{Field}` is the field `field` with a capital, to begin a sentence."""

    text: str
    names: tuple[str, ...]
    parts: tuple[tuple[str, str | None], ...]  # literal text, and the field that follows it

    @classmethod
    def parse(cls, text: str, where: object = None) -> "Template":
        """Read `text`; `{{` and `}}` stand for braces; formats and conversions are errors."""
        fix = "write a field as {name} and a brace as {{ or }}"
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise AccordError(f"A template cannot be read: {error}", where=where, got=text, fix=fix) from None
        if any(name is not None and (spec or conversion) for _, name, spec, conversion in pieces):
            raise AccordError("A template's field has a format or a conversion", where=where, got=text, fix=fix)
        parts = tuple((literal, name) for literal, name, _, _ in pieces)
        return cls(text, tuple(dict.fromkeys(name for _, name in parts if name is not None)), parts)

    def fill(self, fields: Mapping[str, str]) -> str:
        """The text with every field in its place, without space at its end: the answer brings its own.

        >>> Template.parse("{Noun} are a kind of ").fill({"noun": "kebabs"})
        'Kebabs are a kind of'
        """
        return "".join(text + ("" if name is None else _value(name, fields)) for text, name in self.parts).rstrip()


def _value(name: str, fields: Mapping[str, str]) -> str:
    lowered = capitalised(name, fields)
    if lowered is None:
        return fields[name]
    return fields[lowered][:1].upper() + fields[lowered][1:]


class Example(NamedTuple):
    """A worked example: a prompt, filled in, and its answer.

    >>> Example("Bees are a kind of", "insect").answer
    'insect'
    """

    prompt: str
    answer: str


@dataclass(frozen=True)
class Form:
    """One way of asking: a phrasing, and the worked examples that stand before every prompt.

    >>> form = Form("short", Template.parse("{noun1} are a kind of"), "zero", ())
    >>> form.prompt(Item({"noun1": "bees"}, "insect", gold=True))
    'bees are a kind of'
    """

    phrasing: str
    template: Template
    shots: str  # "zero" or "few"
    examples: tuple[Example, ...]  # empty for zero-shot
    negated: Template | None = None  # the sentence that wrong answers rightly continue, where there is one
    join: str = " "  # between a prompt and its answer

    def prompt(self, item: Item, *, negated: bool = False) -> str:
        """The examples and the filled-in template (the negated one, if asked), a blank line between them."""
        return "\n\n".join((*self.shown, self.filled(item, negated=negated)))

    @property
    def shown(self) -> list[str]:
        """The worked examples as text, each with its answer."""
        return [self.answered(*example) for example in self.examples]

    def answered(self, prompt: str, answer: str) -> str:
        """A prompt and its answer as one text."""
        return prompt + self.join + answer

    def filled(self, item: Item, *, negated: bool = False) -> str:
        """The filled-in template alone."""
        template = self.negated if negated and self.negated else self.template
        return template.fill(item.fields)

    @property
    def settings(self) -> dict[str, Any]:
        """What fixes this form's prompts, for the record."""
        return {
            "phrasing": self.phrasing,
            "template": self.template.text,
            "shots": self.shots,
            "examples": self.shown,
        }


@dataclass(frozen=True)
class Task:
    """Items with their two forms, ready to be scored; `settings` holds everything that fixes the numbers.

    With `chat` each prompt is put into the model's chat template when it is read; `prompts` is always plain text.
    `answer_score` is one of `ANSWER_SCORES`. `pool` are all items of the data, before split and limit, so that "auto"
    comes out alike for every part of them; empty where these are all.

    >>> task = accord.task("hypernymy", split="test", limit=20)
    >>> len(task.items), task.labels.words
    (20, {'yes': ('Yes',), 'no': ('No',)})
    >>> task.prompts(task.items[0])[0].startswith("Complete the sentence:")
    True
    """

    name: str
    split: str
    items: tuple[Item, ...]
    generator: Form
    validator: Form
    chat: Chat | None
    settings: dict[str, Any]
    nested: bool = False  # can it be divided by `split_kind="nested"`?
    rewordings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # form -> its other phrasings
    labels: Labels = field(default_factory=Labels.yes_or_no)
    answer_score: str = "auto"
    pool: tuple[Item, ...] = ()

    def __repr__(self) -> str:
        lines = [f"Task {self.name}, {self.split}: {len(self.items):,} items"]
        if self.items:
            ends = (prompt.rsplit("\n", 1)[-1] for prompt in self.prompts(self.items[0]))
            lines += [f"  {form}: {end!r}" for form, end in zip(("generator", "validator"), ends, strict=True)]
        return "\n".join(lines)

    @property
    def usual_split_kind(self) -> Literal["nested", "random"]:
        """How it is divided into what repairs learn from and what they are judged on: nested where it can be."""
        return "nested" if self.nested else "random"

    def prompts(self, item: Item) -> tuple[str, str]:
        """The generator prompt and the validator prompt of an item, neither with a space at its end."""
        return self.generator.prompt(item), self.validator.prompt(item)

    def check_negated(self, option: str) -> None:
        """AccordError, saying that `option` needs it, unless the generator form has a negated wording."""
        if self.generator.negated is None:
            raise AccordError(
                f"task {self.name!r} has no negated wording of its generator form {self.generator.phrasing!r}",
                fix=f"give one (`negated` in a task file), or leave {option} off",
            )


@dataclass(frozen=True)
class PlacedItem:
    """An item as it was read, its place for errors, and the split that the file gives it, if any."""

    item: Item
    where: str
    split: str | None = None


@dataclass(frozen=True)
class ReadItems:
    """All items of a data file, and the places of the entries that yield none, by reason."""

    items: Sequence[PlacedItem]
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Definition:
    """A kind of task: how its data is read, how it may be phrased, and its worked examples.

    There is one of each, so that what is made by one is kept under it.
    """

    name: str
    asks: str  # one sentence: what the task asks
    needs: str  # one sentence: the data file it reads
    generators: Mapping[str, str]  # phrasing -> template; the first is the default
    validators: Mapping[str, str]
    generator_shots: Sequence[Item]  # right answers only
    validator_shots: Sequence[Item]  # as many right as wrong, in an order that does not foretell the next
    read: Callable[[DataFile], ReadItems]
    data: Path | None = None  # the file it reads when the user names none
    words: tuple[str, str] | None = None  # member and category field, where items are pairs of words
    test_share: float = 0.25
    negated: Mapping[str, str] = field(default_factory=dict)  # generator phrasing -> template for wrong answers
    recorded: Mapping[str, Any] = field(default_factory=dict)  # further settings to record
    join: str = " "  # between a prompt and its answer
    answer_join: str | None = None  # between a generator prompt and its answer, where that is another
    labels: Labels = field(default_factory=Labels.yes_or_no)  # what the validator may answer
    chat: Chat = field(default_factory=Chat)  # how it is asked in a chat, where the user asks for one
    answer_score: str = "auto"  # where the user asks for none
