"""What is compared of two models that were asked the same: the rows of the table of damage, group by group.

KL, unchanged argmax, true answer against false one, and probability differences are the specificity scores of ROME
(Meng et al., arXiv 2202.05262) and EasyEdit (arXiv 2308.07269), over relations that a repair has no business with.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.damage.changes import FREE, OWN, TEXT, Changes, Columns, Floats, Of, Worse
from accord.damage.distance import Distance
from accord.damage.observed import Answers
from accord.gap.metrics import auc, pearson, sample
from accord.lm.perplexity import Perplexity
from accord.text.diversity import measure_diversity

DIVERSITY: dict[str, Worse] = {
    "distinct_1": "lower",
    "distinct_2": "lower",
    "distinct_3": "lower",
    "repeated_4": "higher",
}


def _mean(x: NDArray[Any]) -> Floats:
    return np.asarray(x.mean(-1), dtype=np.float64)


def _share(total: Floats, count: Floats) -> Floats:
    return np.asarray(total.sum(-1) / count.sum(-1))


def _perplexity(nll: Floats, tokens: Floats) -> Floats:
    return np.asarray(np.exp(_share(nll, tokens)))


def _geometric(nll: Floats, tokens: Floats) -> Floats:
    return np.asarray(np.exp((nll / tokens).mean(-1)))


def text_rows(changes: Changes, before: Perplexity, after: Perplexity, owner: NDArray[np.int64], far: Distance) -> None:
    """Perplexity of all tokens, geometric mean of the texts' perplexities, and the distance on the first tokens.

    The ratios of both perplexities are exp(mean Δnll), over tokens and over texts. Units are texts.
    """
    scored = before.tokens > 0
    tokens = before.tokens[scored].astype(np.float64)
    sides = (before.nll[scored], tokens), (after.nll[scored], tokens)
    changes.add(TEXT, "perplexity", _perplexity, sides, "higher", ratio=True)
    changes.add(TEXT, "perplexity_per_text", _geometric, sides, "higher", ratio=True)
    texts, unit = np.unique(owner, return_inverse=True)
    count = np.bincount(unit, minlength=len(texts)).astype(np.float64)
    measured = (
        ("kl_base_repaired", far.forward, 0.0),
        ("kl_repaired_base", far.backward, 0.0),
        ("same_top", far.same, 1.0),
    )
    for name, values, unmoved in measured:
        summed = np.bincount(unit, weights=values, minlength=len(texts)).astype(np.float64)
        changes.add(TEXT, name, _share, ((unmoved * count, count), (summed, count)), "distance")


def prompt_rows(changes: Changes, group: str, form: str, far: Distance) -> None:
    """The distance at the ends of prompts; units are prompts."""
    nothing, whole = np.zeros_like(far.same), np.ones_like(far.same)
    changes.add(group, f"{form}_kl_base_repaired", _mean, ((nothing,), (far.forward,)), "distance")
    changes.add(group, f"{form}_kl_repaired_base", _mean, ((nothing,), (far.backward,)), "distance")
    changes.add(group, f"{form}_same_top", _mean, ((whole,), (far.same,)), "distance")


SAID: dict[str, tuple[Of, Worse]] = {
    "true_beats_false": (lambda right, wrong: _mean(right > wrong), "lower"),
    "answer_probability": (lambda right, wrong: _mean(np.exp(right)), "lower"),
    "answer_margin": (lambda right, wrong: _mean(right - wrong), "lower"),
}
"""Measures of the generator's log p of a fact's right and wrong answer."""

AFFIRMED: dict[str, tuple[Of, Worse]] = {
    "yes_beats_no": (lambda right, wrong: _mean(right > wrong), "lower"),
    "validator_auc": (lambda right, wrong: auc(np.concatenate([right, wrong], axis=-1), right.shape[-1]), "lower"),
    "validator_accuracy": (lambda right, wrong: (_mean(right > 0) + _mean(wrong <= 0)) / 2, "lower"),
    "validator_logodds": (lambda right, wrong: (_mean(right) + _mean(wrong)) / 2, "neither"),
    "yes_share": (lambda right, wrong: (_mean(right > 0) + _mean(wrong > 0)) / 2, "neither"),
    "yes_excess": (lambda right, wrong: np.abs((_mean(right > 0) + _mean(wrong > 0)) / 2 - 0.5), "higher"),
}
"""Measures of the validator's l_V of the question with the right answer, and of that with the wrong one."""


def fact_rows(changes: Changes, group: str, before: Sequence[Answers], after: Sequence[Answers]) -> None:
    """Answers about facts, each with a right and a wrong answer; units are facts."""
    base, repaired = _facts(before), _facts(after)
    for name, (of, worse) in SAID.items():
        changes.add(group, name, of, (base["generator_logprob"], repaired["generator_logprob"]), worse)
    for name, (of, worse) in AFFIRMED.items():
        changes.add(group, name, of, (base["validator_logodds"], repaired["validator_logodds"]), worse)
    mass = base["yes_no_mass"], repaired["yes_no_mass"]
    changes.add(group, "yes_no_mass", lambda right, wrong: (_mean(right) + _mean(wrong)) / 2, mass, "lower")


def _facts(answers: Sequence[Answers]) -> dict[str, Columns]:
    """Of the right and the wrong answer of each fact: log p, l_V, mass on yes and no."""
    names = ("generator_logprob", "validator_logodds", "yes_no_mass")
    whole = {name: np.concatenate([getattr(one, name) for one in answers]) for name in names}
    return {name: (values[::2], values[1::2]) for name, values in whole.items()}


def drift_rows(changes: Changes, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """The generator of the task that was repaired; units are items, resampled within gold classes."""
    base, repaired = sample(before), sample(after)
    n_yes = base.n_yes
    sides = (base.generator,), (repaired.generator,)
    changes.add(OWN, "generator_auc", lambda g: auc(g, n_yes), sides, "lower", n_yes=n_yes)
    if n_yes:
        ranks = (base.rank[base.yes],), (repaired.rank[base.yes],)
        changes.add(OWN, "mrr_yes", lambda rank: _mean(1 / rank), ranks, "lower")
    changes.add(OWN, "generator_logodds", _mean, sides, "neither", n_yes=n_yes)
    paired = (base.generator, base.generator), (base.generator, repaired.generator)
    changes.add(OWN, "generator_moved", lambda x, y: _mean(np.abs(y - x)), paired, "distance", n_yes=n_yes)
    changes.add(OWN, "generator_pearson", pearson, paired, "distance", n_yes=n_yes)


def free_rows(changes: Changes, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Free texts: different words, repetition, length, and what the judge found; units are texts."""
    texts = list(before["text"]), list(after["text"])
    for name, worse in DIVERSITY.items():
        changes.add_jackknife(FREE, name, partial(_diversity, name), texts, worse)
    lengths = (before["tokens"].to_numpy(dtype=np.float64),), (after["tokens"].to_numpy(dtype=np.float64),)
    changes.add(FREE, "tokens", _mean, lengths, "neither")
    judged = ((before["judge_tokens"] > 0) & (after["judge_tokens"] > 0)).to_numpy()
    if judged.any():
        sides = _judged(before[judged]), _judged(after[judged])
        changes.add(FREE, "judge_perplexity", _perplexity, sides, "higher", ratio=True)


def _diversity(name: str, texts: list[str]) -> float:
    return measure_diversity(texts)[name]


def _judged(table: pd.DataFrame) -> Columns:
    return table["judge_nll"].to_numpy(dtype=np.float64), table["judge_tokens"].to_numpy(dtype=np.float64)
