"""Which word comes next in a story? Final words of passages, after the LAMBADA benchmark."""

from accord.tasks.base import Definition, Item, PlacedItem, ReadItems
from accord.tasks.readers import DataFile, DataRow, read_rows, sift

EXAMPLES = (  # context, its final word, the word that the validator is asked about
    (
        "It had begun to rain, and Mara's umbrella was still on the train. She would have to buy a new",
        "umbrella",
        "umbrella",
    ),
    (
        "The bakery sells out of rye bread by nine. When Tom came at ten, there was no more rye",
        "bread",
        "window",
    ),
    (
        "Her uncle wound up the old clock, and soon they could all hear the ticking of the",
        "clock",
        "river",
    ),
    (
        "In May we planted two rows of beans behind the house. By August we were eating our own",
        "beans",
        "beans",
    ),
)


def read(source: DataFile) -> ReadItems:
    """Columns context, final_word, correct; one JSON object a line, or any other table."""

    def items_of(row: DataRow) -> list[PlacedItem]:
        return [PlacedItem(_item(row.text("context"), row.text("final_word"), row.flag("correct")), row.where)]

    return ReadItems(*sift(read_rows(source, ".jsonl"), items_of))


def _item(context: str, word: str, gold: bool) -> Item:
    return Item({"context": context, "final_word": word}, word, gold)


DEFINITION = Definition(
    name="next-word",
    asks="Is this the word that comes next in the passage?",
    needs="JSON lines with context, final_word and correct (Yes/No), as in LAMBADA",
    generators={
        "question": "What word is most likely to come next in the following text?\nText: {context}",
        "complete": "Continue the text with one word.\nText: {context}",
        "plain": "{context}",
    },
    validators={
        "likely": 'Text: {context}\nIs "{final_word}" the most likely next word of this text? Answer:',
        "think": 'Text: {context}\nDo you think that the next word of this text is "{final_word}"? Answer:',
        "continue": 'Text: {context}\nDoes the word "{final_word}" continue this text correctly? Answer:',
    },
    generator_shots=[_item(context, right, True) for context, right, _ in EXAMPLES],
    validator_shots=[_item(context, other, other == right) for context, right, other in EXAMPLES],
    read=read,
)
