"""A dictionary of concepts with their names and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from accord.concepts.result import METRICS
from accord.disk import read_object, write_json
from accord.intervals import Interval, brief, mean_change

if TYPE_CHECKING:
    from accord.names.answers import Names
    from accord.names.dictionary import Dictionary

CONCEPTS, EXAMPLES = "concepts.parquet", "examples.parquet"


@dataclass(frozen=True)
class NamedDictionary:
    """What every concept fires on and promotes, its name, and how good the names are.

    Attributes:
        concepts: the table of concepts of `accord.names.Dictionary`, with name, alternatives, no_name (the reason why
            there is none) and, where names were scored, the columns of `accord.names.Scores`.
        examples: its table of examples.
        metrics: concepts (label of the model), annotator, seed; how many are live, asked, named, failed; and each score
            as value, low, high and n.
    """

    concepts: pd.DataFrame
    examples: pd.DataFrame
    metrics: Mapping[str, Any]

    @classmethod
    def of(
        cls, dictionary: "Dictionary", names: "Names", scores: pd.DataFrame | None, metrics: Mapping[str, Any]
    ) -> "NamedDictionary":
        """A dictionary with names, and the table of their scores."""
        answers, numbers = names.answers, dictionary.concepts["concept"]
        columns: dict[str, list[Any]] = {
            "name": [answers[k].concept if k in answers else None for k in numbers],
            "alternatives": [answers[k].alternatives if k in answers else None for k in numbers],
            "no_name": [names.failures.get(k) for k in numbers],
        }
        table = dictionary.concepts.assign(**columns)
        if scores is not None:
            table = table.merge(scores, on="concept", how="left")
        return cls(table, dictionary.examples, metrics)

    def write(self, folder: Path) -> None:
        """Write concepts.parquet, examples.parquet and metrics.json."""
        self.concepts.to_parquet(folder / CONCEPTS, index=False)
        self.examples.to_parquet(folder / EXAMPLES, index=False)
        write_json(folder / METRICS, self.metrics)

    def headline(self) -> str:
        """How many concepts have a name, and how well names tell what fires."""
        told = f"{self.metrics.get('named', 0)} of {self.metrics.get('asked', 0)} named"
        score = self.metrics.get("detection")
        return f"{told}; detection {brief(score)} of balanced examples, chance 0.5" if score else told

    @classmethod
    def read(cls, folder: Path) -> "NamedDictionary":
        """What `write` wrote."""
        concepts, examples = (pd.read_parquet(folder / name) for name in (CONCEPTS, EXAMPLES))
        return cls(concepts, examples, read_object(folder / METRICS))

    def paired(self, other: "NamedDictionary") -> dict[str, Interval]:
        """Scores of names, other − self, paired by concept; empty unless both are of the same concepts."""
        tables = [table.set_index("concept") for table in (self.concepts, other.concepts)]
        if not tables[0]["rate"].equals(tables[1]["rate"]):
            return {}
        changes = {}
        for name, score in self.metrics.items():
            if isinstance(score, Mapping) and isinstance(other.metrics.get(name), Mapping):
                first, second = (_of_concepts(table, name) for table in tables)
                known = first.notna()
                if known.any() and known.equals(second.notna()):
                    before, after = (np.asarray(column[known], dtype=np.float64) for column in (first, second))
                    changes[name] = mean_change(before, after, unit=True).interval()
        return changes


def _of_concepts(table: pd.DataFrame, name: str) -> "pd.Series[float]":
    """A score by concept; a gain is that of the own name less that of another's."""
    stem = name.removesuffix("_gain")
    return table[stem] - table[f"{stem}_shuffled"] if stem != name else table[name]


RESULTS = {"names": NamedDictionary}
