"""Which items train and which test: at random, or so that a test item's words never occurred in training.

All of it is fixed by the seed and the order of the items. Test sides hold about the wished share of the
items, and about as many right answers among them as the whole.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from accord.errors import AccordError
from accord.tasks.base import Item

T = TypeVar("T")
Triple = tuple[str, str, bool]  # member, category, gold

STARTS = 10  # searches from different random divisions; the best one counts


@dataclass(frozen=True)
class Sides:
    """The two sides of a split, and how many items belong to neither.

    A nested split has two more: pairs whose category no training pair has, and pairs of which neither word does.
    """

    train: list[Item]
    test: list[Item]
    dropped: int = 0
    unseen_hypernyms: list[Item] = field(default_factory=list)
    unseen_both: list[Item] = field(default_factory=list)


def spread(things: Sequence[T], keys: Sequence[Callable[[T], object]], rng: Random) -> list[T]:
    """Shuffle so that every prefix mixes the kinds as the whole does: by the first key, then the next."""
    if not keys:
        return rng.sample(things, len(things))
    kinds: dict[str, list[T]] = {}
    for thing in things:
        kinds.setdefault(str(keys[0](thing)), []).append(thing)
    streams = [spread(kinds[kind], keys[1:], rng) for kind in sorted(kinds)]
    placed = [((i + 0.5) / len(stream), thing) for stream in streams for i, thing in enumerate(stream)]
    return [thing for _, thing in sorted(placed, key=lambda place: place[0])]


def mixed(items: Sequence[Item], seed: int) -> list[Item]:
    """Items in an order whose every prefix is balanced: what a limit cuts."""
    rng = Random(f"order {seed}")
    return spread(items, [lambda item: item.label or item.gold, lambda item: item.similarity], rng)


def random_sides(items: Sequence[Item], unit: Callable[[Item], Hashable], share: float, seed: int) -> Sides:
    """A random share of the units tests: items of one unit stay together; each kind is shared out."""
    units: dict[Hashable, list[Item]] = {}
    for item in items:
        units.setdefault(unit(item), []).append(item)
    order = spread(list(units.values()), [_makeup], Random(f"split {seed}"))
    n_test = max(1, min(round(share * len(order)), len(order) - 1)) if len(order) > 1 else 0
    chosen = {id(item) for unit in order[:n_test] for item in unit}
    return Sides([i for i in items if id(i) not in chosen], [i for i in items if id(i) in chosen])


def both_words(words: tuple[str, str]) -> Callable[[Item], Hashable]:
    """A pair of words as a unit, in either order: whoever knows that big means large knows that large means big."""
    return lambda item: frozenset(item.fields[word] for word in words)


def _makeup(unit: list[Item]) -> list[tuple[bool, str]]:
    return sorted((item.gold, f"{item.label or ''}{item.similarity}") for item in unit)


def unseen_sides(items: Sequence[Item], words: tuple[str, str], share: float, seed: int, *, both: bool) -> Sides:
    """Divide the categories; with `both`, the members too, dropping the pairs that cross.

    `words` names the member and the category field. A search moves categories to the other side as long as
    that helps: few pairs lost, a test side of the wished size, right and wrong answers balanced on both sides.
    """
    testing, kept = _divided(_triples(items, words), share, both, seed)
    return Sides(
        [item for item, test, keep in zip(items, testing, kept, strict=True) if keep and not test],
        [item for item, test, keep in zip(items, testing, kept, strict=True) if keep and test],
        int((~kept).sum()),
    )


def nested_sides(items: Sequence[Item], words: tuple[str, str], share: float, seed: int) -> Sides:
    """One training side and three tests of it, ever further away, so that one repair is tried on all of them.

    The words are divided as by `unseen_sides` with `both`. Pairs of two test words are `unseen_both`; pairs of a test
    category with a training member are `unseen_hypernyms`; pairs of two training words are divided at random into
    `train` and `test`. Pairs of a test member with a training category belong to none.
    """
    testing, kept = _divided(_triples(items, words), share, True, seed)
    sorted_out = list(zip(items, testing, kept, strict=True))
    seen = [item for item, test, keep in sorted_out if keep and not test]
    near = random_sides(seen, both_words(words), share, seed)
    return Sides(
        near.train,
        near.test,
        sum(not keep and not test for _, test, keep in sorted_out),
        unseen_hypernyms=[item for item, test, keep in sorted_out if test and not keep],
        unseen_both=[item for item, test, keep in sorted_out if test and keep],
    )


def _triples(items: Sequence[Item], words: tuple[str, str]) -> tuple[Triple, ...]:
    """All that a division into categories depends on."""
    return tuple((item.fields[words[0]], item.fields[words[1]], item.gold) for item in items)


@lru_cache(maxsize=8)
def _divided(
    triples: tuple[Triple, ...], share: float, both: bool, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """See `_Pairs.place`; kept, as a study asks for every part of the same division in turn."""
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
