"""Worked examples for a custom task that has none: taken from its items, and written as a task file has them."""

import json
from collections.abc import Iterator, Sequence

from accord.tasks.base import Item, Template, capitalised
from accord.tasks.custom import CustomTask


def with_examples(custom: CustomTask, pool: Sequence[Item]) -> CustomTask | None:
    """The task with two right and two wrong items as its worked examples; None where it has not that many.

    Args:
        pool: all items of the task. They are taken from different questions, in the order right, wrong, wrong, right,
            so that no answer foretells the next.
    """
    question = Template.parse(custom.generator)
    chosen: list[Item] = []
    for gold in (True, False, False, True):
        questions = {question.fill(item.fields) for item in chosen}
        answers = {item.answer for item in chosen}
        fresh = (item for item in pool if item.gold == gold and question.fill(item.fields) not in questions)
        choice = min(fresh, key=lambda item: item.answer in answers, default=None)
        if choice is None:
            return None
        chosen.append(choice)
    shots = tuple({name: item.fields[name] for name in _columns(custom, item)} for item in chosen)
    return custom.model_copy(update={"shots": shots})


def shots_as_toml(custom: CustomTask) -> str:
    """The worked examples as the key of a task file."""
    rows = (", ".join(f"{_key(name)} = {_text(value)}" for name, value in shot.items()) for shot in custom.shots)
    return "shots = [\n" + "".join(f"  {{ {row} }},\n" for row in rows) + "]"


def _columns(custom: CustomTask, item: Item) -> Iterator[str]:
    texts = [custom.generator, custom.validator, *filter(None, (custom.negated,))]
    names = [name for text in texts for name in Template.parse(text).names]
    names += Template.parse(custom.answer).names if "{" in custom.answer else [custom.answer]
    yield from dict.fromkeys(capitalised(name, item.fields) or name for name in [*names, custom.gold])


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is one of TOML's, too


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _text(name)
