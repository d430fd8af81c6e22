"""Which concepts a repair changed at the end of the validator's prompts."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from accord.concepts.base import ConceptModel
from accord.errors import AccordError
from accord.gap.metrics import Floats, resampled_items
from accord.pathway.cka import counts


@torch.no_grad()
def concept_changes(
    model: ConceptModel, before: Tensor, after: Tensor, *, seed: int = 0, resamples: int = 1000
) -> pd.DataFrame:
    """Strengths of every concept in two models' states [item, d] of the same prompts, the most changed first.

    Rows (concept, before, after, change, low, high, certain): mean strengths, their difference, and its *simultaneous*
    95 % interval: of all concepts together, with probability .95 none lies outside its interval, so that `certain` (0
    is outside) needs no further correction for how many were looked at. It is change ± c · standard error of the paired
    differences, c the 95 % quantile over resamples of items of the largest |resampled change − change| / standard
    error among the concepts (max-t bootstrap: Romano and Wolf 2005). With few items it is too narrow for concepts that
    change on a few of them only.

    Args:
        resamples: 0 for no interval.

    Raises:
        AccordError: the states do not fit the concept model, or fewer than 2 items.
    """
    if len(before) != len(after) or len(before) < 2:
        raise AccordError("concepts are compared on the same items", got=(len(before), len(after)), wanted="2 or more")
    strengths = [model.encode(model.receive(x.to(model.device))[0]).strength.double().cpu() for x in (before, after)]
    old, new = (np.asarray(one.numpy()) for one in strengths)
    difference = new - old
    change, error = difference.mean(0), difference.std(0, ddof=1) / len(difference) ** 0.5
    half = _critical(difference, error, seed, resamples) * error if resamples else np.full_like(change, np.nan)
    low, high = change - half, change + half
    table = pd.DataFrame(
        {
            "concept": np.arange(model.K),
            "before": old.mean(0),
            "after": new.mean(0),
            "change": change,
            "low": low,
            "high": high,
            "certain": (low > 0) | (high < 0),
        }
    )
    return table.sort_values("change", key=lambda column: -column.abs(), kind="stable", ignore_index=True)


def _critical(difference: Floats, error: Floats, seed: int, resamples: int) -> float:
    """The 95 % quantile of the largest standardised deviation; 0 where nothing varies."""
    varied = error > 1e-12
    if not varied.any():
        return 0.0
    n, centred = len(difference), (difference[:, varied] - difference[:, varied].mean(0)) / error[varied]
    largest = [np.abs(counts(i) @ centred / n).max(1) for i in resampled_items(n, 0, resamples, seed)]
    return float(np.quantile(np.concatenate(largest), 0.95))
