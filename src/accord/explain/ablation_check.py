"""Do the concepts that explain a gap carry it? Turned off on other items, beside random ones of equal rates.

Three sets are chosen on one half of the items, by the concepts' contributions to the validator, and each is turned off
together on the other half: those whose pull is most negative ("against": without them the forms should agree more), or
most positive ("for": less), and those of the largest mean |contribution| ("largest": the answers should move).

Random sets are as large as the set they stand beside, and no two of them are the same. Where few concepts are active,
a set is cut to a third of their number, so that the others make sets that differ; there may still be fewer than asked
for, and then p, (1 + those that do as much) / (1 + all), cannot be small.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.explain.contributions import FormConcepts, pull_of
from accord.intervals import Floats, difference, mean_estimate, pearson_estimate
from accord.intervals.estimate import unchanged

_NEAR = 10  # concepts of the nearest rates, among which a control is drawn; one more after each set that was there
_TRIES = 20  # draws of a random set before there is taken to be no other
# How a set is judged: the column of the check, and whether it should be larger or smaller than that of random sets.
JUDGED = {"against": ("change", 1), "for": ("change", -1), "largest": ("moved", 1)}


def choose(
    contributions: Floats, generator: Floats, validator: Floats, picked: Sequence[int], n: int
) -> dict[str, list[int]]:
    """At most `n` concepts of each set, by contributions [candidate, item] to the validator and log-odds [item]."""
    pull = pull_of(contributions, validator, generator)
    order, size = np.argsort(pull, kind="stable"), np.abs(contributions).mean(-1)
    return {
        "against": [picked[i] for i in order[:n] if pull[i] < 0],
        "for": [picked[i] for i in order[::-1][:n] if pull[i] > 0],
        "largest": [picked[i] for i in np.argsort(-size, kind="stable")[:n]],
    }


def check(
    validator: FormConcepts,
    chosen: Mapping[str, Sequence[int]],
    generator: Floats,
    items: NDArray[np.int64],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Turn the chosen concepts off, and at most `draws` random sets beside each, on these items.

    A set is cut where it cannot be matched, and left out where fewer than three concepts are active.

    Returns rows (what, draw, concepts, change, change_low, change_high, moved, moved_low, moved_high): draw −1 is the
    chosen set; `change` that of Pearson's r of the two forms (`accord.intervals.difference`), `moved` the mean
    |change of l_V|, in nats (`accord.intervals.mean_estimate`); 95 % intervals over items.
    """
    rng = np.random.default_rng([seed, 1])
    most = int((validator.rate > 0).sum()) // 3
    kept = {what: list(own[:most]) for what, own in chosen.items() if own[:most]}
    sets = [
        (what, draw, concepts)
        for what, own in kept.items()
        for draw, concepts in enumerate([own, *_random_sets(validator.rate, own, draws, rng)], -1)
    ]
    if not sets:
        return pd.DataFrame(columns=["what", "draw", "concepts", *_COLUMNS])
    without = validator.without([concepts for _, _, concepts in sets])[:, items]
    l_g, l_v = generator[items], validator.logodds[items]
    base = pearson_estimate(l_g, l_v)
    rows = []
    for (what, draw, concepts), after in zip(sets, without, strict=True):
        size = np.abs(after - l_v)
        change, moved = difference(base, pearson_estimate(l_g, after)), mean_estimate(size, least=0.0)
        if not size.any():
            change = moved = unchanged()
        ends = (("change", change.interval()), ("moved", moved.interval()))
        numbers = {f"{name}{end}": interval[key] for name, interval in ends for end, key in _ENDS}
        rows.append({"what": what, "draw": draw, "concepts": concepts, **numbers})
    return pd.DataFrame(rows)


_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))
_COLUMNS = [f"{name}{end}" for name in ("change", "moved") for end, _ in _ENDS]


def in_numbers(checked: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Each set beside its random ones: the measure it is judged by, its interval, theirs, and a permutation p-value."""
    checks = {}
    for what, part in checked.groupby("what", sort=False):
        measure, sign = JUDGED[str(what)]
        own, random = part[part["draw"] < 0].iloc[0], part.loc[part["draw"] >= 0, measure].to_numpy(dtype=float)
        checks[str(what)] = {
            "concepts": own["concepts"],
            "measure": measure,
            "value": own[measure],
            "low": own[f"{measure}_low"],
            "high": own[f"{measure}_high"],
            "random": len(random),
            "random_mean": float(random.mean()) if len(random) else None,
            "random_low": float(np.percentile(random, 2.5)) if len(random) else None,
            "random_high": float(np.percentile(random, 97.5)) if len(random) else None,
            "p": (1 + int((sign * random >= sign * own[measure]).sum())) / (1 + len(random)),
        }
    return checks


def _random_sets(rate: Floats, chosen: Sequence[int], draws: int, rng: np.random.Generator) -> list[list[int]]:
    """Sets of as many other concepts, each drawn among those whose rates are nearest to one of the chosen.

    At most `draws`; fewer where there are no more that differ.
    """
    sets: dict[frozenset[int], list[int]] = {}
    for _ in range(draws):
        for more in range(_TRIES):
            drawn = _random_set(rate, chosen, _NEAR + more, rng)
            if frozenset(drawn) not in sets:
                sets[frozenset(drawn)] = drawn
                break
    return list(sets.values())


def _random_set(rate: Floats, chosen: Sequence[int], most: int, rng: np.random.Generator) -> list[int]:
    taken = set(chosen)
    drawn: list[int] = []
    for k in chosen:
        free = np.array([j for j in np.flatnonzero(rate > 0) if j not in taken])
        near = free[np.argsort(np.abs(rate[free] - rate[k]), kind="stable")[:most]]
        drawn.append(int(rng.choice(near)))
        taken.add(drawn[-1])
    return drawn
