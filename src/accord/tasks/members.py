"""Which things are a kind of furniture? The pairs of the hypernymy data by category: one prompt, many answers."""

from accord.tasks import hypernymy
from accord.tasks.base import Definition, Item, PlacedItem, ReadItems
from accord.tasks.readers import DataFile, DataRow, sift


def read(source: DataFile) -> ReadItems:
    """Columns category, member, label, similarity; or, as hypernymy has them, noun2, noun1, taxonomic."""

    def items_of(row: DataRow) -> list[PlacedItem]:
        category, member, gold = (
            row.first_of(own, theirs)
            for own, theirs in (("category", "noun2"), ("member", "noun1"), ("label", "taxonomic"))
        )
        similarity = row.one_of("similarity", ("high", "low"))
        return [PlacedItem(_item(row.text(category), row.text(member), row.flag(gold), similarity), row.where)]

    return ReadItems(*sift(hypernymy.rows(source), items_of))


def _item(category: str, member: str, gold: bool, similarity: str | None = None) -> Item:
    return Item({"category": category, "member": member}, member, gold, category, similarity)


DEFINITION = Definition(
    name="hypernymy-members",
    asks="Which things are of this kind?",
    needs="JSON lines with category, member (plural), label (yes/no) and similarity (high/low), or a hypernymy file",
    generators={
        "include": "Kinds of {category} include",
        "such-as": "There are many kinds of {category}, such as",
        "of-all": "Of all things that are a kind of {category}, the first that come to mind are",
    },
    negated={
        "include": "Kinds of {category} do not include",
        "such-as": "There are many things that are not a kind of {category}, such as",
        "of-all": "Of all things that are not a kind of {category}, the first that come to mind are",
    },
    validators={
        "think": "Do you think {member} are a kind of {category}? Answer:",
        "true": "Is it true that {member} are a kind of {category}? Answer:",
        "view": "In your view, are {member} a type of {category}? Answer:",
    },
    generator_shots=[_item(category, noun, True) for noun, category, _ in hypernymy.EXAMPLES],
    validator_shots=[_item(other, noun, other == category) for noun, category, other in hypernymy.EXAMPLES],
    read=read,
    data=hypernymy.DEFINITION.data,
    answer_score="whole",
)
