"""What correcting the generator's scores for typicality would change: which pairs turn, and whether to the better.

A teacher whose scores are corrected (`typicality` of a ranking repair) ranks by log p(y | prompt) − t(y) in place of
log p(y | prompt), see `accord.gap.typicality`. Nothing changes but for the pairs that turn.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.forecasting.pairs import PairCounts, over_items, over_prompts
from accord.gap.corrected import TYPICALITIES, generator_scores
from accord.gap.sample import prompt_numbers
from accord.intervals import Estimate, Floats, auc_estimate, concordance_estimate, difference, spearman_estimate

COLUMNS = ("correction", "scope", "metric", "value", "low", "high")
_ROWS = 2**22  # pairs that are compared at once


def turned_pairs(scores: pd.DataFrame) -> pd.DataFrame:
    """What each correction changes that a score table has the typicality for, beside the raw log p of whole answers.

    Rows (correction, scope, metric, value, low, high), correction being a key of `accord.gap.corrected.TYPICALITIES`.
    Scope "all": `order`, Spearman's ρ of raw and corrected scores; `turned`, the share of all pairs of items, without
    ties, that they order differently; `raw_auc`, `corrected_auc` and `auc_change`. Scopes "all" and "within" prompts:
    `to_right` and `to_wrong`, the shares of the pairs of a right and a wrong answer that turn to this order, ties in
    either score turning nothing. Intervals are over items, or over prompts, and NaN where there is none.
    """
    ordered = pd.concat([scores[scores["gold"]], scores[~scores["gold"]]])
    gold = ordered["gold"].to_numpy(dtype=bool)
    prompts = prompt_numbers(ordered)
    assert prompts is not None  # a score table has them
    found = {name: each.to_numpy(dtype=float) for name, each in generator_scores(ordered).items()}
    rows = []
    for name in TYPICALITIES:
        if name in found:
            for scope, metric, each in _measured(found["logprob"], found[name], gold, prompts):
                rows.append((name, scope, metric, each.value, each.low, each.high))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS[3:], float))


def _measured(
    raw: Floats, corrected: Floats, gold: NDArray[np.bool_], prompts: NDArray[np.int64]
) -> Iterator[tuple[str, str, Estimate]]:
    n_yes = int(gold.sum())
    classes = [slice(0, n_yes), slice(n_yes, None)]
    alike = concordance_estimate(raw, corrected, classes)
    before, after = auc_estimate(raw, n_yes), auc_estimate(corrected, n_yes)
    yield "all", "order", spearman_estimate(raw, corrected, classes)
    yield "all", "turned", Estimate(1 - alike.value, 1 - alike.high, 1 - alike.low, alike.reason)
    yield "all", "raw_auc", before
    yield "all", "corrected_auc", after
    yield "all", "auc_change", difference(before, after, classes)
    for metric, (old, new) in {"to_right": (-raw, corrected), "to_wrong": (raw, -corrected)}.items():
        yield "all", metric, over_items(_turned(old, new, gold))
        inside = [_turned(old[prompts == p], new[prompts == p], gold[prompts == p]) for p in np.unique(prompts)]
        if len(inside) > 1:
            yield "within", metric, over_prompts(inside)


def _turned(old: Floats, new: Floats, gold: NDArray[np.bool_]) -> PairCounts:
    """The pairs of which the right answer is higher in both scores, the first of which is turned round."""
    right, wrong = np.flatnonzero(gold), np.flatnonzero(~gold)
    hits, theirs = np.zeros(len(right)), np.zeros(len(wrong))
    step = max(1, _ROWS // max(1, len(wrong)))
    for start in range(0, len(right), step):
        some = right[start : start + step]
        turned = (old[some, None] > old[wrong]) & (new[some, None] > new[wrong])
        hits[start : start + step] = turned.sum(1)
        theirs += turned.sum(0)
    return PairCounts(hits, np.full(len(right), float(len(wrong))), theirs, np.full(len(wrong), float(len(right))))
