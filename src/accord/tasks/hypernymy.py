"""Are kebabs a kind of food? Pairs of a plural noun and a category, built in or from a reference file."""

from pathlib import Path

from accord.tasks.base import Definition, Item, PlacedItem, ReadItems
from accord.tasks.readers import DataFile, DataRow, read_rows, read_table, sift
from accord.textfile import ending

COLUMNS = ("noun1", "noun2", "taxonomic", "similarity")

# No noun and no category of these is in the built-in data.
EXAMPLES = (  # noun, its category, the category that the validator is asked about
    ("mortgages", "loan", "loan"),
    ("integers", "number", "tax"),
    ("tariffs", "tax", "number"),
    ("typhoons", "storm", "storm"),
)


def read(source: DataFile) -> ReadItems:
    """The reference format, or others that name the same columns; see `rows`."""
    return ReadItems(*sift(rows(source), lambda row: [PlacedItem(_item(row), row.where)]))


def rows(source: DataFile) -> list[DataRow]:
    """The rows of the reference format: tab-separated, no header; what follows the fourth column is left alone.

    Other formats (.csv, .jsonl, .json, .parquet) name their columns.
    """
    named = ending(source.path) in (".csv", ".jsonl", ".json", ".parquet")
    return read_rows(source) if named else read_table(source, columns=COLUMNS)


def _item(row: DataRow) -> Item:
    noun, category = row.text("noun1"), row.text("noun2")
    return Item(
        fields={"noun1": noun, "noun2": category},
        answer=category,
        gold=row.flag("taxonomic"),
        group=category,
        similarity=row.one_of("similarity", ("high", "low")),
    )


def _shot(noun: str, category: str, gold: bool) -> Item:
    return Item({"noun1": noun, "noun2": category}, category, gold)


DEFINITION = Definition(
    name="hypernymy",
    asks="Is the first noun a kind of the second?",
    needs="tab-separated, no header: noun1 (plural), noun2, taxonomic (yes/no), similarity (high/low)",
    generators={
        "complete": "Complete the sentence: {noun1} are a kind of",
        "plain": "{Noun1} are a kind of",
        "type": "Everyone knows that {noun1} are a type of",
        "teacher": "Our teacher explained to us that {noun1} are a kind of",
    },
    negated={
        "complete": "Complete the sentence: {noun1} are not a kind of",
        "plain": "{Noun1} are not a kind of",
        "type": "Everyone knows that {noun1} are not a type of",
        "teacher": "Our teacher explained to us that {noun1} are not a kind of",
    },
    validators={
        "think": "Do you think {noun1} are a kind of {noun2}? Answer:",
        "true": "Is it true that {noun1} are a kind of {noun2}? Answer:",
        "view": "In your view, are {noun1} a type of {noun2}? Answer:",
        "yes-or-no": "Yes or no: are {noun1} a kind of {noun2}? Answer:",
    },
    generator_shots=[_shot(noun, category, True) for noun, category, _ in EXAMPLES],
    validator_shots=[_shot(noun, other, other == category) for noun, category, other in EXAMPLES],
    read=read,
    data=Path(__file__).parent / "data" / "hypernymy.tsv",
    words=("noun1", "noun2"),
)
