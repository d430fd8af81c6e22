"""A dictionary of concepts as it is searched, and one concept of it as it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accord.explore.subject import concept_name
from accord.names.result import NamedDictionary
from accord.report.wording import shown_token

_EXAMPLES = 6


@dataclass(frozen=True)
class ConceptCard:
    """A concept of a dictionary.

    Attributes:
        rate: share of the tokens that it fires on.
        mean: its mean strength there.
        promoted, suppressed: tokens that it makes more and less likely, each with the change of its logit.
        examples: the strongest training tokens, each with what stands before and after it, and its strength.
        near: nearest concepts, each with its name and the cosine of what the two write.
    """

    number: int
    name: str
    rate: float
    mean: float
    promoted: Sequence[tuple[str, float]]
    suppressed: Sequence[tuple[str, float]]
    examples: Sequence[tuple[str, str, str, float]]
    near: Sequence[tuple[int, str, float]]


def search(dictionary: NamedDictionary, text: str) -> pd.DataFrame:
    """The concepts whose number, name, or promoted or typical tokens hold every word of a text; the most active first.

    Columns: concept, name, rate.
    """
    table = dictionary.concepts
    rows = []
    for row in table.to_dict("records"):
        name = concept_name(row)
        whole = f"{row['concept']} {name} {_tokens(row['promoted'])} {_tokens(row['types'])}".casefold()
        if all(word in whole for word in text.casefold().split()):
            rows.append((int(row["concept"]), name, float(row["rate"])))
    found = pd.DataFrame(rows, columns=["concept", "name", "rate"])
    return found.sort_values("rate", ascending=False, kind="stable", ignore_index=True)


def card(dictionary: NamedDictionary, number: int) -> ConceptCard:
    """All that is known of a concept. Raises KeyError if the dictionary lacks it: it was never active."""
    table = dictionary.concepts
    rows = {int(row["concept"]): row for row in table.to_dict("records")}
    row, examples = rows[number], dictionary.examples
    top = examples[(examples["concept"] == number) & (examples["kind"] == "top")]
    top = top.sort_values("strength", ascending=False, kind="stable").head(_EXAMPLES)
    return ConceptCard(
        number,
        concept_name(row),
        float(row["rate"]),
        float(row["mean"]),
        [(shown_token(str(entry["token"])), float(entry["change"])) for entry in list(row["promoted"])],
        [(shown_token(str(entry["token"])), float(entry["change"])) for entry in list(row["suppressed"])],
        [
            (str(one["before"])[-80:], str(one["token"]), str(one["after"])[:50], float(one["strength"]))
            for one in top.to_dict("records")
        ],
        [
            (int(near["concept"]), concept_name(rows[int(near["concept"])]), float(near["cosine"]))
            for near in list(row["neighbours"])
            if int(near["concept"]) in rows
        ],
    )


def _tokens(entries: Any) -> str:
    return " ".join(str(entry["token"]).strip() for entry in list(entries))
