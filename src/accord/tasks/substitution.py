"""Which word can stand in for another, in its sentence? Lexical substitution, after the SWORDS benchmark."""

import re

from accord.tasks.base import Definition, Item, PlacedItem, ReadItems
from accord.tasks.readers import CellError, DataFile, DataRow, as_text, read_rows, sift

EXAMPLES = (  # context, target, a right replacement, the replacement that the validator is asked about
    ("The *rapid* growth of the town surprised everyone.", "rapid", "fast", "fast"),
    ("She *purchased* two tickets for the evening show.", "purchased", "bought", "painted"),
    ("Her *reply* came by post three days later.", "reply", "answer", "mistake"),
    ("After the long trip they were *glad* to be home.", "glad", "happy", "happy"),
)


def read(source: DataFile) -> ReadItems:
    """A JSON list of contexts with scored substitutes: the best is the yes item, the worst the no item."""
    unclear = []

    def items_of(row: DataRow) -> list[PlacedItem]:
        context, target = _marked(row), row.text("target")
        ranked = _substitutes(row, target)
        if not ranked or ranked[0][1] == ranked[-1][1]:
            unclear.append(row.where)  # nothing tells a right substitute from a wrong one
            return []
        pair = ((ranked[0][0], True), (ranked[-1][0], False))
        return [PlacedItem(_item(context, target, word, gold), row.where) for word, gold in pair]

    items, skipped = sift(read_rows(source, ".jsonl"), items_of)
    return ReadItems(items, {**skipped, "no best and worst substitute": unclear})


def _marked(row: DataRow) -> str:
    """The context on one line, with the target between asterisks wherever it stands."""
    context, target = (" ".join(row.text(column).split()) for column in ("context", "target"))
    for pattern in (rf"(?<!\w){re.escape(target)}(?!\w)", re.escape(target)):  # a whole word, or else a part
        marked, n = re.subn(pattern, lambda match: f"*{match[0]}*", context)
        if n:
            return marked
    raise CellError("The target is not in its context", where=row.where, got=repr(target), wanted=repr(context))


def _substitutes(row: DataRow, target: str) -> list[tuple[str, float]]:
    """The scored substitutes, best first; the target itself is none. Ties keep the order of the file."""
    entries = row.value("substitutes")
    good = isinstance(entries, list) and all(isinstance(e, list) and len(e) == 2 for e in entries)
    scored = []
    for word, score in entries if good and isinstance(entries, list) else [("", None)]:
        text = as_text(word)
        if not text or isinstance(score, bool) or not isinstance(score, int | float):
            raise CellError(
                "The substitutes are not pairs of a word and a score",
                where=row.where,
                got=str(entries)[:80],
                wanted='[["word", 80], ["other", 0], …]',
            )
        scored.append((text, float(score)))
    return sorted((s for s in scored if s[0].lower() != target.lower()), key=lambda s: -s[1])


def _item(context: str, target: str, replacement: str, gold: bool) -> Item:
    return Item({"context": context, "target": target, "replacement": replacement}, replacement, gold)


DEFINITION = Definition(
    name="substitution",
    asks="Can another word replace the marked one without changing the meaning?",
    needs="a JSON list of {context, target, substitutes: [[word, score], …]}, as in SWORDS",
    generators={
        "synonym": 'Text: {context}\nIn this text, the word "{target}" is synonymous with',
        "replace": 'Text: {context}\nThe word "{target}" in this text can be replaced by',
        "meaning": 'Text: {context}\nHere "{target}" means the same as',
    },
    validators={
        "synonym": 'Text: {context}\nIn this text, is the word "{target}" synonymous with "{replacement}"? Answer:',
        "replace": 'Text: {context}\nCan the word "{target}" in this text be replaced by "{replacement}"? Answer:',
        "meaning": 'Text: {context}\nDoes "{target}" mean the same here as "{replacement}"? Answer:',
    },
    generator_shots=[_item(context, target, right, True) for context, target, right, _ in EXAMPLES],
    validator_shots=[_item(context, target, other, other == right) for context, target, right, other in EXAMPLES],
    read=read,
)
