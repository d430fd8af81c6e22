"""Paired comparison against the measures themselves, item by item resamples included."""

import numpy as np
import pandas as pd
import pytest

from accord.errors import AccordError
from accord.gap import compare, summarize
from accord.gap.compare import CORRELATIONS
from accord.gap.metrics import MEASURES, resampled_items, sample


def _scores(seed: int, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    gold = np.random.default_rng(0).random(n) < 0.45
    generator = rng.normal(size=n) + gold
    return pd.DataFrame(
        {
            "gold": gold,
            "answer": [f"a{i}" for i in range(n)],
            "generator_prompt": [f"g{i}" for i in range(n)],
            "validator_prompt": [f"v{i}" for i in range(n)],
            "generator_logodds": generator,
            "validator_logodds": 0.4 * generator + rng.normal(size=n),
            "generator_rank": rng.integers(1, 500, size=n),
            "yes_no_mass": rng.random(n),
        }
    )


def test_before_and_after_are_what_summarize_says_of_each() -> None:
    before, after = _scores(1), _scores(2)
    found = compare(before, after, seed=3, resamples=200)
    for name, change in found.items():
        assert change.before == summarize(before, seed=3, resamples=200)[name]
        assert change.after == summarize(after, seed=3, resamples=200)[name]


def test_change_and_closure_are_of_the_same_resampled_items() -> None:
    before, after = _scores(1), _scores(2)
    found = compare(before, after, seed=3, resamples=50)
    a, b = sample(before), sample(after)
    [index] = list(resampled_items(60, a.n_yes, 50, 3))
    for name, of in MEASURES.items():
        r0 = np.array([float(of(a.take(row))) for row in index])
        r1 = np.array([float(of(b.take(row))) for row in index])
        low, high = np.percentile(r1 - r0, [2.5, 97.5])
        assert found[name].change == pytest.approx({"value": float(of(b) - of(a)), "low": low, "high": high})
        if name in CORRELATIONS:
            low, high = np.percentile((r1 - r0) / (1 - r0), [2.5, 97.5])
            whole = float((of(b) - of(a)) / (1 - of(a)))
            assert found[name].closure == pytest.approx({"value": whole, "low": low, "high": high})
        else:
            assert found[name].closure is None


def test_a_model_against_itself_changes_nothing_and_perfect_agreement_closes_all() -> None:
    before = _scores(4)
    same = compare(before, before, resamples=20)
    assert all(change.change == {"value": 0.0, "low": 0.0, "high": 0.0} for change in same.values())
    perfect = compare(before, before.assign(validator_logodds=2 * before["generator_logodds"] - 1), resamples=20)
    assert perfect["pearson_all"].closure == pytest.approx({"value": 1.0, "low": 1.0, "high": 1.0})


def test_other_items_are_refused() -> None:
    before = _scores(5)
    with pytest.raises(AccordError, match="not of the same items"):
        compare(before, before.iloc[::-1])
    with pytest.raises(AccordError, match="not of the same items"):
        compare(before, before.iloc[:-1])
