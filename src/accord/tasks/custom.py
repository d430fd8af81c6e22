"""A task of your own: any table (CSV, TSV, JSON lines, Parquet) and two templates, from a task file or a study file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from accord.errors import AccordError, nearest
from accord.section import PATH
from accord.tasks.base import Definition, Item, PlacedItem, ReadItems, Template, capitalised
from accord.tasks.chat import Chat
from accord.tasks.labels import NO, YES, Labels
from accord.tasks.readers import DataFile, DataRow, read_rows, sift
from accord.textfile import tables

Words = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class CustomTask(BaseModel):
    """The keys of a task file (or of a `[tasks.NAME]` table in a study file).

    >>> table = {"data": "cities.csv", "generator": "{country}: its capital is", "answer": "city", "gold": "right"}
    >>> CustomTask.parse({**table, "validator": "Is {city} the capital of {country}? Answer:"}).yes
    ('Yes',)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field("custom", min_length=1, description="Name of the task in reports.")
    data: Path = Field(
        description="Data file: .csv or .tsv (with a header line), .jsonl, .json or .parquet, also with .gz; "
        "relative to the task file.",
        examples=["capitals.tsv"],
        json_schema_extra=PATH,
    )
    generator: str = Field(
        min_length=1,
        description="Prompt that the answer continues: 'The capital of {country} is'. A name in braces is a "
        "column; {Country} is the column country with a capital first letter. Space at the end is dropped.",
        examples=["The capital of {country} is"],
    )
    validator: str = Field(
        min_length=1,
        description="Prompt that asks for yes or no: 'Is {city} the capital of {country}? Answer:'; or, with `labels`, "
        "for one of them.",
        examples=["Is {city} the capital of {country}? Answer:"],
    )
    answer: str = Field(
        min_length=1,
        description="What continues the generator prompt: a column ('city') or a template ('the {river}').",
        examples=["city"],
    )
    negated: str | None = Field(
        None,
        description="The generator prompt as a wrong answer rightly continues it: 'The capital of {country} is not'. "
        "Only repairs that train on negations read it.",
        examples=["The capital of {country} is not"],
    )
    join: str = Field(
        " ",
        max_length=16,
        description='What stands between a prompt and its answer; "" in languages that write no spaces between words.',
    )
    answer_join: str | None = Field(
        None,
        max_length=16,
        description="What stands between the generator prompt and its answer, where that is not `join`: a line break "
        "before a program.",
    )
    gold: str = Field(
        description="Column that says whether the answer is right: yes/no, y/n, true/false, 1/0, or the words of `yes` "
        "and `no`. With `labels`: the column with the right one.",
        examples=["correct"],
    )
    yes: Words = Field(
        ("Yes",), description='Words that the validator affirms with, such as ["Ja"]; worked examples show the first.'
    )
    no: Words = Field(("No",), description='Words that it denies with, such as ["Nein"]; given if `yes` is.')
    labels: tuple[str, ...] = Field(
        (),
        description='What the validator chooses from, in place of yes and no: ["positive", "negative", "neutral"]. '
        "Every answer is then a right one, and the validator's score is the log-odds of the right label.",
    )
    system: str | None = Field(
        None,
        description='System message, where the task is asked in a chat, such as "Answer with one word."',
    )
    chat_options: dict[str, JsonValue] = Field(
        {}, description="What a chat template is given besides: { enable_thinking = false }, a fixed date."
    )
    chat_turns: bool = Field(
        True, description="In a chat each worked example is a turn of its own; false: all stand in one message."
    )
    answer_score: Literal["auto", "whole", "first", "per_token"] = Field(
        "auto",
        description="What the generator's log-odds are of: first, the answer's first token; whole, all its tokens; "
        "per_token, their geometric mean. auto: whole where the first tokens of right and wrong answers are the same "
        "for more than 1 % of the items, else first.",
    )
    prompt: str | None = Field(
        None,
        description="Column that says which rows answer one prompt: they stay on one side of a split, and are compared "
        "with one another. Without it, those with the same generator prompt.",
    )
    group: str | None = Field(None, description="Column with a category, for slices of the report.")
    similarity: str | None = Field(None, description="Column with high or low, for slices of the report.")
    split: str | None = Field(None, description="Column with train or test; without it the split is random.")
    test_share: float = Field(0.25, gt=0, lt=1, description="Share of the questions that a random split tests on.")
    shots: tuple[dict[str, str | int | float | bool], ...] = Field(
        (),
        description="Worked examples for few-shot prompts: rows with the columns that templates, answer and gold name.",
    )

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> "CustomTask":
        """A checked task from a table of keys; whatever is wrong with it becomes one `AccordError`."""
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise _refused(_first(error), "the table of the task") from None

    @classmethod
    def load(cls, path: Path) -> "CustomTask":
        """A task from a .toml file, named after the file; its data path is relative to the file's folder."""
        text = DataFile.open(path).text
        try:
            table = tables(text)
        except (ValueError, RecursionError) as error:
            raise AccordError(f"The task file is not valid TOML: {error}", where=path) from None
        try:
            custom = cls.model_validate({"name": path.stem, **table})
        except ValidationError as error:
            first = _first(error)
            raise _refused(first, _line(path, text, str(first["loc"][0]))) from None
        return custom.model_copy(update={"data": path.parent / custom.data})


def _first(error: ValidationError) -> ErrorDetails:
    """The complaint to show: an unknown key before the missing one that it was perhaps meant to be."""
    return min(error.errors(), key=lambda complaint: complaint["type"] != "extra_forbidden")


def _refused(first: ErrorDetails, where: object) -> AccordError:
    """A complaint of pydantic in our words."""
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return AccordError(f"A task has no key {key!r}", where=where, wanted=nearest(key, CustomTask.model_fields))
    if first["type"] == "missing":
        return AccordError(
            f"The task lacks the key {key!r}", where=where, wanted=CustomTask.model_fields[key].description
        )
    return AccordError(f"The key {key!r} is wrong: {first['msg']}", where=where, got=repr(first["input"]))


def _line(path: Path, text: str, key: str) -> str:
    """Where a key stands in a task file, or the file where it does not."""
    match = re.search(rf"^\s*\[*\"?{re.escape(key)}\b", text, re.MULTILINE)
    return f"{path}:{text.count(chr(10), 0, match.end()) + 1}" if match else str(path)


def definition(custom: CustomTask) -> Definition:
    """The definition that a custom task amounts to; the same for the same task."""
    return _defined(_Alike(custom, (custom.model_dump_json(), frozenset(custom.model_fields_set))))


@dataclass(frozen=True)
class _Alike:
    """A task that stands for all of the same content."""

    custom: CustomTask = field(compare=False)
    content: tuple[str, frozenset[str]]


@lru_cache(maxsize=64)
def _defined(alike: _Alike) -> Definition:
    custom = alike.custom
    columns = _Columns(custom)
    rows = [DataRow(shot, f"{custom.name}: shots, row {n}") for n, shot in enumerate(custom.shots, start=1)]
    shots = [columns.item(row) for row in rows]
    chat = Chat(custom.system, custom.chat_options, custom.chat_turns)
    return Definition(
        name=custom.name,
        asks="A task of your own.",
        needs="the file that `data` names",
        generators={"custom": custom.generator},
        validators={"custom": custom.validator},
        generator_shots=[shot for shot in shots if shot.gold],
        validator_shots=shots,
        negated={} if custom.negated is None else {"custom": custom.negated},
        read=lambda source: ReadItems(*sift(read_rows(source), lambda row: [columns.placed(row)])),
        data=custom.data,
        test_share=custom.test_share,
        answer_score=custom.answer_score,
        recorded={
            "columns": custom.model_dump(include={"answer", "gold", "group", "similarity", "split"})
            | ({} if custom.prompt is None else {"prompt": custom.prompt})
        },
        join=custom.join,
        answer_join=custom.answer_join,
        labels=columns.labels,
        chat=chat,
    )


def _labels(custom: CustomTask) -> Labels:
    where, keys = f"{custom.name}: labels, yes, no", custom.model_fields_set & {"yes", "no"}
    if not keys:
        return Labels.choice(custom.labels, where) if custom.labels else Labels.yes_or_no()
    if custom.labels:
        fix = "give labels alone, for a validator that chooses, or yes and no"
        raise AccordError("A validator chooses from labels, or says yes or no", where=custom.name, fix=fix)
    if keys != {"yes", "no"}:
        lacking = "no" if "yes" in keys else "yes"
        fix = f"give both: {lacking} = […]"
        raise AccordError(f"The words for {keys.pop()} have none for {lacking} beside them", where=custom.name, fix=fix)
    return Labels.yes_or_no(custom.yes, custom.no, where)


class _Columns:
    """From a row to an item: which columns and templates give what."""

    def __init__(self, custom: CustomTask) -> None:
        self.custom, self.labels = custom, _labels(custom)
        self.templates: list[tuple[str, Template]] = [
            (key, Template.parse(text, where=f"{custom.name}: {key}"))
            for key, text in (("generator", custom.generator), ("validator", custom.validator))
        ]
        self.answer = None
        if "{" in custom.answer:
            self.answer = Template.parse(custom.answer, where=f"{custom.name}: answer")
            self.templates.append(("answer", self.answer))
        if custom.negated is not None:
            self.templates.append(("negated", Template.parse(custom.negated, where=f"{custom.name}: negated")))

    def item(self, row: DataRow) -> Item:
        for key, template in self.templates:
            self._check(key, template, row)
        fields = row.texts()
        answer = self.answer.fill(fields).strip() if self.answer else row.passage(self.custom.answer)
        if self.labels.chooses:
            return Item(fields, answer, gold=True, label=self._label(row))
        return Item(fields, answer, self._gold(row))

    def _gold(self, row: DataRow) -> bool:
        """Whether the answer is right, by the usual words or else by the task's own."""
        return row.flag(self.custom.gold, self.labels.words[YES], self.labels.words[NO])

    def _label(self, row: DataRow) -> str:
        """The right label, as the task spells it."""
        spelled = {label.lower(): label for label in self.labels.words}
        return spelled[row.one_of(self.custom.gold, list(spelled))]

    def placed(self, row: DataRow) -> PlacedItem:
        """An item with what a worked example has no need of: its group, similarity and split."""
        group, similarity, split = self.custom.group, self.custom.similarity, self.custom.split
        item = replace(
            self.item(row),
            group=row.text(group) if group else None,
            similarity=row.one_of(similarity, ("high", "low")) if similarity else None,
            prompt=row.text(self.custom.prompt) if self.custom.prompt else None,
        )
        return PlacedItem(item, row.where, row.one_of(split, ("train", "test")) if split else None)

    @staticmethod
    def _check(key: str, template: Template, row: DataRow) -> None:
        for name in template.names:
            column = capitalised(name, row.values) or name
            if column not in row.values:
                raise AccordError(
                    f"The {key} template names {{{name}}}, which is no column",
                    where=row.where,
                    got=template.text,
                    wanted=nearest(name, row.values),
                )
            row.text(column)
