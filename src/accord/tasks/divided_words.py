"""Categories, and the members of them, divided into two sides: a search over divisions, on arrays."""

from collections.abc import Sequence
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from accord.errors import AccordError
from accord.tasks.base import Item

Triple = tuple[str, str, bool]  # member, category, gold

STARTS = 10  # searches from different random divisions; the best one counts


def divided(
    items: Sequence[Item], words: tuple[str, str], share: float, seed: int, *, both: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each item: is its category on the test side, and do both of its words lie on one side?

    See `accord.tasks.splits.unseen_sides`.
    """
    triples = tuple((item.fields[words[0]], item.fields[words[1]], item.gold) for item in items)
    return _divided(triples, share, seed, both)


@lru_cache(maxsize=8)
def _divided(
    triples: tuple[Triple, ...], share: float, seed: int, both: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The same; kept, as a study asks for every part of one division in turn."""
    pairs = _Pairs(triples, share, both)
    return pairs.place(_best(pairs, seed))


def _best(pairs: "_Pairs", seed: int) -> NDArray[np.bool_]:
    """The best division of the categories that searches from several random ones find."""
    if pairs.n_categories < 2:
        raise AccordError(
            "The categories cannot be divided", got=f"{pairs.n_categories} category", wanted="two or more"
        )
    rng = Random(f"unseen {seed}")
    return min((_search(pairs, rng) for _ in range(STARTS)), key=pairs.cost)


def _search(pairs: "_Pairs", rng: Random) -> NDArray[np.bool_]:
    """From a random division to one that moving no category to the other side improves."""
    n = pairs.n_categories
    tests = np.zeros(n, dtype=bool)
    tests[rng.sample(range(n), max(1, round(pairs.share * n)))] = True
    cost, improved = pairs.cost(tests), True
    while improved:
        improved = False
        for category in rng.sample(range(n), n):
            tests[category] ^= True
            if (new := pairs.cost(tests)) < cost - 1e-9:
                cost, improved = new, True
            else:
                tests[category] ^= True
    return tests


class _Pairs:
    """Member–category pairs as arrays, so that one division is judged in a tenth of a millisecond."""

    def __init__(self, triples: Sequence[Triple], share: float, both: bool) -> None:
        names, self.member = np.unique([member for member, _, _ in triples], return_inverse=True)
        categories, self.category = np.unique([category for _, category, _ in triples], return_inverse=True)
        self.gold = np.array([gold for _, _, gold in triples])
        self.share, self.both, self.n_categories = share, both, len(categories)
        self.all = np.zeros((len(names), len(categories)), dtype=np.float32)  # how many pairs
        self.excess = np.zeros_like(self.all)  # how many more right than wrong ones
        np.add.at(self.all, (self.member, self.category), 1)
        np.add.at(self.excess, (self.member, self.category), np.where(self.gold, 1, -1))
        # a word that is a member in one pair and a category in another stands on its category's side
        _, self.twofold, self.twofold_as = np.intersect1d(names, categories, return_indices=True)
        self.prefers_gold = np.arange(len(names)) % 2 == 0

    def place(self, tests: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """For each pair: is its category on the test side, and does the pair lie wholly on one side?"""
        testing = tests[self.category]
        if not self.both:
            return testing, np.ones(len(testing), dtype=bool)
        sides = np.where(tests, 1, -1).astype(np.float32)
        votes = self.all @ sides  # a member goes where most of its pairs are
        # members torn evenly keep, by turns, their right and their wrong pairs: gold stays balanced
        side = np.where(votes != 0, votes > 0, (self.excess @ sides > 0) == self.prefers_gold)
        side[self.twofold] = tests[self.twofold_as]
        return testing, side[self.member] == testing

    def cost(self, tests: NDArray[np.bool_]) -> float:
        """Share of pairs lost, plus penalties for a test side of the wrong size and for unbalanced sides."""
        testing, kept = self.place(tests)
        test, train = kept & testing, kept & ~testing
        if not test.any() or not train.any():
            return float("inf")
        wrong_size = test.sum() / kept.sum() - self.share
        unbalance = [self.gold[side].mean() - self.gold.mean() for side in (test, train)]
        return float(1 - kept.mean() + 16 * wrong_size**2 + 4 * sum(u**2 for u in unbalance))
