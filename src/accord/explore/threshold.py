"""What moving the validator's threshold does: the share that it affirms, and how many of its answers are right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from accord.arguments import checked
from accord.gap.metrics import MEASURES, summarize
from accord.repair.calibrate import gold_threshold, share_threshold

_ACCURACY = {"validator_accuracy": MEASURES["validator_accuracy"]}


@dataclass(frozen=True)
class Threshold:
    """The validator's answers to the items of a score table, its log-odds shifted.

    Attributes:
        shift: added to every l_V, in nats.
        affirmed: share of the items that are affirmed.
        accuracy: share of the items that are judged rightly.
    """

    shift: float
    affirmed: float
    accuracy: float


@checked
def thresholds(scores: pd.DataFrame, shifts: Sequence[float]) -> list[Threshold]:
    """The answers at each of the shifts, as `accord.repair` with kind "calibrate" would give them.

    >>> scores = pd.DataFrame({"validator_logodds": [-2.0, -1.0, 1.0, 5.0], "gold": [False, False, False, True]})
    >>> rest = {"generator_logodds": 0.0, "generator_rank": 1, "yes_no_mass": 1.0}
    >>> [found] = thresholds(scores.assign(**rest), [-3.0])
    >>> found.affirmed, found.accuracy
    (0.25, 1.0)

    Args:
        scores: as `Gap.scores`.
    """
    found = []
    for shift in shifts:
        moved = scores.assign(validator_logodds=scores["validator_logodds"] + shift)
        accuracy = summarize(moved, _ACCURACY, resamples=0)["validator_accuracy"]["value"]
        affirmed = float((moved["validator_logodds"] > 0).mean())
        found.append(Threshold(float(shift), affirmed, float("nan") if accuracy is None else float(accuracy)))
    return found


def usual_shifts(scores: pd.DataFrame) -> dict[str, float]:
    """The two shifts that `calibrate` chooses from: half are affirmed, or the fewest errors by gold."""
    validator = scores["validator_logodds"].to_numpy(dtype=float)
    gold = scores["gold"].to_numpy(dtype=bool)
    return {"share": -share_threshold(validator, 0.5), "gold": -gold_threshold(np.asarray(validator), gold)}
