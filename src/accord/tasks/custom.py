"""A task of your own: any table (CSV, TSV, JSON lines, Parquet) and two templates, from a task file or a study file."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from accord.errors import AccordError, nearest
from accord.tasks.base import Definition, Found, Item, Reading, Template, capitalised
from accord.tasks.readers import Row, Source, read_rows, sift


class CustomTask(BaseModel):
    """The keys of a task file (or of a `[tasks.NAME]` table in a study file)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("custom", min_length=1, description="Name of the task in reports.")
    data: Path = Field(
        description="Data file: .csv or .tsv (with a header line), .jsonl, .json or .parquet, also with .gz; "
        "relative to the task file."
    )
    generator: str = Field(
        min_length=1,
        description="Prompt that the answer continues: 'The capital of {country} is'. A name in braces is a "
        "column; {Country} is the column country with a capital first letter. Space at the end is dropped.",
    )
    validator: str = Field(
        min_length=1,
        description="Prompt that asks for yes or no: 'Is {city} the capital of {country}? Answer:'.",
    )
    answer: str = Field(
        min_length=1,
        description="What continues the generator prompt: a column ('city') or a template ('the {river}').",
    )
    negated: str | None = Field(
        None,
        description="The generator prompt as a wrong answer rightly continues it: 'The capital of {country} is not'. "
        "Only repairs that train on negations read it.",
    )
    gold: str = Field(description="Column that says whether the answer is right: yes/no, y/n, true/false or 1/0.")
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
        text = Source.open(path).text
        try:
            table = tomllib.loads(text)
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
    return min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")


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
    found = re.search(rf"^\s*\[*\"?{re.escape(key)}\b", text, re.MULTILINE)
    return f"{path}:{text.count(chr(10), 0, found.end()) + 1}" if found else str(path)


def definition(custom: CustomTask) -> Definition:
    """What the rest of the room needs to know of a custom task."""
    form = _Columns(custom)
    shots = [form.item(Row(shot, f"{custom.name}: shots, row {n}")) for n, shot in enumerate(custom.shots, start=1)]
    return Definition(
        name=custom.name,
        asks="A task of your own.",
        needs="the file that `data` names",
        generators={"custom": custom.generator},
        validators={"custom": custom.validator},
        generator_shots=[shot for shot in shots if shot.gold],
        validator_shots=shots,
        negated={} if custom.negated is None else {"custom": custom.negated},
        read=lambda source: Reading(*sift(read_rows(source), lambda row: [form.found(row)])),
        data=custom.data,
        test_share=custom.test_share,
        recorded={"columns": custom.model_dump(include={"answer", "gold", "group", "similarity", "split"})},
    )


class _Columns:
    """From a row to an item: which columns and templates give what."""

    def __init__(self, custom: CustomTask) -> None:
        self.custom = custom
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

    def item(self, row: Row) -> Item:
        for key, template in self.templates:
            self._check(key, template, row)
        fields = row.texts()
        answer = self.answer.fill(fields).strip() if self.answer else row.text(self.custom.answer)
        return Item(fields, answer, row.flag(self.custom.gold))

    def found(self, row: Row) -> Found:
        """An item with what a worked example has no need of: its group, similarity and split."""
        group, similarity, split = self.custom.group, self.custom.similarity, self.custom.split
        item = replace(
            self.item(row),
            group=row.text(group) if group else None,
            similarity=row.one_of(similarity, ("high", "low")) if similarity else None,
        )
        return Found(item, row.where, row.one_of(split, ("train", "test")) if split else None)

    @staticmethod
    def _check(key: str, template: Template, row: Row) -> None:
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
