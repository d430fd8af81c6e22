"""Other relations, which a repair of one should leave alone: wheels and cars, hot and cold, France and Paris.

Each line of `data/RELATION.tsv` is a subject, its right answer, and a plausible wrong one, written by hand. It gives
two items of a task: the right answer with gold yes, then the wrong one with gold no. Both have the same generator
prompt, and each its own yes/no question, so that gold is balanced and every answer has its rival.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from accord.arguments import checked
from accord.tasks import Example, Form, Item, Task, Template
from accord.tasks.readers import DataFile, DataRow, read_rows

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Relation:
    """How a relation is asked. Templates name {subject} and {other}, the answer that is asked about.

    Attributes:
        examples: of the validator: subject, other, whether it is right. No subject of the data is among them.
    """

    name: str
    generator: str
    validator: str
    examples: tuple[tuple[str, str, bool], ...]


RELATIONS = (
    Relation(
        "part-whole",
        "{Subject} are parts of",
        "Are {subject} parts of {other}? Answer:",
        (("leaves", "plants", True), ("doors", "rabbits", False), ("teeth", "rugs", False), ("knees", "legs", True)),
    ),
    Relation(
        "synonym",
        "The word {subject} means the same as",
        "Does the word {subject} mean the same as {other}? Answer:",
        (("ocean", "sea", True), ("bunny", "hammer", False), ("thin", "noisy", False), ("middle", "center", True)),
    ),
    Relation(
        "antonym",
        "The opposite of {subject} is",
        "Is {other} the opposite of {subject}? Answer:",
        (("loud", "quiet", True), ("sour", "square", False), ("cheap", "wooden", False), ("asleep", "awake", True)),
    ),
    Relation(
        "capital-country",
        "The capital of {subject} is",
        "Is {other} the capital of {subject}? Answer:",
        (
            ("Chile", "Santiago", True),
            ("Nepal", "Rabat", False),
            ("Libya", "Tunis", False),
            ("Cyprus", "Nicosia", True),
        ),
    ),
    Relation(
        "verb-object",
        "One thing that people {subject} is",
        "Do people {subject} {other}? Answer:",
        (("ask", "questions", True), ("boil", "shadows", False), ("rent", "snow", False), ("count", "coins", True)),
    ),
    Relation(
        "plural",
        "The plural of {subject} is",
        "Is {other} the plural of {subject}? Answer:",
        (
            ("butterfly", "butterflies", True),
            ("bench", "benchs", False),
            ("self", "selfs", False),
            ("wish", "wishes", True),
        ),
    ),
    Relation(
        "colour",
        "The color of {subject} is",
        "Is the color of {subject} {other}? Answer:",
        (
            ("ketchup", "red", True),
            ("a blueberry", "yellow", False),
            ("charcoal", "pink", False),
            ("paper", "white", True),
        ),
    ),
)


@checked
@cache
def relation_tasks(facts: int | None = None) -> tuple[Task, ...]:
    """Every relation as a task; items 2i and 2i + 1 are the right and the wrong answer of line i.

    Args:
        facts: lines of each relation, from the first; all by default, and with 0 there are no tasks.
    """
    return () if facts == 0 else tuple(_task(relation, facts) for relation in RELATIONS)


def _task(relation: Relation, facts: int | None) -> Task:
    source = DataFile.open(_DATA / f"{relation.name}.tsv")
    items = tuple(item for row in read_rows(source)[:facts] for item in _items(row))
    generator = Form("first", Template.parse(relation.generator), "zero", ())
    template = Template.parse(relation.validator)
    examples = tuple(
        Example(template.fill({"subject": subject, "other": other}), "Yes" if gold else "No")
        for subject, other, gold in relation.examples
    )
    validator = Form("first", template, "few", examples)
    settings = {
        "name": relation.name,
        "data_sha256": source.sha256,
        "generator": generator.settings,
        "validator": validator.settings,
        "items": len(items),
    }
    return Task(relation.name, "all", items, generator, validator, None, settings)


def _items(row: DataRow) -> Iterator[Item]:
    subject = row.text("subject")
    for column, gold in (("answer", True), ("wrong", False)):
        answer = row.text(column)
        yield Item({"subject": subject, "other": answer}, answer, gold)
