"""The measures of the gap, each with an interval over items that suits it: see docs/intervals.md.

Sources: RankAlign (Rodriguez, Ding, Erk, Durrett, arXiv 2504.11381) for the log-odds correlations, within gold
classes too, and MRR-P; Li et al. (arXiv 2310.01846) for generator-validator consistency. The correlation over
all items is inflated whenever both forms separate the gold classes, so the within-class ones stand beside it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from accord.arguments import checked
from accord.gap.sample import (
    Measure,
    ScoreColumns,
    area,
    correlation,
    first_token,
    generator,
    mean,
    sample,
    share,
    validator,
    validator_right,
)
from accord.gap.within import WITHIN
from accord.intervals import (
    Estimate,
    Floats,
    Interval,
    auc,
    pearson,
    pearson_estimate,
    pearson_matrix,
    spearman,
    spearman_estimate,
)

RANK_THRESHOLDS = (5, 10, 40, 100, 1000)

__all__ = [
    "MEASURES", "PAIRED", "RANK_THRESHOLDS", "WITHIN", "Floats", "Interval", "ScoreColumns", "auc", "layer_matrix",
    "measures_of", "pearson", "sample", "spearman", "summarize", "summarize_layers",
]  # fmt: skip


def _rank_accuracy(threshold: int) -> Measure:
    return share(lambda s: (s.rank <= threshold) == s.gold, generator)


PAIRED: Mapping[str, Measure] = {
    **{f"pearson_{part}": correlation(pearson, pearson_estimate, part) for part in ("all", "yes", "no")},
    **{f"spearman_{part}": correlation(spearman, spearman_estimate, part) for part in ("all", "yes", "no")},
    "validator_accuracy": share(validator_right, validator),
    "validator_auc": area(validator),
    "generator_auc": area(generator),
}
"""Measures of the two log-odds alone, so that they exist for every layer."""

MEASURES: Mapping[str, Measure] = {
    **PAIRED,
    "mrr_yes": mean(lambda s: 1 / s.rank, generator, "yes"),
    "mrr_no": mean(lambda s: 1 / s.rank, generator, "no"),
    **{f"generator_accuracy_{t}": _rank_accuracy(t) for t in RANK_THRESHOLDS},
    "yes_no_mass": mean(lambda s: s.mass, lambda s: s.mass),
    "rank_sanity": correlation(pearson, pearson_estimate, x=first_token, y=lambda s: -np.log(s.rank)),
}
"""Every measure of a score table.

`validator_accuracy`: share of items with (l_V > 0) = gold; where the validator chooses among labels, of items whose
most probable label is the right one (l_V > 0 would ask that it outweighs all others together). There every answer is
right, so that what sets right beside wrong (AUC, `pearson_no`, `mrr_no`) is undefined. `mrr_yes`, `mrr_no`: mean
reciprocal rank of the answer for items with gold yes (MRR-P) and no. `generator_accuracy_t`: share of items with
(rank ≤ t) = gold. `yes_no_mass`: mean probability on the label words together; l_V means little where it is low.
`rank_sanity`: Pearson's r of the first token's log-odds with −log(rank), which a sound measurement keeps high. A rank
is always that of an answer's first token, whatever l_G is of: of whole answers there is no list to be ranked in.
"""


def measures_of(s: ScoreColumns) -> Mapping[str, Measure]:
    """`MEASURES`, and `WITHIN` where some prompt has several answers to compare."""
    return {**MEASURES, **WITHIN} if s.compared else MEASURES


@checked
def summarize(
    scores: pd.DataFrame,
    measures: Mapping[str, Measure] | None = None,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Every measure of a score table with its 95 % interval, and n, n_yes, n_no.

    >>> import pandas as pd
    >>> scores = pd.DataFrame({"gold": [True, True, False, False], "generator_logodds": [2.0, 1.0, -1.0, 0.5]})
    >>> scores = scores.assign(validator_logodds=[1.0, -0.5, -2.0, -1.0], generator_rank=1, yes_no_mass=0.9)
    >>> found = summarize(scores)
    >>> found["n"], found["generator_auc"]["value"], found["validator_accuracy"]["value"]
    ({'value': 4.0, 'low': None, 'high': None}, 1.0, 0.75)

    Also `prompts`, and `prompts_compared`, those of them that are measured within (see `accord.gap.within`), and
    `blank_first_tokens`: of how many answers the first token is white space alone, so that l_G is about that.

    Intervals are of items drawn within gold classes, whose sizes stay as they are. Where a measure has no value or no
    interval, `reason` says why.

    Args:
        measures: by default `measures_of` the table.
        seed: without effect, as intervals are in closed form; taken so that older scripts run.
        resamples: 0 for no intervals; any other number for them.
    """
    whole = sample(scores)
    n = len(scores)
    counts = {"n": n, "n_yes": whole.n_yes, "n_no": n - whole.n_yes}
    if whole.prompt is not None:
        counts |= {"prompts": whole.prompts, "prompts_compared": len(whole.compared)}
    if "answer_token" in scores:
        counts["blank_first_tokens"] = int((scores["answer_token"].str.strip() == "").sum())
    result: dict[str, Interval] = {k: {"value": float(v), "low": None, "high": None} for k, v in counts.items()}
    for name, measure in (measures_of(whole) if measures is None else measures).items():
        estimate = measure.estimate(whole) if resamples else Estimate(float(measure(whole)))
        result[name] = estimate.interval()
    return result


def summarize_layers(scores: pd.DataFrame, layers: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """The measures of `PAIRED` at every layer: rows (layer, metric, value, low, high)."""
    rows: list[dict[str, Any]] = []
    for layer, part in layers.groupby("layer"):
        table = scores.assign(
            generator_logodds=part.set_index("item")["generator_logodds"],
            validator_logodds=part.set_index("item")["validator_logodds"],
        )
        if "validator_choice" in part:
            table["validator_choice"] = part.set_index("item")["validator_choice"]
        measured = summarize(table, PAIRED, resamples=resamples)
        rows += [
            {"layer": layer, "metric": name, **{end: measured[name][end] for end in ("value", "low", "high")}}
            for name in PAIRED
        ]
    return pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})


def layer_matrix(scores: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r of l_G at generator layer i with l_V at validator layer j, over all items and within classes.

    Rows (generator_layer, validator_layer, pearson, pearson_yes, pearson_no).
    """
    generator = layers.pivot(index="layer", columns="item", values="generator_logodds")
    validator = layers.pivot(index="layer", columns="item", values="validator_logodds")
    gold = scores.loc[generator.columns, "gold"].to_numpy(dtype=bool)
    parts = {"pearson": np.ones_like(gold), "pearson_yes": gold, "pearson_no": ~gold}
    x, y = generator.to_numpy(), validator.to_numpy()
    columns = {name: pearson_matrix(x[:, where], y[:, where]).ravel() for name, where in parts.items()}
    index = pd.MultiIndex.from_product([generator.index, validator.index], names=["generator_layer", "validator_layer"])
    return pd.DataFrame(columns, index=index).reset_index()
