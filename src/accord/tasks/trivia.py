"""What is the answer? Questions with right and wrong answers, one of each as in TriviaQA or many."""

from accord.tasks.base import Definition, Item, PlacedItem, ReadItems
from accord.tasks.readers import CellError, DataFile, DataRow, as_text, read_rows, sift

EXAMPLES = (  # question, its answer, the answer that the validator is asked about
    ("Which ocean lies between Africa and Australia?", "Indian Ocean", "Indian Ocean"),
    ("Which metal is liquid at room temperature?", "mercury", "copper"),
    ("How many strings does a violin have?", "four", "nine"),
    ("Which bird lays its eggs in the nests of other birds?", "cuckoo", "cuckoo"),
)


def read(source: DataFile) -> ReadItems:
    """Columns question, answers (the first one counts) or answer, correct, and perhaps strategy, how it was made."""

    def items_of(row: DataRow) -> list[PlacedItem]:
        answer = row.passage("answer") if row.first_of("answers", "answer") == "answer" else _first(row)
        strategy = row.text("strategy") if "strategy" in row.values else None
        item = Item({"question": row.text("question"), "answer": answer}, answer, row.flag("correct"), strategy)
        return [PlacedItem(item, row.where)]

    return ReadItems(*sift(read_rows(source, ".jsonl"), items_of))


def _first(row: DataRow) -> str:
    answers = row.value("answers")
    text = as_text(answers[0]) if isinstance(answers, list) and answers else None
    if not text:
        raise CellError(
            "The answers are no list that begins with some text",
            where=row.where,
            got=str(answers)[:80],
            wanted='["answer", "also right", …]',
        )
    return text


def item(question: str, answer: str, gold: bool) -> Item:
    """An answer to a question, as an item."""
    return Item({"question": question, "answer": answer}, answer, gold)


DEFINITION = Definition(
    name="trivia",
    asks="Is this the answer to the question?",
    needs="JSON lines with question, answer (or answers, a list, the first one counts) and correct (Yes/No)",
    generators={
        "question": "Question: {question}\nAnswer:",
        "quiz": "Here is a quiz question: {question}\nThe correct answer is:",
        "short": "Q: {question}\nA:",
    },
    negated={
        "question": "Question: {question}\nWrong answer:",
        "quiz": "Here is a quiz question: {question}\nA wrong answer is:",
        "short": "Q: {question}\nWrong A:",
    },
    validators={
        "correct": 'Is "{answer}" the correct answer to the question "{question}"? Answer:',
        "think": 'Question: {question}\nDo you think that the answer is "{answer}"? Answer:',
        "proposed": "Question: {question}\nProposed answer: {answer}\nIs this answer correct? Answer:",
    },
    generator_shots=[item(question, right, True) for question, right, _ in EXAMPLES],
    validator_shots=[item(question, other, other == right) for question, right, other in EXAMPLES],
    read=read,
)
