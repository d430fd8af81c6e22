"""How good a concept model is, and how its training went."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from accord.disk import read_object, write_json, write_whole
from accord.intervals import brief

METRICS = "metrics.json"
CURVE = "curve.jsonl"


@dataclass(frozen=True)
class TrainedMetrics:
    """What was measured of something that is trained, and its training curve.

    Attributes:
        metrics: by name.
        curve: step, loss and its terms while it was trained, or None.
    """

    metrics: Mapping[str, Any]
    curve: pd.DataFrame | None = None

    def write(self, folder: Path) -> None:
        """Write metrics.json, and curve.jsonl if there is a curve; in a stage the trainer has written that already."""
        write_json(folder / METRICS, self.metrics)
        write_curve(folder, self.curve)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What is in a folder of something that was trained."""
        return cls(read_object(folder / METRICS), read_curve(folder))


class ConceptMetrics(TrainedMetrics):
    """A concept model on held-out embeddings.

    Attributes:
        metrics: name, kind, layer and seed of the model, and target, the layer that a transcoder reconstructs; r2, fvu,
            r2_hard (gates open or shut), l0 (active concepts a token), alive (share of concepts that are ever active),
            parameters; ce_recovered, ce_recovered_hard, ce_original, ce_ablated (nats a token; null where putting in
            the mean does not hurt); accuracy, accuracy_tokens, accuracy_rest, accuracy_states and largest_label where
            concepts have labels (see `accord.concepts.labelled.judge_labels`); seconds of training, null where it was
            imported: then `origin` says from what.
        curve: see `TrainedMetrics`.
    """

    def headline(self) -> str:
        """How much of the states it explains, and with how many concepts."""
        r2, active = (brief({"value": self.metrics.get(name)}, digits) for name, digits in (("r2", 2), ("l0", 1)))
        return f"R² {r2}; {active} concepts active a token"


def write_curve(folder: Path, curve: pd.DataFrame | None) -> None:
    """Write a training curve, if there is one: a line for each step, with what was measured at it."""
    if curve is not None:
        rows = ({"step": int(row.pop("step")), **row} for row in curve.to_dict("records"))
        lines = (json.dumps({key: value for key, value in row.items() if value == value}) for row in rows)
        write_whole(folder / CURVE, "".join(line + "\n" for line in lines))


def read_curve(folder: Path) -> pd.DataFrame | None:
    """A training curve by step, all numbers; None where nothing was trained."""
    path = folder / CURVE
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").split("\n")
    table = pd.DataFrame([json.loads(line) for line in lines if line], dtype=float)
    return None if table.empty else table.sort_values("step")


RESULTS = {"concepts": ConceptMetrics}
OBJECTIVES = {
    "concepts": (
        "r2", "fvu", "r2_hard", "l0", "alive", "parameters", "ce_recovered", "ce_recovered_hard", "ce_original",
        "ce_ablated", "accuracy", "accuracy_rest", "seconds",
    ),
}  # fmt: skip
