"""Which concepts a repair changed at the end of the validator's prompts."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from accord.concepts.base import ConceptModel
from accord.errors import AccordError
from accord.intervals.families import simultaneous


@torch.no_grad()
def concept_changes(
    model: ConceptModel, before: Tensor, after: Tensor, *, seed: int = 0, resamples: int = 1000
) -> pd.DataFrame:
    """Strengths of every concept in two models' states [item, d] of the same prompts, the most changed first.

    Rows (concept, before, after, change, low, high, certain, reason): mean strengths, their difference, and its
    *simultaneous* 95 % interval: of all concepts together, with probability .95 none lies outside its interval, so that
    `certain` (0 is outside) needs no further correction for how many were looked at. Where there is no interval (a
    concept that changed on fewer than 10 items, or changes too skewed for so few items), `reason` says so. See
    `accord.intervals.families.simultaneous`.

    Args:
        seed, resamples: of the random signs; 0 for no interval.

    Raises:
        AccordError: the states do not fit the concept model, or fewer than 2 items.
    """
    if len(before) != len(after) or len(before) < 2:
        raise AccordError("concepts are compared on the same items", got=(len(before), len(after)), wanted="2 or more")
    strengths = [model.encode(model.receive(x.to(model.device))[0]).strength.double().cpu() for x in (before, after)]
    old, new = (np.asarray(strength.numpy()) for strength in strengths)
    low, high, reason = simultaneous(new - old, seed, resamples)
    table = pd.DataFrame(
        {
            "concept": np.arange(model.K),
            "before": old.mean(0),
            "after": new.mean(0),
            "change": (new - old).mean(0),
            "low": low,
            "high": high,
            "certain": (low > 0) | (high < 0),
            "reason": reason,
        }
    )
    return table.sort_values("change", key=lambda column: -column.abs(), kind="stable", ignore_index=True)
