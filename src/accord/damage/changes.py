"""The table of damage: each measure before and after, what changed, and whether it got worse.

Intervals are 95 % percentile bootstraps of paired units (texts, prompts, facts): a resample draws the same units of
both models. Where a measure is of all texts together (shares of different words), duplicates in a resample would be
mistaken for repetition, so its interval is a jackknife's: change ± 1.96 standard errors, texts left out one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.gap.metrics import interval, resampled_items

Floats = NDArray[np.float64]
Columns = Sequence[Floats]
Of = Callable[..., Any]
"""From columns [..., unit] to a measure [...]."""
Worse = Literal["higher", "lower", "distance", "neither"]
"""What is worse of a measure. A distance from the base grows whatever a repair does: it is told, and is no harm."""

GROUPS = TEXT, RELATIONS, OWN, FREE = "text", "relations", "own task", "free text"
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
)
# Changes below this are what other batches, or the same weights merged, do to float32 numbers.
NOISE = 1e-4


@dataclass
class Changes:
    """Rows of the table as they are measured.

    Attributes:
        seed, resamples: of the bootstrap; 0 resamples for no intervals, and then nothing counts as worsened.
    """

    seed: int
    resamples: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        group: str,
        measure: str,
        of: Of,
        columns: tuple[Columns, Columns],
        worse: Worse,
        *,
        ratio: bool = False,
        n_yes: int = 0,
    ) -> None:
        """Measure `of` columns [unit] of base and repaired model.

        Args:
            ratio: repaired / base is the change, else repaired − base.
            n_yes: the first so many units are one class, the rest another; both keep their sizes in a resample.
        """
        before, after = columns
        n = len(before[0])

        def pair(index: Any) -> tuple[Any, Any, Any]:
            x, y = of(*(column[index] for column in before)), of(*(column[index] for column in after))
            return x, y, y / x if ratio else y - x

        base, repaired, changed = (float(one) for one in pair(slice(None)))
        resamples = self.resamples if n > 1 else 0  # a single unit would be its own interval
        drawn = [pair(index)[2] for index in resampled_items(n, n_yes, resamples, self.seed)]
        found = interval(changed, np.concatenate(drawn) if drawn else np.empty(0))
        self._row(group, measure, base, repaired, changed, (found["low"], found["high"]), n, worse, ratio)

    def add_jackknife(
        self,
        group: str,
        measure: str,
        of: Callable[[list[str]], float],
        texts: tuple[list[str], list[str]],
        worse: Worse,
    ) -> None:
        """Measure `of` all texts of the base, and all of the repaired model, text by text beside them."""
        before, after = texts
        n = len(before)
        base, repaired = of(before), of(after)
        low = high = None
        if n > 2 and self.resamples:
            left_out = np.array([of(after[:i] + after[i + 1 :]) - of(before[:i] + before[i + 1 :]) for i in range(n)])
            error = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
            low, high = repaired - base - 1.96 * error, repaired - base + 1.96 * error
        self._row(group, measure, base, repaired, repaired - base, (low, high), n, worse, False)

    def _row(
        self,
        group: str,
        measure: str,
        base: float,
        repaired: float,
        changed: float,
        ends: tuple[float | None, float | None],
        n: int,
        worse: Worse,
        ratio: bool,
    ) -> None:
        low, high = (np.nan if end is None else end for end in ends)
        none = 1.0 if ratio else 0.0
        worsened = (worse == "higher" and low > none + NOISE) or (worse == "lower" and high < none - NOISE)
        kind = "ratio" if ratio else "difference"
        row = (group, measure, base, repaired, changed, low, high, n, kind, worse, bool(worsened))
        self.rows.append(dict(zip(COLUMNS, row, strict=True)))

    def table(self) -> pd.DataFrame:
        """All rows, in the order they were measured."""
        return pd.DataFrame(self.rows, columns=list(COLUMNS))
