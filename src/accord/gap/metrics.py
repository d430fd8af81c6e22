"""The measures of the gap, each with a bootstrap interval over items.

Sources: RankAlign (Rodriguez, Ding, Erk, Durrett, arXiv 2504.11381) for the log-odds correlations, within gold
classes too, and MRR-P; Li et al. (arXiv 2310.01846) for generator-validator consistency. The correlation over
all items is inflated whenever both forms separate the gold classes, so the within-class ones stand beside it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from accord.arguments import checked
from accord.errors import AccordError

Floats = NDArray[np.float64]
Interval = dict[str, float | None]
"""`{"value", "low", "high"}`; None where a measure is undefined (too few items, or no variance)."""

RANK_THRESHOLDS = (5, 10, 40, 100, 1000)
_COLUMNS = ("gold", "generator_logodds", "validator_logodds", "generator_rank", "yes_no_mass")
# Numbers of one block of resamples, so that a bootstrap over many items stays within memory.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Sample:
    """Columns of a score table, gold-yes items first: arrays [..., item]; leading axes are bootstrap resamples."""

    generator: Floats
    validator: Floats
    rank: Floats
    mass: Floats
    n_yes: int

    @property
    def yes(self) -> slice:
        """Where the items with gold yes are."""
        return slice(0, self.n_yes)

    @property
    def no(self) -> slice:
        """Where the items with gold no are."""
        return slice(self.n_yes, None)

    @property
    def gold(self) -> NDArray[np.bool_]:
        """Gold labels [item]."""
        return np.arange(self.generator.shape[-1]) < self.n_yes

    def take(self, index: NDArray[np.int64]) -> "Sample":
        """The sample with its items replaced by those of `index` [resample, item]."""
        return Sample(self.generator[index], self.validator[index], self.rank[index], self.mass[index], self.n_yes)


def sample(scores: pd.DataFrame) -> Sample:
    """The columns that measures need, from a score table (see `accord.gap.measure_gap`).

    Raises:
        AccordError: a column is missing.
    """
    if missing := [name for name in _COLUMNS if name not in scores]:
        raise AccordError(
            "a column is missing from the score table",
            got=", ".join(map(str, scores.columns)),
            wanted=missing[0],
        )
    ordered = pd.concat([scores[scores["gold"]], scores[~scores["gold"]]])
    generator, validator, rank, mass = (ordered[name].to_numpy(dtype=np.float64) for name in _COLUMNS[1:])
    return Sample(generator, validator, rank, mass, n_yes=int(scores["gold"].sum()))


def pearson(x: Floats, y: Floats) -> Floats:
    """Pearson's r along the last axis; nan where either side is constant or fewer than 3 items are there."""
    if x.shape[-1] < 3:
        return np.full(np.broadcast_shapes(x.shape, y.shape)[:-1], np.nan)
    x = x - x.mean(-1, keepdims=True)
    y = y - y.mean(-1, keepdims=True)
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(scale > 1e-12, (x * y).sum(-1) / scale, np.nan))


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rho along the last axis: Pearson's r of mid-ranks."""
    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def auc(values: Floats, n_yes: int) -> Floats:
    """Area under the ROC curve of `values` [..., item], the first `n_yes` items being positive (Mann-Whitney)."""
    n_no = values.shape[-1] - n_yes
    if n_yes == 0 or n_no == 0:
        return np.full(values.shape[:-1], np.nan)
    above = rankdata(values, axis=-1)[..., :n_yes].sum(-1) - n_yes * (n_yes + 1) / 2
    return np.asarray(above / (n_yes * n_no))


def _mean(x: Floats) -> Floats:
    return x.mean(-1) if x.shape[-1] else np.full(x.shape[:-1], np.nan)


def _within(measure: Callable[[Floats, Floats], Floats], part: str) -> Callable[[Sample], Floats]:
    def of(s: Sample) -> Floats:
        where = {"all": slice(None), "yes": s.yes, "no": s.no}[part]
        return measure(s.generator[..., where], s.validator[..., where])

    return of


def _rank_accuracy(threshold: int) -> Callable[[Sample], Floats]:
    return lambda s: _mean(((s.rank <= threshold) == s.gold).astype(np.float64))


PAIRED: Mapping[str, Callable[[Sample], Floats]] = {
    **{f"pearson_{part}": _within(pearson, part) for part in ("all", "yes", "no")},
    **{f"spearman_{part}": _within(spearman, part) for part in ("all", "yes", "no")},
    "validator_accuracy": lambda s: _mean(((s.validator > 0) == s.gold).astype(np.float64)),
    "validator_auc": lambda s: auc(s.validator, s.n_yes),
    "generator_auc": lambda s: auc(s.generator, s.n_yes),
}
"""Measures of the two log-odds alone, so that they exist for every layer."""

MEASURES: Mapping[str, Callable[[Sample], Floats]] = {
    **PAIRED,
    "mrr_yes": lambda s: _mean(1 / s.rank[..., s.yes]),
    "mrr_no": lambda s: _mean(1 / s.rank[..., s.no]),
    **{f"generator_accuracy_{t}": _rank_accuracy(t) for t in RANK_THRESHOLDS},
    "yes_no_mass": lambda s: _mean(s.mass),
    "rank_sanity": lambda s: pearson(s.generator, -np.log(s.rank)),
}
"""Every measure of a score table.

`validator_accuracy`: share of items with (l_V > 0) = gold. `mrr_yes`, `mrr_no`: mean reciprocal rank of the answer
for items with gold yes (MRR-P) and no. `generator_accuracy_t`: share of items with (rank ≤ t) = gold.
`yes_no_mass`: mean probability on the yes and no forms together; l_V means little where it is low. `rank_sanity`:
Pearson's r of l_G with −log(rank), which a sound measurement keeps high.
"""


@checked
def summarize(
    scores: pd.DataFrame,
    measures: Mapping[str, Callable[[Sample], Floats]] = MEASURES,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Every measure of a score table with its 95 % percentile bootstrap interval, and n, n_yes, n_no.

    Items are resampled with replacement within each gold class, so that class sizes stay as they are. The same
    seed and classes draw the same items: differences of two tables of the same items can be bootstrapped in pairs.
    """
    whole = sample(scores)
    drawn: dict[str, list[Floats]] = {name: [] for name in measures}
    n = len(scores)
    for index in resampled_items(n, whole.n_yes, resamples, seed):
        resampled = whole.take(index)
        for name, of in measures.items():
            drawn[name].append(of(resampled))
    counts = {"n": n, "n_yes": whole.n_yes, "n_no": n - whole.n_yes}
    result: dict[str, Interval] = {k: {"value": float(v), "low": None, "high": None} for k, v in counts.items()}
    for name, of in measures.items():
        result[name] = interval(float(of(whole)), np.concatenate(drawn[name]) if drawn[name] else np.array([]))
    return result


def resampled_items(n: int, n_yes: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Blocks of item indices [resample, item]."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(n, 1))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        draws = generator.random((size, n))
        yes = np.arange(n) < n_yes
        yield np.where(yes, draws * n_yes, n_yes + draws * (n - n_yes)).astype(np.int64)


def interval(value: float, drawn: Floats) -> Interval:
    """A value with the 95 % percentile interval of its resampled values; those that are nan are left out."""
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    if not len(defined):
        return {"value": value, "low": None, "high": None}
    low, high = np.percentile(defined, [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}


def summarize_layers(
    scores: pd.DataFrame, layers: pd.DataFrame, *, seed: int = 0, resamples: int = 1000
) -> pd.DataFrame:
    """The measures of `PAIRED` at every layer: rows (layer, metric, value, low, high)."""
    rows: list[dict[str, Any]] = []
    for layer, part in layers.groupby("layer"):
        table = scores.assign(
            generator_logodds=part.set_index("item")["generator_logodds"],
            validator_logodds=part.set_index("item")["validator_logodds"],
        )
        measured = summarize(table, PAIRED, seed=seed, resamples=resamples)
        rows += [{"layer": layer, "metric": name, **measured[name]} for name in PAIRED]
    return pd.DataFrame(rows)


def layer_matrix(scores: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r of l_G at generator layer i with l_V at validator layer j, over all items and within classes.

    Rows (generator_layer, validator_layer, pearson, pearson_yes, pearson_no).
    """
    generator = layers.pivot(index="layer", columns="item", values="generator_logodds")
    validator = layers.pivot(index="layer", columns="item", values="validator_logodds")
    gold = scores.loc[generator.columns, "gold"].to_numpy(dtype=bool)
    parts = {"pearson": np.ones_like(gold), "pearson_yes": gold, "pearson_no": ~gold}
    x, y = generator.to_numpy(), validator.to_numpy()
    columns = {name: pearson(x[:, None, where], y[None, :, where]).ravel() for name, where in parts.items()}
    index = pd.MultiIndex.from_product([generator.index, validator.index], names=["generator_layer", "validator_layer"])
    return pd.DataFrame(columns, index=index).reset_index()
