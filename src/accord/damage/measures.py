"""What is compared of two models that answered the same questions: the rows of the table of damage, group by group.

KL, unchanged argmax, true answer against false one, and probability differences are the specificity scores of ROME
(Meng et al., arXiv 2202.05262) and EasyEdit (arXiv 2308.07269), over relations that a repair has no business with.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.damage.changes import FREE, OWN, TEXT, Changes, Worse
from accord.damage.distance import Distance
from accord.damage.exchange import diversity_changes
from accord.damage.observed import TaskAnswers
from accord.gap.sample import sample
from accord.intervals import (
    Estimate,
    Floats,
    auc_estimate,
    difference,
    mean_change,
    mean_estimate,
    pearson,
    pearson_estimate,
    ratio_change,
    ratio_difference,
    ratio_estimate,
    share_change,
    share_of_many,
)
from accord.intervals.estimate import unchanged
from accord.lm.perplexity import Perplexity

DIVERSITY: dict[str, Worse] = {
    "distinct_1": "lower",
    "distinct_2": "lower",
    "distinct_3": "lower",
    "repeated_4": "higher",
}


def text_rows(changes: Changes, before: Perplexity, after: Perplexity, owner: NDArray[np.int64], far: Distance) -> None:
    """Perplexity of all tokens, geometric mean of the texts' perplexities, and the distance on the first tokens.

    The ratios of both perplexities are exp(mean Δnll), over tokens and over texts. Units are texts.
    """
    scored = before.tokens > 0
    tokens = before.tokens[scored].astype(np.float64)
    _add_ratio(changes, TEXT, "perplexity", before.nll[scored], after.nll[scored], tokens)
    each = before.nll[scored] / tokens, after.nll[scored] / tokens
    _add_ratio(changes, TEXT, "perplexity_per_text", *each, np.ones_like(tokens))
    texts, unit = np.unique(owner, return_inverse=True)
    count = np.bincount(unit, minlength=len(texts)).astype(np.float64)
    for name, values in (("kl_base_repaired", far.forward), ("kl_repaired_base", far.backward), ("same_top", far.same)):
        total = np.bincount(unit, weights=values, minlength=len(texts)).astype(np.float64)
        _add_distance(changes, TEXT, name, total, count)


def prompt_rows(changes: Changes, group: str, form: str, far: Distance) -> None:
    """The distance at the ends of prompts; units are prompts."""
    for name, values in (("kl_base_repaired", far.forward), ("kl_repaired_base", far.backward), ("same_top", far.same)):
        _add_distance(changes, group, f"{form}_{name}", values.astype(np.float64), np.ones(len(values)))


def _add_ratio(changes: Changes, group: str, name: str, before: Floats, after: Floats, counts: Floats) -> None:
    sides = np.exp(before.sum() / counts.sum()), np.exp(after.sum() / counts.sum())
    changes.add(group, name, sides, ratio_change(before, after, counts), len(before), "higher", ratio=True)


def _add_distance(changes: Changes, group: str, name: str, total: Floats, count: Floats) -> None:
    """How far a model is from its base, Σ total / Σ count [unit]; from itself it is 0 or, of a share, 1."""
    share = name.endswith("same_top")
    own = 1.0 if share else 0.0
    if np.array_equal(total, own * count):
        change = unchanged()
    elif share:
        change = share_of_many(total, count).shifted(-1.0)
    else:
        change = ratio_estimate(total, count)
    changes.add(group, name, (own, total.sum() / count.sum()), change, len(total), "distance")


Pair = tuple[Floats, Floats]
"""Of the question with the right answer and of that with the wrong one [fact]."""


def fact_rows(changes: Changes, group: str, before: Sequence[TaskAnswers], after: Sequence[TaskAnswers]) -> None:
    """Answers about facts, each with a right and a wrong answer; units are facts."""
    base, repaired = _facts(before), _facts(after)
    n = len(base["yes_no_mass"][0])

    def add(name: str, sides: tuple[float, float], change: Estimate, worse: Worse) -> None:
        changes.add(group, name, sides, change, n, worse)

    def add_share(name: str, hits: Pair, worse: Worse, same: bool) -> None:
        change = unchanged() if same else share_change(*hits)
        add(name, (hits[0].mean(), hits[1].mean()), change, worse)

    def add_mean(name: str, values: Pair, worse: Worse, *, unit: bool = False) -> None:
        change = unchanged() if np.array_equal(*values) else mean_change(*values, unit=unit)
        add(name, (values[0].mean(), values[1].mean()), change, worse)

    logprob, logodds, mass = ((base[name], repaired[name]) for name in _SCORES)
    same_logprob, same_logodds = (all(map(np.array_equal, *sides)) for sides in (logprob, logodds))
    add_share("true_beats_false", _both(logprob, lambda right, wrong: right > wrong), "lower", same_logprob)
    add_mean("answer_probability", _both(logprob, lambda right, _: np.exp(right)), "lower", unit=True)
    add_mean("answer_margin", _both(logprob, lambda right, wrong: right - wrong), "lower")
    add_share("yes_beats_no", _both(logodds, lambda right, wrong: right > wrong), "lower", same_logodds)
    before_auc, after_auc = (auc_estimate(np.concatenate(side), n, pairs=True) for side in logodds)
    change = unchanged() if same_logodds else difference(before_auc, after_auc)
    add("validator_auc", (before_auc.value, after_auc.value), change, "lower")
    right_share = _both(logodds, lambda right, wrong: ((right > 0) * 1.0 + (wrong <= 0)) / 2)
    yes_share = _both(logodds, lambda right, wrong: ((right > 0) * 1.0 + (wrong > 0)) / 2)
    add_share("validator_accuracy", right_share, "lower", same_logodds)
    add_mean("validator_logodds", _both(logodds, lambda right, wrong: (right + wrong) / 2), "neither")
    add_share("yes_share", yes_share, "neither", same_logodds)
    before_excess, after_excess = (_excess(side) for side in yes_share)
    change = unchanged() if same_logodds else difference(before_excess, after_excess)
    add("yes_excess", (before_excess.value, after_excess.value), change, "higher")
    add_mean("yes_no_mass", _both(mass, lambda right, wrong: (right + wrong) / 2), "lower", unit=True)


_SCORES = ("generator_logprob", "validator_logodds", "yes_no_mass")


def _facts(answers: Sequence[TaskAnswers]) -> dict[str, Pair]:
    """Of the right and the wrong answer of each fact: log p, l_V, mass on yes and no."""
    whole = {name: np.concatenate([getattr(task, name) for task in answers]) for name in _SCORES}
    return {name: (values[::2], values[1::2]) for name, values in whole.items()}


def _both(sides: tuple[Pair, Pair], of: Callable[[Floats, Floats], NDArray[Any]]) -> Pair:
    """`of` a fact's two answers [fact], of base and repaired."""
    before, after = (np.asarray(of(*side), dtype=np.float64) for side in sides)
    return before, after


def _excess(yes: Floats) -> Estimate:
    """|share of yes − 1/2| [fact]: the share's own interval, folded at one half."""
    share = share_of_many(2 * yes, np.full(len(yes), 2.0))
    sign = 1.0 if share.value >= 0.5 else -1.0
    ends = sorted((sign * (share.low - 0.5), sign * (share.high - 0.5)))
    return Estimate(sign * (share.value - 0.5), max(ends[0], 0.0), ends[1], share.reason, sign * share.influence)


def drift_rows(changes: Changes, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """The generator of the task that was repaired; units are items, drawn within gold classes."""
    base, repaired = sample(before), sample(after)
    x, y, classes, n = base.generator, repaired.generator, base.classes, len(before)
    same = np.array_equal(x, y)
    before_auc, after_auc = auc_estimate(x, base.n_yes), auc_estimate(y, base.n_yes)
    change = unchanged() if same and base.n_yes not in (0, n) else difference(before_auc, after_auc, classes)
    changes.add(OWN, "generator_auc", (before_auc.value, after_auc.value), change, n, "lower")
    if base.n_yes:
        ranks = 1 / base.rank[base.yes], 1 / repaired.rank[base.yes]
        change = unchanged() if same else mean_change(*ranks, unit=True)
        changes.add(OWN, "mrr_yes", (ranks[0].mean(), ranks[1].mean()), change, base.n_yes, "lower")
    moved = (
        [unchanged()] * 2 if same else [mean_change(x, y, classes), mean_estimate(np.abs(y - x), classes, least=0.0)]
    )
    changes.add(OWN, "generator_logodds", (x.mean(), y.mean()), moved[0], n, "neither")
    changes.add(OWN, "generator_moved", (0.0, moved[1].value), moved[1], n, "distance")
    own = float(pearson(x, x))
    alike = unchanged() if same and own == own else pearson_estimate(x, y, classes).shifted(-1.0)
    changes.add(OWN, "generator_pearson", (own, alike.value + 1), alike, n, "distance")


def free_rows(changes: Changes, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Free texts: different words, repetition, length, and the judge's perplexity; units are texts."""
    diversity = diversity_changes(list(before["text"]), list(after["text"]), changes.seed, changes.resamples)
    for name, worse in DIVERSITY.items():
        changes.add(FREE, name, *diversity[name], len(before), worse)
    lengths = before["tokens"].to_numpy(dtype=np.float64), after["tokens"].to_numpy(dtype=np.float64)
    change = unchanged() if np.array_equal(*lengths) else mean_change(*lengths)
    changes.add(FREE, "tokens", (lengths[0].mean(), lengths[1].mean()), change, len(before), "neither")
    judged = ((before["judge_tokens"] > 0) & (after["judge_tokens"] > 0)).to_numpy()
    if judged.any():
        _add_judged(changes, before[judged], after[judged])


def _add_judged(changes: Changes, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Perplexity of each model's own texts under the judge, all tokens together: the ratio, paired by prompt."""
    losses = [
        (table["judge_nll"].to_numpy(dtype=np.float64), table["judge_tokens"].to_numpy(dtype=np.float64))
        for table in (before, after)
    ]
    change = unchanged() if all(map(np.array_equal, *losses)) else ratio_difference(*losses)
    base, repaired = (float(np.exp(nll.sum() / tokens.sum())) for nll, tokens in losses)
    changes.add(FREE, "judge_perplexity", (base, repaired), change.exp(), len(before), "higher", ratio=True)
