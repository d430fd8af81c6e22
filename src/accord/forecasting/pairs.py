"""How often a teacher orders a pair of a right and a wrong answer rightly, by how far apart it holds them.

A repair by ranking can teach no better than its teacher ranks. The authors of RankAlign look at this share before they
train, by size of the difference (development after arXiv 2504.11381): 97 % on typical members, 58 % on ambiguous
questions. Over all pairs together it is the AUC.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.errors import AccordError
from accord.intervals import Estimate, Floats, share_of_many, unknown, wilson
from accord.intervals.estimate import FEWEST, spread, too_few

BINS = 10
COLUMNS = ("bin", "above", "upto", "pairs", "value", "low", "high")
_CLOSE = 1e-12  # of the largest score: how exactly ends of bins are found
_FEWEST_PAIRS = 20  # in a bin: of fewer, a share says next to nothing
_LISTED = 2**24  # pairs


def ordered_pairs(scores: Floats, gold: NDArray[np.bool_], *, bins: int = BINS) -> pd.DataFrame:
    """Share of the pairs (right, wrong) of which the right answer has the higher score, by decile of |difference|.

    Rows by `bin`: 0 all pairs, then 1, 2, … `bins` of as many pairs each, of which |difference| is in (above, upto]
    nats (the first has 0 too); `pairs` how many; the share, ties counting half, with its 95 % interval over items,
    right and wrong ones being drawn by themselves, the ends of bins fixed.

    The share is a ratio of two U-statistics of two samples. Its variance is that of its projection on items
    (Hoeffding 1948), and its interval Wilson's of as many trials as have that variance, at most as many as items take
    part.

    Args:
        scores: of each item [item], in nats.
        gold: whether its answer is right [item].
        bins: at most so many; fewer where they would have fewer than 20 pairs each.

    Raises:
        AccordError: not as many labels as scores, or scores that are not finite.

    >>> table = ordered_pairs(np.array([2.0, 1.0, 0.0, 1.5]), np.array([True, True, False, False]))
    >>> table[["bin", "above", "upto", "pairs", "value"]].to_numpy().round(2).tolist()
    [[0.0, 0.0, 2.0, 4.0, 0.75], [1.0, 0.0, 2.0, 4.0, 0.75]]
    """
    _check(scores, gold)
    block = _Block.of(scores, gold)
    return _table([block] if block.pairs else [], bins, lambda inside: over_items(inside[0]))


def ordered_within(
    scores: Floats, gold: NDArray[np.bool_], prompts: Sequence[object] | NDArray[np.int64], *, bins: int = BINS
) -> pd.DataFrame:
    """The same of the pairs of two answers to one prompt; intervals are over prompts, whose pairs move together.

    Args:
        prompts: which items answer one prompt [item]: those with equal ones.
    """
    _check(scores, gold)
    if len(prompts) != len(scores):
        raise AccordError("every item answers a prompt", got=f"{len(prompts)} prompts of {len(scores)} items")
    number = pd.factorize(np.asarray(prompts))[0]
    order = np.argsort(number, kind="stable")
    blocks = [
        _Block.of(scores[items], gold[items])
        for items in np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
        if len(items)
    ]
    return _table([block for block in blocks if block.pairs], bins, over_prompts)


def _check(scores: Floats, gold: NDArray[np.bool_]) -> None:
    if len(scores) != len(gold):
        raise AccordError("every score needs a label", got=f"{len(scores)} scores, {len(gold)} labels")
    if not np.isfinite(scores).all():
        raise AccordError("pairs are ordered by finite scores", got=scores[~np.isfinite(scores)][0])


class PairCounts(NamedTuple):
    """How many pairs each right and each wrong answer is in, and how many of these are ordered rightly [item]."""

    hits: Floats
    pairs: Floats
    their_hits: Floats
    their_pairs: Floats


def _less(more: PairCounts, less: PairCounts) -> PairCounts:
    """The pairs of the one that are not in the other."""
    return PairCounts(*(a - b for a, b in zip(more, less, strict=True)))


@dataclass(frozen=True)
class _Block:
    """Scores of right and of wrong answers [item], each sorted, between which pairs are made."""

    right: Floats
    wrong: Floats

    @classmethod
    def of(cls, scores: Floats, gold: NDArray[np.bool_]) -> "_Block":
        return cls(np.sort(scores[gold]), np.sort(scores[~gold]))

    @property
    def pairs(self) -> int:
        return len(self.right) * len(self.wrong)

    @property
    def farthest(self) -> float:
        """The largest |difference| of a pair."""
        return float(max(self.right[-1] - self.wrong[0], self.wrong[-1] - self.right[0]))

    def upto(self, end: float) -> int:
        """How many pairs differ by at most `end`."""
        return int(self._each(end)[1].sum())

    def _each(self, end: float) -> tuple[Floats, Floats]:
        return _below_and_all(self.right, self.wrong, end)

    def parts(self, end: float) -> "PairCounts":
        """Of the pairs that differ by at most `end`."""
        # Turned round, a wrong answer is above where a right one is below.
        theirs = _below_and_all(-self.wrong[::-1], -self.right[::-1], end)
        return PairCounts(*self._each(end), *theirs)


def _below_and_all(own: Floats, others: Floats, end: float) -> tuple[Floats, Floats]:
    """For each of `own`, of the sorted others that differ by at most `end`: how many are lower (ties half), and all."""
    first, last = np.searchsorted(others, own - end, "left"), np.searchsorted(others, own + end, "right")
    lower, upto = np.searchsorted(others, own, "left"), np.searchsorted(others, own, "right")
    return (lower - first) + (upto - lower) / 2, (last - first).astype(np.float64)


def _table(blocks: Sequence[_Block], bins: int, estimate: Callable[[Sequence[PairCounts]], Estimate]) -> pd.DataFrame:
    rows = []
    if blocks:
        bins = min(bins, max(1, sum(block.pairs for block in blocks) // _FEWEST_PAIRS))
        ends = _ends(blocks, bins)
        upto = [[block.parts(end) for block in blocks] for end in ends]
        nothing = [_less(each, each) for each in upto[0]]
        spans = [(0, 0.0, ends[-1], nothing, upto[-1])]
        spans += [
            (i + 1, ends[i - 1] if i else 0.0, ends[i], upto[i - 1] if i else nothing, upto[i]) for i in range(bins)
        ]
        for number, above, end, before, counted in spans:
            inside = [_less(*each) for each in zip(counted, before, strict=True)]
            found, pairs = estimate(inside), int(sum(each.pairs.sum() for each in inside))
            rows.append((number, above, end, pairs, found.value, found.low, found.high))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"bin": "int64", "pairs": "int64", **dict.fromkeys(("above", "upto", *COLUMNS[4:]), float)})


def _ends(blocks: Sequence[_Block], bins: int) -> list[float]:
    """The |difference| up to which 1/bins, 2/bins, … of all pairs lie.

    Where there are too many pairs to list, found by halving: how many differ by no more is counted without a list.
    """
    total, farthest = sum(block.pairs for block in blocks), max(block.farthest for block in blocks)
    # What rounding makes of equal differences belongs to one bin.
    close = _CLOSE * max(float(np.abs(each).max()) for block in blocks for each in (block.right, block.wrong))
    wanted = [math.ceil(total * i / bins) for i in range(1, bins)]
    if total <= _LISTED:
        every = [np.abs(block.right[:, None] - block.wrong).ravel() for block in blocks]
        found = np.sort(np.concatenate(every))[[n - 1 for n in wanted]].tolist()
    else:
        found = [_halved(blocks, n, farthest, close) for n in wanted]
    return [*(end + close if end else 0.0 for end in found), farthest + close]


def _halved(blocks: Sequence[_Block], wanted: int, high: float, close: float) -> float:
    """The smallest |difference|, but for `close`, that so many pairs do not exceed."""
    if sum(block.upto(0.0) for block in blocks) >= wanted:
        return 0.0
    low = 0.0
    while high - low > close:
        middle = (low + high) / 2
        if sum(block.upto(middle) for block in blocks) >= wanted:
            high = middle
        else:
            low = middle
    return high


def over_items(counts: PairCounts) -> Estimate:
    """The share of pairs with its interval, items being the units, those of each class by themselves."""
    hits, pairs, their_hits, their_pairs = counts
    total = float(pairs.sum())
    if not total:
        return unknown("there are none of these")
    value = float(hits.sum()) / total
    takes_part = [int((each > 0).sum()) for each in (pairs, their_pairs)]
    if min(takes_part) < FEWEST:
        return Estimate(value, reason=f"{too_few(min(takes_part), 'item')} of either gold class")
    variance = 0.0
    for own, of in ((hits, pairs), (their_hits, their_pairs)):
        variance += float(spread((own - value * of) * len(own) / total)[0]) ** 2
    trials = value * (1 - value) / variance if variance > 0 else math.inf
    trials = min(trials, float(sum(takes_part)))
    return Estimate(value, *wilson(value * trials, trials))


def over_prompts(inside: Sequence[PairCounts]) -> Estimate:
    """The same of pairs within each prompt, the prompts that have such pairs being the units."""
    hits, pairs = (np.array([float(each[part].sum()) for each in inside]) for part in (0, 1))
    return share_of_many(hits[pairs > 0], pairs[pairs > 0])
