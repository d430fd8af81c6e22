"""A repair's pathway, as tables that other tools open and a summary in words."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import finite, read_object
from accord.intervals import Estimate, Interval
from accord.pathway.summary import summarize_pathway
from accord.pathway.tables import COLUMNS, value_of

_INTERVAL = ("value", "low", "high")
TABLES = ("curves", "matrix", "cka", "readout", "patching", "concepts")


@dataclass(frozen=True)
class Pathway:
    """Which way a repair goes through the layers; intervals are 95 % intervals over items.

    Attributes:
        about: what was compared: names of the models and tasks, numbers of items.
        curves: (model, layer, metric, value, low, high): the measures of `accord.gap.metrics.PAIRED` by the lens of
            each layer, and `final_pearson_all`, `_yes`, `_no`: of the layer's l_V with the model's own final l_G.
        matrix: (model, generator_layer, validator_layer, pearson, pearson_yes, pearson_no).
        cka: (form, layer, value, low, high): linear CKA of base and repaired states at the end of the prompts.
        readout: (model, layer, items, metric, value, low, high), see `accord.pathway.readout.readout_curve`; what is
            read is the base model's l_G.
        patching: (direction, positions, layer, what, value, low, high), see `accord.pathway.patching.recovered`;
            `positions` is "last" or "all" (but the first).
        patched: (direction, positions, item, layer, what, receiver, donor, patched): the l_V behind it.
        concepts: (concept, before, after, change, low, high, certain), see `accord.pathway.concept_changes`, or None.
    """

    about: Mapping[str, Any]
    curves: pd.DataFrame
    matrix: pd.DataFrame
    cka: pd.DataFrame
    readout: pd.DataFrame
    patching: pd.DataFrame
    patched: pd.DataFrame
    concepts: pd.DataFrame | None = None

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Every number with an interval, by TABLE, its keys, and layer or concept: `cka/validator/layer 3`."""
        numbers: dict[str, dict[str, Any]] = {}
        for name in ("curves", "cka", "readout", "patching"):
            for row in finite(getattr(self, name).to_dict("records")):
                keys = [str(key) for column, key in row.items() if column not in ("layer", *_INTERVAL)]
                place = "/".join([name, *keys, f"layer {row['layer']}"])
                numbers[place] = {part: row[part] for part in _INTERVAL}
        for row in finite([] if self.concepts is None else self.concepts.to_dict("records")):
            change = {"value": row["change"], "low": row["low"], "high": row["high"]}
            numbers[f"concepts/{row['concept']}/change"] = change
        return numbers

    def summary(self) -> dict[str, Any]:
        """What was compared, the numbers that the sentences rest on, and the sentences."""
        return {"about": dict(self.about), **summarize_pathway(self)}

    def write(self, folder: Path) -> None:
        """Write `pathway.json`, the summary, and every table as NAME.parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*TABLES, "patched"):
            table = getattr(self, name)
            if table is not None:
                table.to_parquet(folder / f"{name}.parquet", index=False)
        text = json.dumps(self.summary(), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "pathway.json").write_text(text + "\n", encoding="utf-8")

    def headline(self) -> str:
        """Where the repair enters the model."""
        return next(iter(self.summary()["sentences"]), "")

    @classmethod
    def read(cls, folder: Path) -> "Pathway":
        """What `write` wrote."""
        about = read_object(folder / "pathway.json", "about")["about"]
        paths = {name: folder / f"{name}.parquet" for name in (*TABLES, "patched")}
        return cls(about, **{name: pd.read_parquet(path) for name, path in paths.items() if path.exists()})

    def measures(self) -> dict[str, Interval]:
        """How both models' own answers agree with their generators: the curves at the top layer."""
        top = self.curves[self.curves["layer"] == self.curves["layer"].max()]
        return {
            f"{row['model']}: {row['metric']}": Estimate(row["value"], row["low"], row["high"]).interval()
            for row in top.to_dict("records")
        }

    def by_layer(self) -> Iterator[dict[str, float | None]]:
        """A compact table, a row a layer: `layer`, and the columns of `COLUMNS`."""
        for layer in sorted(self.cka["layer"].unique()):
            row: dict[str, float | None] = {"layer": int(layer)}
            for title, (table, keys) in COLUMNS.items():
                row[title] = value_of(getattr(self, table), {**self._first(table), **keys, "layer": layer})
            yield row

    def _first(self, table: str) -> dict[str, str]:
        """The test items that the compact table is about, where a table has several."""
        return {"items": self.about["tests"][0]} if table == "readout" else {}


RESULTS = {"pathway": Pathway}
