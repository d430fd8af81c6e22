"""The gap of a model on a task, explained by concepts: tables, and a check on items that chose nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import finite, read_object
from accord.intervals import Interval, brief

_TABLES = ("concepts", "items", "scores", "check")
_SUMMARY = "explain.json"


@dataclass(frozen=True)
class Explanation:
    """The gap of a model on a task, explained by concepts.

    Attributes:
        concepts: a row a candidate: concept, and for each form FORM_rate (share of items on which it is active),
            FORM_share; pull, with low and high (95 % over items).
        items: (item, form, concept, strength, contribution): the largest contributions of every item.
        scores: a row an item: fields of the table of scores that place it (gold, answer), generator_logodds,
            validator_logodds, both prompts.
        check: the table of `accord.explain.ablation_check.check`.
        summary: counts, how well the gradient foretold the exact contributions, and the check in numbers.
    """

    concepts: pd.DataFrame
    items: pd.DataFrame
    scores: pd.DataFrame
    check: pd.DataFrame
    summary: Mapping[str, Any]

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The check by SET/MEASURE, beside its random sets (the range of 95 % of them), and p; each concept's pull."""
        numbers: dict[str, dict[str, Any]] = {}
        for what, check in self.summary["check"].items():
            name, ends = f"{what}/{check['measure']}", ("low", "high")
            numbers[name] = {"value": check["value"], **{end: check[end] for end in ends}, "n": len(check["concepts"])}
            random = {end: check[f"random_{end}"] for end in ends}
            numbers[f"{name}/random sets"] = {"value": check["random_mean"], **random, "n": check["random"]}
            numbers[f"{name}/p"] = {"value": check["p"]}
        for row in finite(self.concepts.to_dict("records")):
            numbers[f"concept {row['concept']}/pull"] = {"value": row["pull"], "low": row["low"], "high": row["high"]}
        return numbers

    def write(self, folder: Path) -> None:
        """Write the four tables as Parquet and `explain.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _TABLES:
            getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)
        text = json.dumps(self.summary, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / _SUMMARY).write_text(text + "\n", encoding="utf-8")

    def headline(self) -> str:
        """What taking out the concepts that hold the two forms apart does to their correlation."""
        check = self.summary.get("check", {}).get("against")
        if not check or check.get("value") is None:
            return f"{len(self.concepts)} concepts tried"
        number, p = len(check["concepts"]), check["p"]
        return f"without {number} concepts that lean against, r moves by {brief(check)}; random sets p = {p:.2f}"

    @classmethod
    def read(cls, folder: Path) -> "Explanation":
        """What `write` wrote."""
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
        return cls(**tables, summary=read_object(folder / _SUMMARY))

    def measures(self) -> dict[str, Interval]:
        """What the check found of each set of concepts that was turned off."""
        return {
            f"concepts “{what}” off: {of['measure']}": {end: of[end] for end in ("value", "low", "high")}
            for what, of in self.summary["check"].items()
        }


RESULTS = {"explain": Explanation}
