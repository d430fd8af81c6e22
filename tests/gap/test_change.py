"""Paired comparison against the measures themselves, item by item resamples included."""

import numpy as np
import pandas as pd
import pytest

from accord.errors import AccordError
from accord.gap import compare, summarize
from accord.gap.change import CORRELATIONS, in_common, paired_changes
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


def test_closure_is_as_uncertain_as_drawing_the_items_again_within_gold_says() -> None:
    rng, n = np.random.default_rng(7), 600
    before = _scores(1, n)
    gold = before["gold"].to_numpy()
    generator = rng.normal(size=n) + 1.5 * gold
    first = 0.3 * generator + rng.normal(size=n) + 2 * gold
    after = 0.5 * first + 0.6 * generator + 0.4 * rng.normal(size=n)
    before = before.assign(generator_logodds=generator, validator_logodds=first)
    changes = compare(before, before.assign(validator_logodds=after))

    def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = (a - a.mean(1, keepdims=True) for a in (x, y))
        return (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))

    yes, no = (np.flatnonzero(gold == side) for side in (True, False))
    drawn = {"yes": rng.choice(yes, (2000, len(yes))), "no": rng.choice(no, (2000, len(no)))}
    drawn["all"] = np.hstack([drawn["yes"], drawn["no"]])
    for part, rows in drawn.items():
        r = [correlations(generator[rows], side[rows]) for side in (first, after)]
        found = changes[f"pearson_{part}"]
        for interval, values in ((found.change, r[1] - r[0]), (found.closure, (r[1] - r[0]) / (1 - r[0]))):
            ends = np.quantile(values, [0.025, 0.975])
            assert interval is not None
            np.testing.assert_allclose([interval["low"], interval["high"]], ends, atol=0.15 * (ends[1] - ends[0]))


def test_items_in_common_are_found_in_any_order_and_wording() -> None:
    before = _scores(1)
    after = _scores(2).sample(frac=1, random_state=0)
    first, second = in_common(before.iloc[5:], after[after["answer"] != "a9"])
    assert first["answer"].tolist() == second["answer"].tolist() == [f"a{i}" for i in range(5, 60) if i != 9]
    assert first.equals(before.drop(index=[0, 1, 2, 3, 4, 9])) and second.equals(after.loc[second.index])
    fields = {"noun": range(60), "group": "g"}
    told, retold = (pd.concat([pd.DataFrame(fields, index=t.index), t], axis=1) for t in (before, after.sort_index()))
    retold = retold.assign(generator_prompt="other words", validator_prompt="others").iloc[::-1]
    one, other = in_common(told, retold)
    assert one.equals(told) and other.equals(retold.iloc[::-1])
    for lacking in (retold.drop(columns="noun"), retold.assign(noun=1, answer="x"), retold.assign(answer="y")):
        assert [len(side) for side in in_common(told, lacking)] == [0, 0]
    twice = pd.concat([before, before.iloc[:1]])
    assert (
        [len(side) for side in in_common(twice, before)] == [len(side) for side in in_common(before, twice)] == [0, 0]
    )


def test_changes_of_paired_items_are_those_of_the_comparison() -> None:
    before, after = _scores(1), _scores(2)
    expected = {name: change.change for name, change in compare(before, after).items()}
    assert paired_changes(before, after.sample(frac=1, random_state=0)) == expected
    assert paired_changes(before, after.iloc[1:]) == paired_changes(before.iloc[1:], after) == {}
    assert paired_changes(before.iloc[:0], after.iloc[:0]) == {}
    whole = after.copy()
    whole.attrs["answer_score"] = "whole"
    assert paired_changes(before, whole) == {}
    whole.attrs["answer_score"] = "first"  # which tables without it are
    assert paired_changes(before, whole) == expected
    with pytest.raises(AccordError, match="a column is missing"):
        compare(before, after.drop(columns="answer"))


def test_without_resamples_there_are_values_alone() -> None:
    before, after = _scores(1), _scores(2)
    quick, full = compare(before, after, resamples=0), compare(before, after)
    for name, change in quick.items():
        for side in ("before", "after", "change"):
            interval = getattr(change, side)
            assert interval["low"] is interval["high"] is None
            assert interval["value"] == pytest.approx(getattr(full[name], side)["value"])
        assert (change.closure is None) == (full[name].closure is None)
        if change.closure:
            assert change.closure["low"] is None
            assert change.closure["value"] == pytest.approx(full[name].closure["value"])
    flat = compare(before.assign(validator_logodds=2 * before["generator_logodds"]), after)["pearson_all"]
    assert flat.closure == {"value": None, "low": None, "high": None, "reason": flat.closure["reason"]}
