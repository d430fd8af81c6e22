"""The table of damage: each measure before and after, what changed, and whether it got worse.

Intervals are 95 % intervals of paired units (texts, prompts, facts, items), each measure's own: see `accord.intervals`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from accord.intervals import Estimate

Worse = Literal["higher", "lower", "distance", "neither"]
"""What is worse of a measure. A distance from the base grows whatever a repair does: it is reported, and is no harm."""

GROUPS = TEXT, RELATIONS, OWN, FREE, HARNESS = "text", "relations", "own task", "free text", "harness"
"""Of measures that are over all relations and tasks together; single ones have groups of their own."""
COLUMNS = (
    "group",
    "measure",
    "base",
    "repaired",
    "change",
    "low",
    "high",
    "n",
    "change_is",
    "worse_if",
    "worsened",
    "reason",
)
# Changes below this are what other batches, or the same weights merged, do to float32 numbers.
NOISE = 1e-4


@dataclass
class Changes:
    """Rows of the table as they are measured.

    Attributes:
        seed, resamples: of the exchanges of free texts; 0 for no intervals at all: then nothing counts as worsened.
    """

    seed: int
    resamples: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        group: str,
        measure: str,
        sides: tuple[Any, Any],
        change: Estimate,
        n: int,
        worse: Worse,
        *,
        ratio: bool = False,
    ) -> None:
        """A measure of base and repaired model, `sides`, and what changed in it over n units.

        Args:
            ratio: the change is repaired / base, else repaired − base.
        """
        estimate = change if self.resamples else Estimate(change.value)
        low, high, none = estimate.low, estimate.high, 1.0 if ratio else 0.0
        worsened = (worse == "higher" and low > none + NOISE) or (worse == "lower" and high < none - NOISE)
        kind = "ratio" if ratio else "difference"
        reason = estimate.reason if math.isnan(low) else ""
        base, repaired = (float(side) for side in sides)
        row = (group, measure, base, repaired, estimate.value, low, high, n, kind, worse, bool(worsened), reason)
        self.rows.append(dict(zip(COLUMNS, row, strict=True)))

    def table(self) -> pd.DataFrame:
        """All rows, in the order they were measured."""
        return pd.DataFrame(self.rows, columns=list(COLUMNS))
