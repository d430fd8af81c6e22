"""Where the answer is known: how well the generator's log-odds can be read from the validator's state, by layer.

A ridge regression from the validator prompt's last state to the base model's l_G, fitted on training items, and
judged on others. Where it reads l_G well, the validator holds what the generator would say; where its own l_V agrees
less, that is lost on the way out.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor

from accord.errors import AccordError
from accord.gap.metrics import PAIRED, summarize
from accord.gap.ridge import Ridge, choose_penalty, folds
from accord.pathway.config import FEWEST_TRAIN

_READ = {
    **{name: PAIRED[name] for name in ("pearson_all", "pearson_yes", "pearson_no")},
    "auc": PAIRED["validator_auc"],
}


def readout_curve(
    states: Mapping[int, Tensor],
    target: Tensor,
    groups: Sequence[str | None],
    tests: Mapping[str, tuple[Mapping[int, Tensor], pd.DataFrame]],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> pd.DataFrame:
    """How well the target can be read from each layer's states: rows (layer, items, metric, value, low, high).

    `metric` is pearson_all, pearson_yes and pearson_no of what is read with l_G, over all items and within gold
    classes, `auc` of what is read for gold; and of items "train", `penalty`, the one that was chosen, and `explained`,
    the share of l_G's variance that was read on the parts left out, by which a layer is chosen.

    Args:
        states: layer -> states of the training items [item, d].
        target: l_G of the training items [item].
        groups: of the training items; the penalty is chosen on groups that a fit has not seen, see
            `accord.tasks.splits.held_apart`.
        tests: name -> states by layer of other items, and their score table, whose `generator_logodds` is the target.

    Raises:
        AccordError: fewer than 8 training items.
    """
    if len(target) < FEWEST_TRAIN:
        raise AccordError(
            "too few training items to read anything off", got=len(target), wanted=f"{FEWEST_TRAIN} or more"
        )
    fold = folds(groups, seed)
    rows = []
    for layer, own in states.items():
        penalty, explained = choose_penalty(own, target, fold)
        probe = Ridge(own, target).fit(penalty)
        for name, (theirs, scores) in tests.items():
            table = scores.assign(validator_logodds=probe(theirs[layer]).numpy())
            measured = summarize(table, _READ, resamples=resamples)
            rows += [{"layer": layer, "items": name, "metric": metric, **measured[metric]} for metric in _READ]
        chosen = {"penalty": penalty, "explained": explained}
        rows += [
            {"layer": layer, "items": "train", "metric": metric, "value": value, "low": None, "high": None}
            for metric, value in chosen.items()
        ]
    table = pd.DataFrame(rows, columns=["layer", "items", "metric", "value", "low", "high"])
    return table.astype({"value": float, "low": float, "high": float})
