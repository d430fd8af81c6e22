"""Is this response right? Prompts with whole responses of any length, several of each."""

from accord.tasks.base import Definition, Item, PlacedItem, ReadItems
from accord.tasks.readers import DataFile, DataRow, read_rows, sift

EXAMPLES = (  # prompt, a right response, the response that the validator is asked about
    (
        "Name three colours, each on a line of its own.",
        "violet\nindigo\nturquoise",
        "violet\nindigo\nturquoise",
    ),
    (
        "Write the word harbour backwards.",
        "ruobrah",
        "harbour harbour",
    ),
    (
        "Say in one sentence what an anvil is for.",
        "A smith shapes hot metal on an anvil.",
        "An anvil keeps milk fresh for a week.",
    ),
    (
        "Answer with a single digit: how many sides has a triangle?",
        "3",
        "3",
    ),
)


def read(source: DataFile) -> ReadItems:
    """Columns prompt, response, correct and perhaps strategy, how it was made: one JSON object a line, or a table."""

    def items_of(row: DataRow) -> list[PlacedItem]:
        strategy = row.text("strategy") if "strategy" in row.values else None
        one = item(row.text("prompt"), row.passage("response"), row.flag("correct"), strategy)
        return [PlacedItem(one, row.where)]

    return ReadItems(*sift(read_rows(source, ".jsonl"), items_of))


def item(prompt: str, response: str, gold: bool, strategy: str | None = None) -> Item:
    """A response to a prompt, as an item."""
    return Item({"prompt": prompt, "response": response}, response, gold, strategy)


DEFINITION = Definition(
    name="responses",
    asks="Is this a right response to the prompt?",
    needs="JSON lines with prompt, response (of any length) and correct (Yes/No), several of each prompt",
    generators={
        "plain": "{prompt}",
        "instruction": "Instruction: {prompt}\nResponse:",
        "correct": "Give a correct response.\n{prompt}",
    },
    negated={
        "plain": "Give an incorrect response.\n{prompt}",
        "instruction": "Instruction: {prompt}\nIncorrect response:",
        "correct": "Give an incorrect response.\n{prompt}",
    },
    validators={
        "right": "Prompt: {prompt}\nResponse: {response}\nIs this response right? Answer:",
        "think": "Instruction: {prompt}\nResponse: {response}\nDo you think that this response is correct? Answer:",
        "task": "Someone was asked: {prompt}\nThis was the reply: {response}\nIs the reply correct? Answer:",
    },
    generator_shots=[item(prompt, right, True) for prompt, right, _ in EXAMPLES],
    validator_shots=[item(prompt, other, other == right) for prompt, right, other in EXAMPLES],
    read=read,
    answer_join="\n",
    answer_score="whole",
)
