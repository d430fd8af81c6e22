"""Two models on the same items: what changed, with paired bootstrap intervals, and how much of the gap is closed."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.metrics import MEASURES, PAIRED, Interval, interval, resampled_items, sample

CORRELATIONS = tuple(name for name in PAIRED if name.startswith(("pearson", "spearman")))


@dataclass(frozen=True)
class Change:
    """A measure before and after; each with its 95 % bootstrap interval over items, `change` of paired items.

    `closure`: for correlations r, the share of the gap that is closed, (r_after − r_before) / (1 − r_before): 1 is
    perfect agreement, 0 none gained, below 0 lost.
    """

    before: Interval
    after: Interval
    change: Interval
    closure: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain tables."""
        return asdict(self)


@checked
def compare(before: pd.DataFrame, after: pd.DataFrame, *, seed: int = 0, resamples: int = 1000) -> dict[str, Change]:
    """Every measure of `MEASURES` in two score tables of the same items (see `accord.gap.measure_gap`).

    Both tables are resampled together: a resample draws the same items of both, within gold classes.

    Raises:
        AccordError: the tables are not of the same items in the same order.
    """
    same_items(before, after)
    samples = [sample(before), sample(after)]
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MEASURES}
    for index in resampled_items(len(before), samples[0].n_yes, resamples, seed):
        pair = [one.take(index) for one in samples]
        for name, of in MEASURES.items():
            drawn[name].append(np.stack([of(one) for one in pair]))
    found = {}
    for name, of in MEASURES.items():
        whole = np.array([float(of(one)) for one in samples])
        both = np.concatenate(drawn[name], axis=1) if drawn[name] else np.empty((2, 0))
        closed = interval(float(_closure(whole)), _closure(both)) if name in CORRELATIONS else None
        found[name] = Change(
            interval(float(whole[0]), both[0]),
            interval(float(whole[1]), both[1]),
            interval(float(whole[1] - whole[0]), both[1] - both[0]),
            closed,
        )
    return found


def _closure(pair: NDArray[np.float64]) -> Any:
    """Share of (1 − r) that is closed, of r before and after [2, ...]; nan where nothing was open."""
    rest = 1 - pair[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rest > 1e-9, (pair[1] - pair[0]) / rest, np.nan)


def same_items(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """AccordError unless two score tables are of the same items in the same order."""
    named = ["generator_prompt", "validator_prompt", "answer", "gold"]
    for column in named:
        if column not in before or column not in after:
            raise AccordError("a column is missing from a score table", wanted=column)
    if len(before) != len(after) or not before[named].reset_index(drop=True).equals(
        after[named].reset_index(drop=True)
    ):
        raise AccordError(
            "these score tables are not of the same items",
            got=f"{len(before)} and {len(after)} items",
            wanted="the same prompts and answers in the same order",
            fix="measure both models on the same task",
        )
