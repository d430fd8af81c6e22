"""Relations between words: capitals and countries, hot and cold, wheels and cars. Half may be learned from, half judge.

What a repair does to questions that it has no business with is measured on some relations; a repair that is to leave
them alone can learn from others (`keep`). The two sets share no relation: `relation_tasks` gives one side
at a time, and what is judged on is never learned from.

`data/relations.toml` says how each is asked, in three wordings of the yes/no question. Each line of
`data/RELATION.tsv` is a subject, its right answer, and a wrong one, which is another subject's right answer: every
answer is right as often as it is wrong, so that nothing is to be had from answers alone. A line gives two items of a
task, the right answer with gold yes, then the wrong one with gold no. Both have the same generator prompt.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal

from accord.arguments import checked
from accord.tasks import Example, Form, Item, Task, Template
from accord.tasks.readers import DataFile, DataRow, read_rows
from accord.textfile import tables

Side = Literal["learned", "judged"]
"""Whether a repair may learn from a relation, or is judged on it."""

FACTS = 22
"""Of each relation that a repair is judged on, how many facts are asked where nobody says otherwise."""

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Relation:
    """How a relation is asked. Templates name {subject} and {other}, the answer that is asked about.

    Attributes:
        validators: the wordings of its yes/no question.
        examples: of the validator: subject, other, whether it is right. No subject of the data is among them.
    """

    name: str
    side: Side
    generator: str
    validators: tuple[str, ...]
    examples: tuple[tuple[str, str, bool], ...]


def _relations() -> Iterator[Relation]:
    for name, keys in tables((_DATA / "relations.toml").read_text(encoding="utf-8")).items():
        examples = tuple((subject, other, gold) for subject, other, gold in keys["examples"])
        yield Relation(name, keys["side"], keys["generator"], tuple(keys["validators"]), examples)


RELATIONS = tuple(_relations())


@checked
@cache
def relation_tasks(side: Side, facts: int | None = None) -> tuple[Task, ...]:
    """The relations of a side as tasks, one a wording: `capital-country-1` to `-3`, with the relation as their group.

    Facts to learn from are asked in every wording. Those to be judged on are dealt out among the wordings, so that each
    is asked once. Items 2i and 2i + 1 of a task are the right and the wrong answer of one fact.

    >>> [len(task.items) for task in relation_tasks("judged", 22)[:3]]
    [16, 14, 14]
    >>> [len(task.items) for task in relation_tasks("learned")[:3]]
    [80, 80, 80]

    Args:
        side: "learned", those that a repair may learn from, or "judged", those that it never does.
        facts: of each relation, at most, the same ones always; all by default, and with 0 there are no tasks.
    """
    relations = () if facts == 0 else tuple(relation for relation in RELATIONS if relation.side == side)
    return tuple(task for relation in relations for task in _tasks(relation, facts))


def _tasks(relation: Relation, facts: int | None) -> Iterator[Task]:
    source = DataFile.open(_DATA / f"{relation.name}.tsv")
    rows = list(read_rows(source))
    # Lines next to each other are alike, such as the capitals of neighbouring countries.
    rows = Random(relation.name).sample(rows, len(rows))[:facts]
    generator = Form("first", Template.parse(relation.generator), "zero", ())
    wordings = len(relation.validators)
    for number, validator in enumerate(relation.validators):
        asked = rows[number::wordings] if relation.side == "judged" else rows
        items = tuple(item for row in asked for item in _items(relation, row))
        if items:
            template = Template.parse(validator)
            examples = tuple(
                Example(template.fill({"subject": subject, "other": other}), "Yes" if gold else "No")
                for subject, other, gold in relation.examples
            )
            form = Form(f"wording {number + 1}", template, "few", examples)
            name = f"{relation.name}-{number + 1}"
            settings = {
                "name": name,
                "data_sha256": source.sha256,
                "generator": generator.settings,
                "validator": form.settings,
                "items": len(items),
            }
            yield Task(name, "all", items, generator, form, None, settings)


def _items(relation: Relation, row: DataRow) -> Iterator[Item]:
    subject = row.text("subject")
    for column, gold in (("answer", True), ("wrong", False)):
        answer = row.text(column)
        yield Item({"subject": subject, "other": answer}, answer, gold, group=relation.name)
