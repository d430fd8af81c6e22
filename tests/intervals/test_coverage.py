"""Intervals hold the truth as often as they say: a few hundred sets each, the whole table is in docs/intervals.md."""

import importlib
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from accord.damage.changes import Changes
from accord.damage.exchange import diversity_changes
from accord.gap import compare, summarize
from accord.gap.metrics import MEASURES
from accord.intervals.families import simultaneous
from accord.report.metric import Metric
from accord.report.seeds import pooled

NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "t3": lambda rng, size: rng.standard_t(3, size),
    "exponential": lambda rng, size: rng.exponential(1, size),
}


def _table(gold: np.ndarray, generator: np.ndarray, validator: np.ndarray, rank: object = 1) -> pd.DataFrame:
    names = {name: [f"{name}{i}" for i in range(len(gold))] for name in ("generator_prompt", "validator_prompt")}
    scores = {"generator_logodds": generator, "validator_logodds": validator, "generator_rank": rank}
    return pd.DataFrame({"gold": gold, **scores, "yes_no_mass": 0.9, "answer": "a", **names})


def _covered(ends: list[tuple[float | None, float | None]], truth: float) -> float:
    return float(np.mean([low - 1e-9 <= truth <= high + 1e-9 for low, high in ends if low is not None]))


def _ends(measure: str, tables: list[pd.DataFrame]) -> list[tuple[float | None, float | None]]:
    intervals = [summarize(table, {measure: MEASURES[measure]})[measure] for table in tables]
    return [(interval["low"], interval["high"]) for interval in intervals]


@pytest.mark.parametrize(("n", "share"), [(20, 0.95), (40, 0.95), (100, 0.98)])
def test_accuracy_near_its_end(n: int, share: float) -> None:
    rng, gold = np.random.default_rng(0), np.arange(n) % 2 == 0
    tables = [_table(gold, rng.random(n), np.where((rng.random(n) < share) == gold, 1.0, -1.0)) for _ in range(400)]
    ends = _ends("validator_accuracy", tables)
    assert _covered(ends, share) >= 0.92 and all(high > low for low, high in ends)


@pytest.mark.parametrize(("n", "apart"), [(20, 1.0), (40, 3.0), (100, 1.0)])
def test_auc_to_its_end(n: int, apart: float) -> None:
    rng, gold = np.random.default_rng(0), np.arange(n) % 2 == 0
    tables = [_table(gold, np.zeros(n), rng.standard_normal(n) + apart * gold) for _ in range(400)]
    ends = _ends("validator_auc", tables)
    assert 0.92 <= _covered(ends, float(ndtr(apart / math.sqrt(2)))) <= 0.99 and all(high > low for low, high in ends)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("n", [20, 100])
def test_pearson_whatever_its_tails(noise: str, n: int) -> None:
    rng, gold, tables = np.random.default_rng(0), np.arange(n) % 2 == 0, []
    for _ in range(400):
        x, y = NOISES[noise](rng, (2, n))
        tables.append(_table(gold, x, 0.5 * x + math.sqrt(0.75) * y))
    assert 0.915 <= _covered(_ends("pearson_all", tables), 0.5) <= 0.98


@pytest.mark.parametrize("noise", NOISES)
def test_change_and_closure_of_thirty_items(noise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    comparing = importlib.import_module("accord.gap.change")  # not the function of that name
    monkeypatch.setattr(comparing, "measures_of", lambda _: {"pearson_all": MEASURES["pearson_all"]})
    rng, gold, changes = np.random.default_rng(0), np.arange(30) % 2 == 0, []
    for _ in range(300):
        g, first, second = NOISES[noise](rng, (3, 30))
        v = [r * g + math.sqrt(1 - r * r) * e for r, e in ((0.1, first), (0.8, 0.7 * first + math.sqrt(0.51) * second))]
        changes.append(compare(*(_table(gold, g, side) for side in v))["pearson_all"])
    assert _covered([(each.change["low"], each.change["high"]) for each in changes], 0.7) >= 0.92
    closures = [each.closure for each in changes if each.closure]
    assert _covered([(closure["low"], closure["high"]) for closure in closures], 0.7 / 0.9) >= 0.91


def test_reciprocal_ranks_that_are_mostly_one() -> None:
    rng = np.random.default_rng(0)
    ranks = np.ceil(np.exp(rng.normal(-2, 1.5, (300, 40))))
    truth = float((1 / np.ceil(np.exp(rng.normal(-2, 1.5, 10**6)))).mean())
    ends = _ends("mrr_yes", [_table(np.ones(40, bool), np.zeros(40), np.zeros(40), rank) for rank in ranks])
    assert _covered(ends, truth) >= 0.93 and all(high > low for low, high in ends)


@pytest.mark.parametrize("kind", ["normal", "exponential", "rare"])
def test_families_err_in_one_of_twenty(kind: str) -> None:
    rng, wrong = np.random.default_rng(0), 0
    for i in range(60):
        changes = {
            "normal": lambda: rng.standard_normal((80, 64)) + 0.7 * rng.standard_normal((80, 1)),
            "exponential": lambda: rng.exponential(1, (80, 64)) - 1,
            "rare": lambda: (rng.random((80, 64)) < 0.1) * 1.0 - 0.1,
        }[kind]()
        shift = 0.1 if kind == "rare" else 0.0
        low, high, _ = simultaneous(changes + shift, i, 300)
        wrong += bool(((low > shift) | (high < shift)).any())
    assert wrong <= 8  # of a binomial of 60 at .05, more than 8 come once in 400


def _texts(rng: np.random.Generator, loops: float) -> list[str]:
    words = rng.zipf(1.5, (12, 40)) % 500
    stuck = rng.random(12) < loops
    words[stuck, 20:] = np.tile(words[stuck, 15:20], 4)
    return [" ".join(map(str, row)) for row in words]


def test_texts_of_one_model_are_no_more_repetitive_than_its_own() -> None:
    rng = np.random.default_rng(0)
    changes = [diversity_changes(_texts(rng, 0.1), _texts(rng, 0.1), i, 199) for i in range(100)]
    for name in ("distinct_1", "distinct_2", "distinct_3", "repeated_4"):
        ends = [(change[name][1].low, change[name][1].high) for change in changes]
        assert _covered(ends, 0.0) >= 0.88, name
    changes = Changes(0, 199)
    before, after = _texts(rng, 0.0), _texts(rng, 1.0)
    sides, change = diversity_changes(before, after, 0, 199)["repeated_4"]
    changes.add("free text", "repeated_4", sides, change, 12, "higher")
    assert changes.rows[0]["worsened"]


@pytest.mark.parametrize(("items", "seeds"), [(1.0, 0.0), (1.0, 1.0), (0.3, 1.0)])
def test_seeds_and_items_together(items: float, seeds: float) -> None:
    """A number over seeds has the error of its items, which all seeds share, and that of its seeds."""
    rng, ends = np.random.default_rng(0), []
    for _ in range(600):
        shared = items * rng.standard_normal()
        values = shared + seeds * rng.standard_normal(3)
        whole = pooled([Metric(v, v - 1.96 * items, v + 1.96 * items) for v in values])
        ends.append((whole.low, whole.high))
    assert _covered(ends, 0.0) >= 0.93
