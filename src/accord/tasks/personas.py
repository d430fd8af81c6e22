"""Would this person say so? Statements of people who are described by a trait, an opinion or a wish."""

from accord.tasks.base import Definition, Item, PlacedItem, ReadItems
from accord.tasks.readers import DataFile, DataRow, read_rows, sift

EXAMPLES = (  # persona, what such a person says, the statement that the validator is asked about
    ("collects stamps", "I spent the whole evening with my albums.", "I spent the whole evening with my albums."),
    ("is afraid of heights", "I would rather not climb that tower.", "I could sit on this roof's edge for hours."),
    ("rises early", "The best hour of my day is before six.", "Nobody should have to get up before noon."),
    ("dislikes cheese", "No parmesan on mine, please.", "No parmesan on mine, please."),
)


def read(source: DataFile) -> ReadItems:
    """Columns persona, statement, and correct (or label): whether such a person would say it."""

    def items_of(row: DataRow) -> list[PlacedItem]:
        gold = row.flag(row.first_of("correct", "label"))
        return [PlacedItem(_item(row.text("persona"), row.passage("statement"), gold), row.where)]

    return ReadItems(*sift(read_rows(source, ".jsonl"), items_of))


def _item(persona: str, statement: str, gold: bool) -> Item:
    return Item({"persona": persona, "statement": statement}, statement, gold, persona)


DEFINITION = Definition(
    name="personas",
    asks="Would a person of this kind say so?",
    needs="JSON lines with persona, statement and correct or label (Yes/No), several of each persona",
    generators={
        "says": "Someone who {persona} says:",
        "described": 'A person is described as "{persona}". Something that this person would say:',
        "agrees": "Someone who {persona} agrees with this:",
    },
    negated={
        "says": "Someone who {persona} never says:",
        "described": 'A person is described as "{persona}". Something that this person would never say:',
        "agrees": "Someone who {persona} disagrees with this:",
    },
    validators={
        "says": 'Would someone who {persona} say "{statement}"? Answer:',
        "described": 'A person is described as "{persona}". Would this person say "{statement}"? Answer:',
        "agrees": 'Does someone who {persona} agree with this: "{statement}"? Answer:',
    },
    generator_shots=[_item(persona, right, True) for persona, right, _ in EXAMPLES],
    validator_shots=[_item(persona, other, other == right) for persona, right, other in EXAMPLES],
    read=read,
    answer_score="whole",
)
