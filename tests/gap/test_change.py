"""Paired comparison against the measures themselves, item by item resamples included."""

import numpy as np
import pandas as pd
import pytest

from accord.errors import AccordError
from accord.gap import compare, summarize
from accord.gap.change import CORRELATIONS
from accord.gap.metrics import MEASURES, sample


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
    changes = compare(before, after, seed=3, resamples=200)
    for name, change in changes.items():
        assert change.before == summarize(before, seed=3, resamples=200)[name]
        assert change.after == summarize(after, seed=3, resamples=200)[name]


def test_changes_are_paired_and_closure_is_their_share_of_what_was_open() -> None:
    before, after = _scores(1), _scores(2)
    close = before.assign(validator_logodds=before["validator_logodds"] + 0.1 * after["validator_logodds"])
    changes, near = compare(before, after), compare(before, close)
    a, b = sample(before), sample(after)
    for name, measure in MEASURES.items():
        change, sides = changes[name].change, (changes[name].before, changes[name].after)
        assert change["value"] == pytest.approx(float(measure(b) - measure(a)))
        assert change["low"] < change["value"] < change["high"]
        independent = sum((side["high"] - side["low"]) ** 2 for side in sides) ** 0.5
        if name in CORRELATIONS:
            open_ = 1 - sides[0]["value"]
            assert changes[name].closure["value"] == pytest.approx(change["value"] / open_)
            assert changes[name].closure["low"] < changes[name].closure["value"] < changes[name].closure["high"] < 1
            assert near[name].change["high"] - near[name].change["low"] < 0.7 * independent
        else:
            assert changes[name].closure is None


def test_a_model_against_itself_changes_nothing() -> None:
    before = _scores(4)
    same = compare(before, before)
    zero = {"value": 0.0, "low": 0.0, "high": 0.0}
    assert all(change.change == zero for change in same.values())
    assert all(same[name].closure == zero for name in CORRELATIONS)


def test_what_has_no_interval_says_why() -> None:
    before = _scores(4)
    perfect = compare(before, before.assign(validator_logodds=2 * before["generator_logodds"] - 1))["pearson_all"]
    assert perfect.after["value"] == perfect.closure["value"] == pytest.approx(1)
    assert perfect.after["low"] is perfect.closure["low"] is perfect.change["low"] is None
    assert perfect.closure["reason"] == "all items lie on one line, which shows no error"
    coarse = before.assign(validator_logodds=np.where(before["gold"], 1.0, -1.0))
    change = compare(coarse, coarse)["validator_accuracy"].change  # alike, and so might be those of two models
    assert change["value"] == 0 and change["low"] < 0 < change["high"]


def test_other_items_are_refused() -> None:
    before = _scores(5)
    with pytest.raises(AccordError, match="not of the same items"):
        compare(before, before.iloc[::-1])
    with pytest.raises(AccordError, match="not of the same items"):
        compare(before, before.iloc[:-1])
