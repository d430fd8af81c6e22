"""Measures within prompts: where several answers answer one prompt, how well scores order these, prompt by prompt.

Source: the development of RankAlign (after arXiv 2504.11381), which measures whole answers so. Over all items together,
that one prompt's answers all score above another's counts as order among answers, or as a lack of it.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from accord.gap.sample import FEWEST_ANSWERS, Column, Measure, ScoreColumns, generator, validator, validator_right
from accord.intervals import (
    Estimate,
    Floats,
    auc,
    concordance,
    mean_change,
    mean_estimate,
    pearson,
    spearman,
    unknown,
)

_Within = Callable[[ScoreColumns, NDArray[np.int64]], Floats]
"""A number of some items of a sample, of one prompt, those with gold yes first."""


def within(number: _Within, scored: tuple[Column, ...], low: float = 0.0) -> Measure:
    """The mean over prompts of a number between `low` and 1 within each.

    Prompts are the units of its interval (`mean_estimate`): they are drawn, and with each come the answers that it
    happens to have, whose part in the error is in the spread between prompts already. A prompt counts if it has at
    least four answers, right and wrong ones, and the number is defined there (scores that are all the same have no
    correlation); else it is left out.
    """
    scale = 1 - low  # on [0, 1] an interval knows its bounds

    def each(s: ScoreColumns) -> Floats:
        values = np.array([float(number(s, items)) for items in s.compared])
        return (values - low) / scale

    def unscaled(estimate: Estimate) -> Estimate:
        value, bottom, top = (low + scale * end for end in (estimate.value, estimate.low, estimate.high))
        return Estimate(value, bottom, top, estimate.reason)

    def estimate(s: ScoreColumns) -> Estimate:
        values = each(s)
        values = values[~np.isnan(values)]
        return unscaled(mean_estimate(values, unit=True)) if len(values) else unknown(_why(s))

    def paired(before: ScoreColumns, after: ScoreColumns) -> Estimate:
        pairs = np.stack([each(before), each(after)])
        old, new = pairs[:, ~np.isnan(pairs).any(0)]
        if not len(old):
            return unknown(_why(before))
        change = mean_change(old, new, unit=True)
        return Estimate(scale * change.value, scale * change.low, scale * change.high, change.reason)

    return Measure(lambda s: np.asarray(estimate(s).value), estimate, paired, scored)


def _why(s: ScoreColumns) -> str:
    if s.compared:
        return "the scores are all the same"
    return f"no prompt has {FEWEST_ANSWERS} answers, right and wrong ones"


def _auc(column: Column) -> _Within:
    return lambda s, items: auc(column(s)[items], int((items < s.n_yes).sum()))


def _of_both(number: Callable[[Floats, Floats], Floats]) -> _Within:
    return lambda s, items: number(s.generator[items], s.validator[items])


_BOTH = (generator, validator)

WITHIN: Mapping[str, Measure] = {
    "within_generator_auc": within(_auc(generator), (generator,)),
    "within_validator_auc": within(_auc(validator), (validator,)),
    "within_validator_accuracy": within(lambda s, items: validator_right(s)[items].mean(), (validator,)),
    "within_pearson": within(_of_both(pearson), _BOTH, low=-1.0),
    "within_spearman": within(_of_both(spearman), _BOTH, low=-1.0),
    "within_concordance": within(_of_both(concordance), _BOTH),
}
"""Means over prompts, of samples that have prompts to compare answers within.

AUC of l_G and of l_V against gold, share of items with (l_V > 0) = gold, Pearson's r and Spearman's ρ of l_G with l_V,
and concordance C / (C + D): of the pairs of answers that l_V and l_G both order, the share that they order alike.
"""
