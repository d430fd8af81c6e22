"""How well l_G can be read off the validator's state: what the readout repair has to work with, before it is made.

Nothing that is counted was fitted or chosen on: layer and penalty are chosen on parts of the items that the fit has
not seen, and what is read is read of a part that neither the fit nor the choice has seen (nested cross-validation;
Varma and Simon 2006, BMC Bioinformatics 7, 91).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from accord.errors import AccordError
from accord.forecasting.config import FEWEST_ITEMS
from accord.gap.ridge import PENALTIES, Ridge, folds
from accord.intervals import Floats


@dataclass(frozen=True)
class HeldOut:
    """What was read of items that no fit and no choice has seen.

    Attributes:
        by_layer: layer -> what is read of l_G there [item], in nats, the penalty chosen anew for each part.
        best: the same from the layer that was chosen for each part [item].
        layer: the layer from which each item was read [item].
    """

    by_layer: Mapping[int, Floats]
    best: Floats
    layer: Floats


def read_held_out(
    states: Mapping[int, Tensor], target: Floats, groups: Sequence[str | None], *, seed: int = 0
) -> HeldOut:
    """Read a number off each layer's states by ridge regression, each of four parts by what the others taught.

    Args:
        states: layer -> [item, d].
        target: what is read [item].
        groups: of each item; parts are whole groups where there are four or more of them, as items that a repair is
            judged on may have a group that no training item has.

    Raises:
        AccordError: fewer than 8 items, or as many states as targets are not there.
    """
    if len(target) < FEWEST_ITEMS:
        raise AccordError("too few items to read anything off", got=len(target), wanted=f"{FEWEST_ITEMS} or more")
    fold, y = folds(groups, seed), torch.tensor(np.asarray(target), dtype=torch.float64)
    parts = {int(part): torch.from_numpy(fold == part) for part in np.unique(fold)}
    by_layer, errors = {}, {part: dict[int, float]() for part in parts}
    for layer, own in states.items():
        chosen = _chosen(own, y, parts)
        read = torch.empty(len(y), dtype=torch.float64)
        for part, (penalty, error) in chosen.items():
            out = parts[part]
            read[out] = Ridge(own[~out], y[~out]).fit(penalty)(own[out])
            errors[part][layer] = error
        by_layer[layer] = read.numpy()
    best, layers = np.empty(len(y)), np.empty(len(y))
    for part, lost in errors.items():
        layer, inside = min(lost, key=lost.__getitem__), fold == part
        best[inside], layers[inside] = by_layer[layer][inside], layer
    return HeldOut(by_layer, best, layers)


def _chosen(states: Tensor, target: Tensor, parts: Mapping[int, Tensor]) -> dict[int, tuple[float, float]]:
    """For each part the penalty that does best on the others, each read by what the rest taught, and its squared error.

    A fit without two parts serves both: it reads the one for the choice that is made for the other.
    """
    errors = {part: torch.zeros(len(PENALTIES), dtype=torch.float64) for part in parts}
    for pair in combinations(parts, 2):
        out = parts[pair[0]] | parts[pair[1]]
        ridge = Ridge(states[~out], target[~out])
        probes = [ridge.fit(penalty) for penalty in PENALTIES]
        for part, other in (pair, pair[::-1]):
            where = parts[other]
            guesses = torch.stack([probe(states[where]) for probe in probes])
            errors[part] += (guesses - target[where]).square().sum(1)
    return {part: (PENALTIES[int(each.argmin())], float(each.min())) for part, each in errors.items()}
