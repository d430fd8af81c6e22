"""From a definition, its data and the user's choices to a task."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from accord.errors import AccordError, nearest
from accord.tasks.base import ANSWER_SCORES, Definition, Example, Form, Item, PlacedItem, ReadItems, Task, Template
from accord.tasks.chat import Chat
from accord.tasks.readers import DataFile, usual_delimiter
from accord.tasks.splits import (
    AT_ONCE,
    MANY_ANSWERS,
    Sides,
    both_words,
    by_unit,
    mixed,
    nested_sides,
    prompt_by_prompt,
    random_sides,
    same_prompt,
    unseen_sides,
)

SPLITS = ("train", "test", "test-unseen-hypernyms", "test-unseen-both", "all")
SPLIT_KINDS = ("random", "unseen-hypernyms", "unseen-both", "nested")
SHOTS = ("zero", "few")


@dataclass(frozen=True)
class TaskChoices:
    """What the user may choose about any task; see `accord.task`."""

    split: str
    split_kind: str
    limit: int | None
    generator_shots: str
    validator_shots: str | None  # None: few where the task has worked examples
    generator_phrasing: str | None
    validator_phrasing: str | None
    chat: bool
    system: str | None  # None, here and below: as the task has it
    chat_options: Mapping[str, Any] | None
    chat_turns: bool | None
    answer_score: str | None  # None: as the task has it
    seed: int


def build(definition: Definition, data: Path | None, choices: TaskChoices) -> Task:
    """Read the data, check it, split it, cut it to the limit, and record everything that was decided."""
    _check(definition, choices)
    generator = _generator_form(definition, choices)
    validator = _validator_form(definition, choices)
    chat = _chat(definition, choices)
    rows = _rows(definition, DataFile.open(_data_path(definition, data)), generator.template, validator.template)
    source, reading, placed, skipped = rows.source, rows.reading, rows.placed, rows.skipped
    items, dropped = _side(rows, choices)
    if not items:
        raise AccordError(
            f"The {choices.split} split has no items",
            where=source.path,
            got=f"{len(placed)} in all; left out: {_counts(reading.skipped) | skipped | dropped}",
            fix="add rows, or take them all: split all",
        )
    prompts = by_unit(items, lambda item: item.prompt or generator.template.fill(item.fields))
    many = len(items) >= MANY_ANSWERS * len(prompts)
    if many:
        items = prompt_by_prompt(prompts, choices.limit, choices.seed)
    else:
        items = mixed(items, choices.seed)[: choices.limit]
    answer_score = choices.answer_score or definition.answer_score
    settings = {
        "name": definition.name,
        "data": source.path.name,
        "data_sha256": source.sha256,
        **({"delimiter": source.delimiter} if source.delimiter != usual_delimiter(source.path) else {}),
        **definition.recorded,
        **({} if definition.join == " " else {"join": definition.join}),
        **({} if definition.answer_join is None else {"answer_join": definition.answer_join}),
        **({} if definition.labels.usual else {"labels": definition.labels.as_json()}),
        "split": choices.split,
        "split_kind": "column" if placed[0].split else choices.split_kind,
        "test_share": definition.test_share,
        "limit": choices.limit,
        **({"limit_takes": f"{AT_ONCE} answers of each prompt, then more"} if many else {}),
        "seed": choices.seed,
        "chat": False if chat is None else chat.settings,
        "answer_score": answer_score,
        "generator": generator.settings,
        "validator": validator.settings,
        "items": len(items),
        "skipped": {**_counts(reading.skipped), **skipped, **dropped},
        **({"skipped_first": _first(reading.skipped)} if any(reading.skipped.values()) else {}),
    }
    return Task(
        definition.name,
        choices.split,
        tuple(items),
        generator,
        validator,
        chat,
        settings,
        nested=_divides(placed, definition),
        rewordings={
            "generator": tuple(name for name in definition.generators if name != generator.phrasing),
            "validator": tuple(name for name in definition.validators if name != validator.phrasing),
        },
        labels=definition.labels,
        answer_score=answer_score,
        pool=tuple(row.item for row in placed),
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """What a data file gives to a task that is asked with two templates, before it is divided."""

    definition: Definition
    source: DataFile
    generator: Template
    reading: ReadItems
    placed: Sequence[PlacedItem]
    skipped: dict[str, int]


# A study asks for the same items in many ways: every split of them, every limit, every wording. What they have in
# common is read, cleaned and divided once.


@lru_cache(maxsize=32)
def _rows(definition: Definition, source: DataFile, generator: Template, validator: Template) -> _Rows:
    first, reading = _read(definition, source)
    placed, skipped = _clean(reading.items, definition, generator, validator)
    return _Rows(definition, first, generator, reading, placed, skipped)


@lru_cache(maxsize=8)
def _read(definition: Definition, source: DataFile) -> tuple[DataFile, ReadItems]:
    reading = definition.read(source)
    if not reading.items:
        raise AccordError("The data file yields no items", where=source.path, got=_counts(reading.skipped) or "no rows")
    return source, reading


def _chat(definition: Definition, choices: TaskChoices) -> Chat | None:
    """How the model is asked in a chat, if it is."""
    keys: dict[str, Any] = {"system": choices.system, "options": choices.chat_options, "turns": choices.chat_turns}
    changes = {key: value for key, value in keys.items() if value is not None}
    if not choices.chat and changes:
        raise AccordError("Only a chat has a system message, options or turns", got=changes, fix="ask for chat too")
    return replace(definition.chat, **changes) if choices.chat else None


def left_out(task: Task) -> str | None:
    """One line: how the data file was read where that is not plain, and which of its rows gave no item, and why.

    >>> left_out(accord.task("hypernymy", limit=20)) is None  # nothing is
    True
    """
    settings, places = task.settings, task.settings.get("skipped_first", {})
    remarks = [f"cells are separated by {settings['delimiter']!r}"] if "delimiter" in settings else []
    for reason, number in settings.get("skipped", {}).items():
        if number and reason != "crossing pairs":  # these belong to the split, not to the file
            place = f" ({'first: ' if number > 1 else ''}{places[reason]})" if reason in places else ""
            remarks.append(f"{number:,} {'rows' if number > 1 else 'row'} left out: {reason}{place}")
    return f"{settings['data']}: {'; '.join(remarks)}" if remarks else None


def _counts(skipped: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {reason: len(places) for reason, places in skipped.items()}


def _first(skipped: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Where each reason is first met; without the folder, which is another on another machine."""
    return {reason: Path(places[0]).name for reason, places in skipped.items() if places}


def _check(definition: Definition, choices: TaskChoices) -> None:
    _known("split", choices.split, SPLITS)
    _known("split kind", choices.split_kind, SPLIT_KINDS)
    _known("number of shots", choices.generator_shots, SHOTS)
    _known("number of shots", choices.validator_shots or "few", SHOTS)
    _known("answer score", choices.answer_score or "auto", ANSWER_SCORES)
    if choices.limit is not None and choices.limit < 1:
        raise AccordError("The limit leaves no items", got=choices.limit, wanted="1 or more, or no limit")
    if choices.split.startswith("test-") and choices.split_kind != "nested":
        raise AccordError(
            "Only a nested split has this part",
            got=f"split {choices.split!r}, split kind {choices.split_kind!r}",
            fix='use split kind "nested", or split "test"',
        )
    if choices.split_kind != "random" and definition.words is None:
        raise AccordError(
            f"Task {definition.name!r} has no pairs of words to divide",
            got=f"split kind {choices.split_kind!r}",
            wanted="random",
        )


def _known(what: str, got: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    if got not in known:
        raise AccordError(f"Unknown {what}", got=repr(got), wanted=nearest(got, known))
    return got


def _data_path(definition: Definition, data: Path | None) -> Path:
    path = data or definition.data
    if path is None:
        raise AccordError(
            f"Task {definition.name!r} needs a data file",
            wanted=definition.needs,
            fix="name it: --data FILE, or task(…, data=FILE)",
        )
    return path


def _generator_form(definition: Definition, choices: TaskChoices) -> Form:
    phrasing, template = _phrasing("generator", definition, definition.generators, choices.generator_phrasing)
    shots = _shots(definition, choices.generator_shots, definition.generator_shots)
    examples = tuple(Example(template.fill(shot.fields), shot.answer) for shot in shots)
    text = definition.negated.get(phrasing)
    negated = None if text is None else Template.parse(text, where=f"negated template of {definition.name!r}")
    join = definition.join if definition.answer_join is None else definition.answer_join
    return Form(phrasing, template, choices.generator_shots, examples, negated, join)


def _validator_form(definition: Definition, choices: TaskChoices) -> Form:
    phrasing, template = _phrasing("validator", definition, definition.validators, choices.validator_phrasing)
    choice = choices.validator_shots or ("few" if definition.validator_shots else "zero")
    shots = _shots(definition, choice, definition.validator_shots)
    examples = tuple(Example(template.fill(shot.fields), definition.labels.word(shot)) for shot in shots)
    return Form(phrasing, template, choice, examples, join=definition.join)


def _phrasing(form: str, definition: Definition, known: Mapping[str, str], choice: str | None) -> tuple[str, Template]:
    name = next(iter(known)) if choice is None else _known(f"{form} phrasing of {definition.name!r}", choice, known)
    return name, Template.parse(known[name], where=f"{form} template of {definition.name!r}")


def _shots(definition: Definition, choice: str, shots: Sequence[Item]) -> Sequence[Item]:
    if choice == "zero":
        return ()
    if not shots:
        raise AccordError(
            f"Task {definition.name!r} has no worked examples for few-shot prompts",
            fix="add [[shots]] to the task, right and wrong ones, or ask for zero shots",
        )
    return shots


def _clean(
    placed: Sequence[PlacedItem], definition: Definition, generator: Template, validator: Template
) -> tuple[list[PlacedItem], dict[str, int]]:
    """Merge rows that ask the same, refuse those that contradict each other, take out the worked examples.

    Worked examples go whether the prompts show them or not: zero-shot and few-shot ask the same items.
    """
    examples = {generator.fill(s.fields).lower() for s in (*definition.generator_shots, *definition.validator_shots)}
    distinct: dict[tuple[str, str, str], PlacedItem] = {}
    skipped = Counter({"duplicates": 0, "worked examples": 0})
    for row in placed:
        question = generator.fill(row.item.fields)
        key = (question, validator.fill(row.item.fields), row.item.answer)
        first = distinct.setdefault(key, row)
        labels = [definition.labels.right(each.item) for each in (first, row)]
        if labels[0] != labels[1]:
            raise AccordError(
                "Two rows ask the same and have different gold labels",
                where=f"{first.where} and {row.where}",
                got=f"{key[1]!r}: both {labels[0]} and {labels[1]}",
                fix="keep one of them, or let the templates name what makes the difference",
            )
        if first.split != row.split:
            raise AccordError("A row is both in train and in test", where=f"{first.where} and {row.where}")
        skipped["duplicates"] += first is not row
        if question.lower() in examples and first is row:
            skipped["worked examples"] += 1
    return [row for (question, *_), row in distinct.items() if question.lower() not in examples], dict(skipped)


def _side(rows: _Rows, choices: TaskChoices) -> tuple[list[Item], dict[str, int]]:
    """The items of the chosen split, and how many belong to neither side, where that can be."""
    if choices.split == "all" or not rows.placed:
        return [row.item for row in rows.placed], {}
    if rows.placed[0].split is not None:
        return [row.item for row in rows.placed if row.split == choices.split], {}
    sides = _divide(rows, choices.split_kind, choices.seed)
    dropped = {"crossing pairs": sides.dropped} if choices.split_kind in ("unseen-both", "nested") else {}
    parts = {
        "train": sides.train,
        "test": sides.test,
        "test-unseen-hypernyms": sides.unseen_hypernyms,
        "test-unseen-both": sides.unseen_both,
    }
    return parts[choices.split], dropped


def _divides(placed: Sequence[PlacedItem], definition: Definition) -> bool:
    """Whether the items are pairs of words with categories to divide, which no column divides already."""
    if definition.words is None or placed[0].split is not None:
        return False
    return len({row.item.fields[definition.words[1]] for row in placed}) > 1


@lru_cache(maxsize=32)
def _divide(rows: _Rows, split_kind: str, seed: int) -> Sides:
    items = [row.item for row in rows.placed]
    share, words = rows.definition.test_share, rows.definition.words
    if words is None:
        # the right and the wrong answers to one question must not stand on two sides
        return random_sides(items, same_prompt(items, lambda item: rows.generator.fill(item.fields)), share, seed)
    if split_kind == "random":
        return random_sides(items, both_words(words), share, seed)
    if split_kind == "nested":
        return nested_sides(items, words, share, seed)
    return unseen_sides(items, words, share, seed, both=split_kind == "unseen-both")
