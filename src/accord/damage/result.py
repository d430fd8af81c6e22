"""What changed from a base to a repaired model: a row a measure, a sentence, and the texts and facts behind them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from accord.damage.wording import harms
from accord.disk import finite, read_object, write_json, write_whole
from accord.intervals import Estimate, Floats, Interval, brief, ratio_difference, ratio_estimate
from accord.report.model_card import markdown_table, plain
from accord.report.notebook import InNotebook

_NATS = "text: nats a token of the repaired model"
_TABLES = ("damage", "texts", "relations")
_FREE, _SUMMARY = "generations.jsonl", "damage.json"
FREE_COLUMNS = ("prompt", "base", "repaired")
_DOCUMENTS = "documents.parquet"  # only where tasks of lm-evaluation-harness were done
DOCUMENT_COLUMNS = (
    *("asked", "task", "metric", "better", "aggregation", "document", "hash"),
    *(f"{name}_{side}" for name in ("value", "weight", "reported") for side in ("base", "repaired")),
)


@dataclass(frozen=True)
class Damage(InNotebook):
    """What changed from a base to a repaired model.

    Attributes:
        table: a row a measure: group, measure, base, repaired, change (see change_is: "difference" or "ratio"), low and
            high (its 95 % interval), n (units: texts, prompts, facts or items), worse_if ("higher", "lower",
            "distance" or "neither"), worsened (the interval excludes no change, on the worse side, by more than
            rounding), reason (why there is no interval). Groups: "text", "relations" and "relations: NAME", "NAME" of
            other tasks, "own task", "free text", "harness" (tasks of lm-evaluation-harness, "NAME: METRIC") and
            "harness: TASK" (tasks of a group of it). Rows of single relations, or of a group's tasks, are many, so some
            worsen by chance: judge by those of all.
        sentence: what got worse, in plain words.
        texts: text, tokens, nll_base, nll_repaired of every text.
        relations: of every fact, relation, wording (of its yes/no question), subject, answer, wrong; and, for base and
            repaired each, log p of both answers (answer_logprob_…, wrong_logprob_…) and l_V of both yes/no questions
            (answer_logodds_…, wrong_logodds_…).
        free: prompt, base, repaired, and where judged the perplexity of each, base_perplexity and repaired_perplexity.
        documents: of each document and metric of tasks of lm-evaluation-harness, the columns of
            `accord.harness.run_tasks`; value, weight and reported for base and repaired each (value_base, …).
    """

    table: pd.DataFrame
    sentence: str
    texts: pd.DataFrame
    relations: pd.DataFrame
    free: pd.DataFrame
    documents: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(DOCUMENT_COLUMNS)))

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The numbers of the table by GROUP/MEASURE/SIDE: "base", "repaired" or "change", which has an interval."""
        numbers: dict[str, dict[str, Any]] = {}
        for row in finite(self.table.to_dict("records")):
            name, n = f"{row['group']}/{row['measure']}", row["n"]
            numbers |= {f"{name}/{side}": {"value": row[side], "n": n} for side in ("base", "repaired")}
            change = {
                "value": row["change"],
                "low": row["low"],
                "high": row["high"],
                "n": n,
                "reason": row["reason"] or None,
            }
            numbers[f"{name}/change"] = change
        return numbers

    def write(self, folder: Path) -> None:
        """Write damage.json (sentence and table), damage, texts and relations.parquet, generations.jsonl.

        And documents.parquet, where tasks of lm-evaluation-harness were done.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.table.to_parquet(folder / "damage.parquet", index=False)
        self.texts.to_parquet(folder / "texts.parquet", index=False)
        self.relations.to_parquet(folder / "relations.parquet", index=False)
        if len(self.documents):
            self.documents.to_parquet(folder / _DOCUMENTS, index=False)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in finite(self.free.to_dict("records")))
        write_whole(folder / _FREE, "".join(lines))
        write_json(folder / _SUMMARY, {"sentence": self.sentence, "table": self.table.to_dict("records")})

    def headline(self) -> str:
        """How many measures got worse, of those that the page counts."""
        rows = harms(self.table)
        return f"{int(rows['worsened'].sum())} of {len(rows)} measures worse beyond their intervals"

    def card(self) -> str:
        """What a model card says of it: what got worse, and every measure that can."""
        rows = []
        for row in harms(self.table).to_dict("records"):
            times = "× " if row["change_is"] == "ratio" else ""
            change = brief({"value": row["change"], "low": row["low"], "high": row["high"]}, 3)
            sides = f"{row['base']:.4g}", f"{row['repaired']:.4g}", times + change, f"{row['n']:,}"
            rows.append((f"{row['group']}: {row['measure']}", *sides, "worse" if row["worsened"] else ""))
        header = "measure", "base", "this model", "change, with its 95 % interval", "n", ""
        return f"## What else changed\n\n{plain(self.sentence)}\n\n{markdown_table(header, rows)}"

    @classmethod
    def read(cls, folder: Path) -> "Damage":
        """What `write` wrote."""
        table, texts, relations = (pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES)
        lines = (folder / _FREE).read_text(encoding="utf-8").split("\n")
        free = pd.DataFrame([json.loads(line) for line in lines if line], columns=None if any(lines) else FREE_COLUMNS)
        free = free.astype({column: "str" if column in FREE_COLUMNS else "float" for column in free})
        told = read_object(folder / _SUMMARY, "sentence")["sentence"]
        done = [pd.read_parquet(folder / _DOCUMENTS)] if (folder / _DOCUMENTS).exists() else []
        return cls(table, told, texts, relations, free, *done)

    def __repr__(self) -> str:
        return f"Damage, {len(self.table)} measures: {self.sentence}\n  .table, .texts, .relations, .free, .documents"

    def measures(self) -> dict[str, Interval]:
        """What the repair changed, each row of the table; and the repaired model's nats a token of ordinary text."""
        rows = {
            f"{row['group']}: change of {row['measure']}": Estimate(row["change"], row["low"], row["high"]).interval()
            for row in self.table.to_dict("records")
        }
        return {**rows, _NATS: ratio_estimate(*_nats(self.texts)).interval()}

    def paired(self, other: "Damage") -> dict[str, Interval]:
        """Nats a token, other − self, paired by text; empty where the texts are not the same."""
        if not self.texts[["text", "tokens"]].equals(other.texts[["text", "tokens"]]):
            return {}
        return {_NATS: ratio_difference(_nats(self.texts), _nats(other.texts)).interval()}


def _nats(texts: pd.DataFrame) -> tuple[Floats, Floats]:
    """−log p under the repaired model and tokens, of every text that has any."""
    scored = texts[texts["tokens"] > 0]
    return scored["nll_repaired"].to_numpy(float), scored["tokens"].to_numpy(float)


@dataclass(frozen=True)
class Observation:
    """What a base did with the questions, in parts that `accord.damage.observe` reads again.

    Attributes:
        folder: where the parts are.
    """

    folder: Path

    def write(self, folder: Path) -> None:
        """The parts are written as they are made."""

    @classmethod
    def read(cls, folder: Path) -> "Observation":
        """The folder; `observe(lm, questions, parts=folder)` reads it."""
        return cls(folder)


RESULTS = {"observation": Observation, "damage": Damage}
