"""A realistic gap, made up and small, so that the report can be tested without a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata
from tests.report.run_folder import publish_result

from accord.gap.corrected import summarize_corrections
from accord.gap.result import Gap

CATEGORIES = {
    "insect": "bee ant wasp beetle moth",
    "furniture": "chair table sofa desk shelf",
    "fruit": "apple pear mango plum fig",
    "vehicle": "car van truck tram bus",
    "musical instrument": "violin flute drum harp oboe",
    "bird": "robin crow heron gull wren",
}
LAYERS = 6


def _auc(score: np.ndarray, gold: np.ndarray) -> float:
    ranks, n = rankdata(score), gold.sum()
    if n in (0, len(gold)):
        return float("nan")
    return float((ranks[gold].sum() - n * (n + 1) / 2) / (n * (len(gold) - n)))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() and b.std() else float("nan")


def _numbers(g: np.ndarray, v: np.ndarray, rank: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    return {
        "pearson_all": _pearson(g, v),
        "pearson_yes": _pearson(g[gold], v[gold]),
        "pearson_no": _pearson(g[~gold], v[~gold]),
        "generator_auc": _auc(g, gold),
        "validator_auc": _auc(v, gold),
        "validator_accuracy": float(((v > 0) == gold).mean()),
        "mrr_yes": _mean(1 / rank[gold]),
        "mrr_no": _mean(1 / rank[~gold]),
        "rank_sanity": _pearson(g, -np.log(rank)),
    }


def _interval(values: list[float]) -> tuple[float | None, float | None]:
    finite = [v for v in values if np.isfinite(v)]
    return (float(np.quantile(finite, 0.025)), float(np.quantile(finite, 0.975))) if finite else (None, None)


def measure(scores: pd.DataFrame, seed: int = 0, resamples: int = 60) -> dict[str, Any]:
    """Metrics with bootstrap intervals, in the form of metrics.json."""
    columns = ["generator_logodds", "validator_logodds", "generator_rank", "gold"]
    data = [scores[c].to_numpy() for c in columns]
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(scores), size=len(scores)) for _ in range(resamples)]
    boot = [_numbers(*(column[rows] for column in data)) for rows in draws]
    out = {}
    for name, value in _numbers(*data).items():
        low, high = _interval([b[name] for b in boot])
        out[name] = {"value": value if np.isfinite(value) else None, "low": low, "high": high}
    mass = float(scores["yes_no_mass"].mean())
    out["yes_no_mass"] = {"value": mass, "low": mass - 0.01, "high": mass + 0.01}
    out["n"] = {"value": len(scores), "low": len(scores), "high": len(scores)}
    return out


def make_scores(
    n: int = 240, seed: int = 0, categories: int = 6, knows: float = 2.5, affirms: float = 0.2
) -> pd.DataFrame:
    """Items whose generator knows `knows` and whose validator knows `affirms` (distance of the classes)."""
    rng = np.random.default_rng(seed)
    names = list(CATEGORIES) + [f"category {k}" for k in range(len(CATEGORIES), categories)]
    shots = "Do you think apples are a kind of fruit? Answer: Yes\nDo you think cars are a kind of bird? Answer: No\n"
    rows = []
    for i in range(n):
        gold = i % 2 == 0
        group = names[int(rng.integers(categories))]
        member = rng.choice(CATEGORIES.get(group, "one two three").split())
        shared, own = rng.normal(size=2)
        g = -6 + knows * gold + 1.6 * own + 0.3 * shared
        v = 0.9 + affirms * gold + 0.8 * shared + 0.1 * rng.normal() - 0.2 * own
        rows.append(
            {
                "noun1": f"{member}s", "noun2": group, "taxonomic": "yes" if gold else "no",
                "similarity": rng.choice(["high", "low"]), "group": group, "gold": gold, "answer": group,
                "generator_prompt": f"{member}s are a kind of",
                "validator_prompt": f"{shots}Do you think {member}s are a kind of {group}? Answer:",
                "generator_logodds": g, "validator_logodds": v, "generator_logprob": g - 1.2,
                "generator_rank": int(max(1, np.exp(-0.9 * g + 0.3 * rng.normal() - 1.5))),
                "yes_no_mass": float(rng.uniform(0.9, 1)), "generator_tokens": 1 + len(group) // 8,
                "typicality": -7.0 - len(group) / 4,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def make_layers(scores: pd.DataFrame, seed: int = 0) -> dict[str, pd.DataFrame]:
    """The three tables of `--layers`: scores, metrics and correlations by layer."""
    rng, n = np.random.default_rng(seed), len(scores)
    gold, columns = scores["gold"].to_numpy(), {}
    for form in ("generator", "validator"):
        top, noise = scores[f"{form}_logodds"].to_numpy(), rng.normal(size=(LAYERS + 1, n))
        share = np.linspace(0, 1, LAYERS + 1)[:, None] ** 2
        columns[form] = share * top + (1 - share) * 2 * noise
    g, v = columns["generator"], columns["validator"]
    long = pd.DataFrame(
        {
            "item": np.tile(np.arange(n), LAYERS + 1),
            "layer": np.repeat(np.arange(LAYERS + 1), n),
            "generator_logodds": g.ravel(),
            "validator_logodds": v.ravel(),
        }
    )
    curves = []
    for layer in range(LAYERS + 1):
        numbers = _numbers(g[layer], v[layer], scores["generator_rank"].to_numpy(), gold)
        for metric in ("pearson_all", "pearson_yes", "pearson_no", "validator_auc", "generator_auc"):
            value = numbers[metric]
            curves.append({"layer": layer, "metric": metric, "value": value, "low": value - 0.07, "high": value + 0.07})
    grid = [
        {
            "generator_layer": i, "validator_layer": j, "pearson": _pearson(g[i], v[j]),
            "pearson_yes": _pearson(g[i][gold], v[j][gold]), "pearson_no": _pearson(g[i][~gold], v[j][~gold]),
        }
        for i in range(LAYERS + 1) for j in range(LAYERS + 1)
    ]  # fmt: skip
    return {"layers": long, "layer_metrics": pd.DataFrame(curves), "layer_matrix": pd.DataFrame(grid)}


def make_lens(seed: int = 0) -> pd.DataFrame:
    """The logit-lens map of one example."""
    question = ["Do", " you", " think", " bees", " are", " a", " kind", " of", " insect", "?", " Answer", ":"]
    rng = np.random.default_rng(seed)
    words = [" the", " of", "ing", " a", "\n", " insect", " animal", " Yes", " No", " dessin", "unwiederbringlich"]
    prompts = {"generator": ["Be", "es", " are", " a", " kind", " of"], "validator": question}
    return pd.DataFrame(
        [
            {"item": 0, "form": form, "position": p, "token": token, "layer": layer, "top": rng.choice(words),
             "probability": float(rng.beta(1 + layer / 3, 4))}
            for form, prompt in prompts.items() for p, token in enumerate(prompt) for layer in range(LAYERS + 1)
        ]
    )  # fmt: skip


def make_gap(scores: pd.DataFrame | None = None, *, layers: bool = True, metrics: dict[str, Any] | None = None) -> Gap:
    """A gap as `measure_gap` gives it."""
    scores = make_scores() if scores is None else scores
    tables = make_layers(scores) | {"lens": make_lens()} if layers else {}
    corrections = summarize_corrections(scores)
    return Gap(scores, measure(scores) | (metrics or {}), "first", **tables, corrections=corrections)


def write_gap(
    folder: Path, scores: pd.DataFrame | None = None, *, layers: bool = True, model: str = "smollm2-135m",
    metrics: dict[str, Any] | None = None, gap: Gap | None = None,
) -> Path:  # fmt: skip
    """A whole gap folder on disk, of a run or alone."""
    settings = {"model": model, "task": {"name": "hypernymy", "split": "test", "validator": {"shots": "few"}}}
    gap = gap or make_gap(scores, layers=layers, metrics=metrics)
    return publish_result(folder.parent, "gap", folder.name, gap, settings=settings, folder=folder)


@pytest.fixture(scope="session")
def gap_scores() -> Callable[..., pd.DataFrame]:
    """`make_scores`, for tests that change what is in them."""
    return make_scores


@pytest.fixture(scope="session")
def gap_maker() -> Callable[..., Gap]:
    """`make_gap`, for tests that need no folder."""
    return make_gap


@pytest.fixture(scope="session")
def gap_writer() -> Callable[..., Path]:
    """`write_gap`, for tests that need a folder of their own."""
    return write_gap


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one measured gap, layers and all; tests only read it."""
    run = tmp_path_factory.mktemp("runs") / "demo"
    write_gap(run / "gap" / "hypernymy")
    (run / "study.toml").write_text('name = "demo"\n')
    return run
