"""Texts that a model wrote, and what a third model makes of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.concepts.result import METRICS
from accord.disk import read_object, write_json, write_whole
from accord.intervals import brief

_TEXTS = "texts.jsonl"
_TYPES = {"row": "str", "seed": "int", "index": "int", "text": "str", "tokens": "int", "finished": "bool"}


@dataclass(frozen=True)
class WrittenTexts:
    """Texts from nothing.

    Attributes:
        table: row (of the perplexity table), seed, index, text, tokens, finished (not cut).
    """

    table: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write texts.jsonl."""
        rows = self.table.to_dict(orient="records")
        write_whole(folder / _TEXTS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def headline(self) -> str:
        """How much was written."""
        return f"{len(self.table)} texts, {self.table['tokens'].sum():,} tokens"

    @classmethod
    def read(cls, folder: Path) -> "WrittenTexts":
        """What `write` wrote."""
        lines = (folder / _TEXTS).read_text(encoding="utf-8").split("\n")
        table = pd.DataFrame([json.loads(line) for line in lines if line], columns=None if any(lines) else list(_TYPES))
        return cls(table.astype(_TYPES))


@dataclass(frozen=True)
class JudgedTexts:
    """Perplexity of a row's texts under a judge.

    Attributes:
        metrics: row, seed, judge; judge_mean with its 95 % interval over texts (judge_mean_low, judge_mean_high),
            judge_weighted (over all tokens together); own_perplexity of held-out texts under the row's own model;
            distinct_1 to distinct_3, repeated_4 (see `accord.text.measure_diversity`); n texts, unscored of them.
    """

    metrics: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write metrics.json."""
        write_json(folder / METRICS, self.metrics)

    def headline(self) -> str:
        """The texts' perplexity under the judge."""
        ends = {"value": "judge_mean", "low": "judge_mean_low", "high": "judge_mean_high"}
        mean = brief({name: self.metrics.get(key) for name, key in ends.items()}, 0)
        return f"perplexity {mean} under {self.metrics.get('judge', 'the judge')}"

    @classmethod
    def read(cls, folder: Path) -> "JudgedTexts":
        """What `write` wrote."""
        return cls(read_object(folder / METRICS))


RESULTS = {"texts": WrittenTexts, "perplexity": JudgedTexts}
OBJECTIVES = {
    "perplexity": (
        "judge_mean", "judge_mean_low", "judge_mean_high", "judge_weighted", "own_perplexity", "distinct_1",
        "distinct_2", "distinct_3", "repeated_4", "unscored",
    ),
}  # fmt: skip
