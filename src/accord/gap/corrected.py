"""What may stand for the generator, raw or corrected for how typical answers are, and how much the choice matters."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from accord.gap.change import same_items
from accord.gap.metrics import PAIRED
from accord.gap.sample import Measure, correlation, sample
from accord.gap.within import WITHIN
from accord.intervals import Estimate, concordance, concordance_estimate

TYPICALITIES: Mapping[str, str] = {
    "own": "typicality",
    "negated": "negated_typicality",
    "base": "base_typicality",
    "base_negated": "base_negated_typicality",
}
"""Corrected score -> the column of a score table with the t that it is corrected by."""

_MEASURED: Mapping[str, tuple[Measure, Measure]] = {  # within prompts, and over all items
    "generator_auc": (WITHIN["within_generator_auc"], PAIRED["generator_auc"]),
    "pearson": (WITHIN["within_pearson"], PAIRED["pearson_all"]),
    "spearman": (WITHIN["within_spearman"], PAIRED["spearman_all"]),
    "concordance": (WITHIN["within_concordance"], correlation(concordance, concordance_estimate)),
}


def generator_scores(scores: pd.DataFrame) -> dict[str, pd.Series]:
    """The scores of the generator that a score table gives: name -> column [item].

    >>> table = pd.DataFrame({"generator_logodds": [-2.0], "generator_logprob": [-6.0], "generator_tokens": [2]})
    >>> {name: float(column[0]) for name, column in generator_scores(table.assign(typicality=-9.0)).items()}
    {'logodds': -2.0, 'logprob': -6.0, 'per_token': -3.0, 'own': 3.0, 'own_per_token': 1.5}

    `logodds` is l_G as the task has it, `logprob` g = log p of the whole answer, `per_token` g / n for n tokens, and
    with the typicality t of an answer (see `accord.gap.typicality`) `own`, `negated`, `base` and `base_negated` are
    g − t, `own_per_token` (g − t) / n. "own" is of the model that is measured, "base" of the one that it was made from.
    """
    whole, tokens = scores["generator_logprob"], scores["generator_tokens"]
    found = {"logodds": scores["generator_logodds"], "logprob": whole, "per_token": whole / tokens}
    for name, column in TYPICALITIES.items():
        if column in scores:
            found[name] = whole - scores[column]
            found |= {"own_per_token": found[name] / tokens} if name == "own" else {}
    return found


def with_base(scores: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """A repaired model's score table with the typicality of the model that it was made from beside its own.

    Args:
        base: the score table of that model. Raises AccordError if it is not of the same items in the same order.
    """
    same_items(base, scores)
    columns = [column for column in (TYPICALITIES["own"], TYPICALITIES["negated"]) if column in base]
    return scores.assign(**{f"base_{column}": base[column].to_numpy() for column in columns})


def summarize_corrections(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """How much the choice of the generator's score matters: a row for each of `generator_scores` and measure.

    Columns: score, metric (generator_auc, pearson, spearman, concordance; the last three with l_V), value, low, high
    over all items together, and within, within_low, within_high: the mean over prompts of the measure within each,
    NaN where no prompt has answers to compare.

    Args:
        resamples: 0 for no intervals; any other number for them.
    """
    rows: list[dict[str, Any]] = []
    for name, column in generator_scores(scores).items():
        own = sample(scores.assign(generator_logodds=column))
        for metric, (within, pooled) in _MEASURED.items():
            over_all, inside = (
                each.estimate(own) if resamples else Estimate(float(each(own))) for each in (pooled, within)
            )
            numbers = [over_all.value, over_all.low, over_all.high, inside.value, inside.low, inside.high]
            rows.append({"score": name, "metric": metric, **dict(zip(_NUMBERS, numbers, strict=True))})
    return pd.DataFrame(rows).astype(dict.fromkeys(_NUMBERS, float))


_NUMBERS = ("value", "low", "high", "within", "within_low", "within_high")
