"""What can be told of a repair before it is made, as tables and measures with intervals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import finite, read_object
from accord.intervals import Interval, brief
from accord.report.notebook import InNotebook

METRICS = "metrics.json"
_TABLES = ("items", "pairs", "layers", "corrections", "record")


@dataclass(frozen=True)
class RepairForecast(InNotebook):
    """What can be told of a repair before it is made, from the items that it would learn from.

    Attributes:
        about: names of `model` and `task`, numbers of `items`, right ones (`right`) and `prompts`, what of an answer
            l_G is of (`answer_score`), what readouts are `held_out` by: "group", "prompt" where prompts have several
            answers and groups cut across them, or "item" where there are fewer than four of either.
        items: a row an item: the columns of `accord.gap.Gap.scores`, what is `read` of l_G off the validator's state,
            in nats, by a readout that has not seen the item's prompt or group, and the layer that it was `read_at`.
        pairs: (direction, scope, bin, above, upto, pairs, value, low, high): how often the teacher orders a right and a
            wrong answer rightly by |Δ| of its scores, see `accord.forecasting.ordered_pairs`; direction g2v or v2g (l_G
            or l_V teaches), scope "all" or, where prompts have several answers, "within" prompts.
        layers: (layer, metric, value, low, high): `generator_auc` and `validator_auc` by the logit lens of the layer,
            and `readout_r`, the held-out r of l_G with what a readout of that layer alone reads.
        corrections: (correction, scope, metric, value, low, high), see `accord.forecasting.turned_pairs`.
        record: (repair, model, task, readout_r, predicted, low, high, found, source): how well logged runs foretell
            each other, see `accord.forecasting.record`.
        metrics: {"value", "low", "high"}, and a "reason" where there is none or no interval. `g2v_right` and
            `v2g_right` (with `_within`), the share of all pairs that the teacher orders rightly, ties counting half;
            `generator_layer` and `validator_layer`, the first layer at which a form has 95 % of what it has above
            chance at its best one; `readout_r`, `readout_r_yes`, `readout_r_no`, the held-out r over all items and
            within gold classes, and `readout_auc` of what is read for gold; `closure_REPAIR`, the share of the gap that
            a repair is expected to close (`accord.forecasting.predict`).
    """

    about: Mapping[str, Any]
    items: pd.DataFrame
    pairs: pd.DataFrame
    layers: pd.DataFrame
    corrections: pd.DataFrame
    record: pd.DataFrame
    metrics: dict[str, Interval]

    def write(self, folder: Path) -> None:
        """Write metrics.json, with what it is about, and every table as NAME.parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _TABLES:
            getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)
        text = json.dumps({"about": dict(self.about), **finite(self.metrics)}, indent=2, allow_nan=False)
        (folder / METRICS).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "RepairForecast":
        """What `write` wrote."""
        metrics = read_object(folder / METRICS, "about")
        about = metrics.pop("about")
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
        return cls(about, metrics=metrics, **tables)

    def headline(self) -> str:
        """How good a teacher each form is, and how well the one can be read off the other."""
        shares = ", ".join(f"{way} {brief(self.metrics[f'{way}_right'])}" for way in ("g2v", "v2g"))
        return f"pairs ordered rightly: {shares}; readout r {brief(self.metrics['readout_r'])}"

    def __repr__(self) -> str:
        return (
            f"Forecast from {self.about['items']:,} items: {self.headline()}\n"
            "  .metrics, .pairs, .layers, .corrections, .items, .record, .plot()"
        )

    def measures(self) -> dict[str, Interval]:
        """The metrics."""
        return dict(self.metrics)


RESULTS = {"forecast": RepairForecast}
