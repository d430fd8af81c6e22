"""What stands for a concept on the page, beside its number: its name, or else some tokens that it fires on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from accord.names.result import NamedDictionary
from accord.report.links import label_key
from accord.report.metric import plain
from accord.report.wording import shown_token
from accord.study.run_folder import Run

STANDING_IN = 3  # typical tokens that stand for a name


@dataclass(frozen=True)
class Meanings:
    """The concepts of a model, as other chapters speak of them.

    Attributes:
        names: concept -> its name, of those that have one.
        typical: concept -> a few of its typical tokens, of all that are in the dictionary.
    """

    names: Mapping[int, str]
    typical: Mapping[int, list[str]]


def meanings(run: Run, label: str) -> Meanings | None:
    """Those of the dictionary of a concept model; None where the run has none."""
    dictionary = run.of(NamedDictionary).get(label)
    if dictionary is None:
        return None
    table = dictionary.concepts
    named = table[table["name"].notna()]
    return Meanings(
        {int(k): plain(str(name)) for k, name in zip(named["concept"], named["name"], strict=True)},
        {int(k): typical_tokens(types, STANDING_IN) for k, types in zip(table["concept"], table["types"], strict=True)},
    )


def typical_tokens(types: Iterable[Mapping[str, Any]], most: int) -> list[str]:
    """The first tokens of a concept's table of typical ones, fit to be shown."""
    return [plain(shown_token(str(entry["token"]))) or "∅" for entry in list(types)[:most]]


def concept_id(label: str, concept: int) -> str:
    """The anchor of a concept in the dictionary of a model.

    >>> concept_id("topk-s0", 12)
    'concept-topk-s0-12'
    """
    return f"concept-{label_key(label)}-{concept}"
