"""What an experiment of steering found: tables, pooled dose curves, a summary and a plain sentence; as a folder.

    effects.parquet   concept, random_concept (the number of the one beside it), kind (factor, typical or added: see
                      `Dose`), dose, control, measure, value, low, high, n, level, expected, acts, per_float
    doses.parquet     kind, dose, control, measure, value, low, high, n, level, share, per_float: over all concepts
    samples.jsonl     a line a text: concept, kind, dose, control, prompt, index, text, and its measures
    typical.parquet   concept, rate, mean, p99, association
    effects.json      the summary, and a sentence

`value` is the change against the unsteered model (`Target.plain`) with a 95 % interval, `level` the mean with steering,
`n` how many values (tokens, or texts) or, in doses.parquet, concepts. `control` is "concept", "random concept", "random
direction", or "concept over …": the paired difference. `expected` is the sign that the change should have, 0 for none;
`acts` is whether the interval lies wholly on that side and the lead over the controls does too (for a control, over the
other one). With promoted tokens the concept and the random concept are scored on the concept's and must lead each
other, and the random direction is scored on its own and must lead the random concept: its value tells how far a push of
that size moves what it points at, and that concepts act is no evidence that they mean something. In doses.parquet
values with an expected sign are turned so that positive is as expected, and `share` is the share of concepts that act.
`per_float` is the value for each number that the concept writes through: 1 for a latent, E for a concept with an
embedding.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from accord.disk import finite, read_object, write_whole
from accord.intervals import Estimate, Interval
from accord.steering.means import over_concepts

if TYPE_CHECKING:
    from accord.steering.typical import Typical

CONCEPT, OTHER, PUSH = "concept", "random concept", "random direction"  # arms of an experiment
MEASURES = {
    "promoted": "moved their promoted tokens as expected",
    "label": "moved {label} as expected",
    "wanted": "raised the share of texts with the wanted {label}",
}

_POOLED = ("kind", "dose", "control", "measure", "value", "low", "high", "n", "level", "share", "per_float")
_SUMMARY, _TEXTS = "effects.json", "samples.jsonl"
_BOTH = "beyond both controls"
_AT = {
    "factor": "at factor {}",
    "typical": "at {} times the typical strength",
    "added": "with {} times the usual writing added",
}


@dataclass(frozen=True)
class Effects:
    """Outcome of an experiment on the concepts of one model; see the top of this file.

    Attributes:
        table: effects.parquet.
        texts: lines of samples.jsonl.
        about: what was steered, for the summary; `label` is the scorer's name.
        typical: a row a concept: concept, rate, mean, p99, association (see `accord.steering.Typical`).
    """

    table: pd.DataFrame
    texts: list[dict[str, Any]]
    about: dict[str, Any]
    typical: pd.DataFrame

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, Any]],
        texts: Sequence[dict[str, Any]],
        typical: "Typical",
        about: Mapping[str, Any],
    ) -> "Effects":
        """From the rows of `promoted_effects` and `written_effects`, of the concepts that `typical` describes."""
        floats = typical.latents.shape[1]
        table = pd.DataFrame(list(rows)).astype({"acts": "boolean"})
        table["per_float"] = table["value"] / floats
        sizes = {"floats_per_concept": floats, "active_floats_per_token": float(typical.rate.sum()) * floats}
        return cls(table, list(texts), {**about, **sizes}, typical.table())

    def doses(self) -> pd.DataFrame:
        """doses.parquet: means over concepts, with intervals over concepts."""
        own = self.table[self.table["control"].isin([CONCEPT, OTHER, PUSH])]
        rows = []
        for key, part in own.groupby(["kind", "dose", "control", "measure"], sort=True):
            sign = part["expected"].to_numpy()
            values = part["value"].to_numpy() * np.where(sign == 0, 1, sign)
            value, low, high, n = over_concepts(values)
            share = float(part["acts"].mean()) if part["acts"].notna().all() else float("nan")
            numbers = {"value": value, "low": low, "high": high, "n": n, "level": part["level"].mean()}
            floats = self.about["floats_per_concept"]
            names = dict(zip(("kind", "dose", "control", "measure"), key, strict=True))
            rows.append({**names, **numbers, "share": share, "per_float": value / floats})
        return pd.DataFrame(rows, columns=None if rows else list(_POOLED))

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The means of `doses` by MEASURE/KIND DOSE/CONTROL, and the share of concepts that act as …/share."""
        numbers: dict[str, dict[str, Any]] = {}
        for row in finite(self.doses().to_dict("records")):
            name = f"{row['measure']}/{row['kind']} {row['dose']:g}/{row['control']}"
            numbers[name] = {key: row[key] for key in ("value", "low", "high", "n")}
            if row["share"] is not None:
                numbers[f"{name}/share"] = {"value": row["share"], "n": row["n"]}
        return numbers

    def summary(self) -> dict[str, Any]:
        """effects.json: what was steered, each pooled dose, and `said`, in plain words."""
        doses = self.doses()
        sentences = [self._say(measure, doses) for measure in MEASURES if (doses["measure"] == measure).any()]
        return {**self.about, "doses": json.loads(doses.to_json(orient="records")), "said": " ".join(sentences)}

    def measures(self) -> dict[str, Interval]:
        """Every row of `doses`."""
        return {
            f"{row['measure']}: {row['kind']} {row['dose']:g}, {row['control']}": Estimate(
                row["value"], row["low"], row["high"]
            ).interval()
            for row in self.doses().to_dict("records")
        }

    def headline(self) -> str:
        """How many concepts moved their own tokens, at the first dose."""
        rows = self.table[(self.table["measure"] == "promoted") & (self.table["control"] == CONCEPT)]
        if rows.empty:
            return ""
        kind, dose = rows.iloc[0][["kind", "dose"]]
        first = rows[(rows["kind"] == kind) & (rows["dose"] == dose)]
        acting = f"{int(first['acts'].sum())} of {len(first)} concepts"
        return f"{_AT[str(kind)].format(dose)}, {acting} move their own tokens"

    def write(self, folder: Path | str) -> None:
        """Write the five files into a folder, which is made; effects.json last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.table.to_parquet(folder / "effects.parquet", index=False)
        self.doses().to_parquet(folder / "doses.parquet", index=False)
        self.typical.to_parquet(folder / "typical.parquet", index=False)
        lines = (json.dumps(text, ensure_ascii=False) + "\n" for text in self.texts)
        write_whole(folder / _TEXTS, "".join(lines))
        summary = json.dumps(self.summary(), indent=1, ensure_ascii=False) + "\n"
        write_whole(folder / _SUMMARY, summary)

    @classmethod
    def read(cls, folder: Path) -> "Effects":
        """What `write` wrote."""
        about = {key: value for key, value in read_object(folder / _SUMMARY).items() if key not in ("doses", "said")}
        lines = (folder / _TEXTS).read_text(encoding="utf-8").split("\n")
        table, typical = (pd.read_parquet(folder / f"{name}.parquet") for name in ("effects", "typical"))
        return cls(table.astype({"acts": "boolean"}), [json.loads(line) for line in lines if line], about, typical)

    def _say(self, measure: str, doses: pd.DataFrame) -> str:
        """Such as "At factor 0, 17 of 20 concepts moved their promoted tokens as expected (…)." for every dose."""
        part = doses[doses["measure"] == measure]
        what = MEASURES[measure].format(label=self.about.get("label", "the label"))
        clauses = []
        for (kind, dose), rows in part.groupby(["kind", "dose"], sort=True):
            arm = {control: rows[rows["control"] == control].iloc[0] for control in (CONCEPT, OTHER, PUSH)}
            n = len(self.table[self.table["measure"] == measure]["concept"].unique())
            at = _AT[str(kind)].format(dose)
            controls = ", ".join(
                f"{control}s {arm[control]['share']:.0%}, {arm[control]['value']:+z.2f}" for control in (OTHER, PUSH)
            )
            own = arm[CONCEPT]
            clauses.append(f"{at} {round(own['share'] * n)} of {n}, mean {own['value']:+z.2f} ({controls})")
        beyond = "more than a random concept does (random directions: theirs)" if measure == "promoted" else _BOTH
        return f"Concepts that {what}, {beyond}: {'; '.join(clauses)}."


RESULTS = {"steering": Effects}
