"""How well a head predicts the next token, and how its training went."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.concepts.result import METRICS, read_curve, write_curve
from accord.disk import read_object, write_json


@dataclass(frozen=True)
class HeadMetrics:
    """A head on held-out embeddings.

    Attributes:
        metrics: row, concepts, reads, head (its kind), layer and seed (null for the backbone's own); held_out_ce (nats
            a token), start_ce (before training), unigram_ce (of the tokens' frequencies in training), seconds.
        curve: step and loss while it was trained, or None.
    """

    metrics: Mapping[str, Any]
    curve: pd.DataFrame | None = None

    def write(self, folder: Path) -> None:
        """Write metrics.json, and curve.jsonl if there is a curve; in a stage the trainer has written that already."""
        write_json(folder / METRICS, self.metrics)
        write_curve(folder, self.curve)

    @classmethod
    def read(cls, folder: Path) -> "HeadMetrics":
        """What is in a head's folder."""
        return cls(read_object(folder / METRICS), read_curve(folder))


RESULTS = {"heads": HeadMetrics}
OBJECTIVES = {"heads": ("held_out_ce", "start_ce", "unigram_ce", "seconds")}
