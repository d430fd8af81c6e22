"""Measures within prompts and corrected scores, against plain loops and scikit-learn."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from accord.gap import compare, summarize
from accord.gap.corrected import generator_scores, summarize_corrections, with_base
from accord.gap.metrics import MEASURES, WITHIN, measures_of, sample


def table(seed: int, prompts: int = 12, most: int = 9, *, ties: bool = False) -> pd.DataFrame:
    """Items of prompts with 1 to `most` answers, some of one class, in no order; each prompt at a level of its own."""
    r = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(prompts), r.integers(1, most + 1, prompts))
    r.shuffle(prompt)
    n = len(prompt)
    gold = r.random(n) < r.choice([0.0, 0.3, 0.6, 1.0], prompts, p=[0.1, 0.4, 0.4, 0.1])[prompt]
    level = r.normal(size=prompts)[prompt] * 5
    generator, validator = level + 2 * gold + r.normal(size=n), -level + 2 * gold + r.normal(size=n)
    return pd.DataFrame(
        {
            "gold": gold,
            "generator_prompt": [f"prompt {i}" for i in prompt],
            "validator_prompt": [f"question {i}" for i in range(n)],
            "answer": [f"answer {i}" for i in range(n)],
            "generator_logodds": np.round(generator) if ties else generator,
            "validator_logodds": np.round(validator) if ties else validator,
            "generator_logprob": generator - 1,
            "generator_tokens": r.integers(1, 5, n),
            "generator_rank": r.integers(1, 50, n),
            "yes_no_mass": 0.9,
            "typicality": r.normal(size=n) - 6,
        }
    )


def plain(t: pd.DataFrame, by: str = "generator_prompt") -> dict[str, list[float]]:
    """Each measure of each prompt that counts, written out."""
    found: dict[str, list[float]] = {name: [] for name in WITHIN}
    for _, rows in t.groupby(by):
        if len(rows) < 4 or rows["gold"].nunique() < 2:
            continue
        g, v = rows["generator_logodds"].tolist(), rows["validator_logodds"].tolist()
        found["within_generator_auc"].append(float(roc_auc_score(rows["gold"], g)))
        found["within_validator_auc"].append(float(roc_auc_score(rows["gold"], v)))
        right = [(y > 0) == a for y, a in zip(v, rows["gold"], strict=True)]
        found["within_validator_accuracy"].append(float(np.mean(right)))
        constant = len(set(g)) == 1 or len(set(v)) == 1
        found["within_pearson"].append(math.nan if constant else float(stats.pearsonr(g, v).statistic))
        found["within_spearman"].append(math.nan if constant else float(stats.spearmanr(g, v).statistic))
        signs = [(g[i] - g[j]) * (v[i] - v[j]) for i in range(len(g)) for j in range(i)]
        alike, not_alike = sum(sign > 0 for sign in signs), sum(sign < 0 for sign in signs)
        found["within_concordance"].append(alike / (alike + not_alike) if alike + not_alike else math.nan)
    return {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_means_over_prompts_are_those_of_plain_loops_and_scikit_learn(seed: int, ties: bool) -> None:
    t = table(seed, ties=ties)
    expected, s = plain(t), sample(t)
    for name, measure in WITHIN.items():
        got = measure.estimate(s)
        assert float(measure(s)) == pytest.approx(got.value, nan_ok=True)
        if not expected[name]:
            assert math.isnan(got.value) and got.reason
            continue
        assert got.value == pytest.approx(np.mean(expected[name]))
        if len(expected[name]) >= 5 and np.ptp(expected[name]) > 1e-9:
            # Student's t over prompts, widened where they are skewed
            half = stats.t.ppf(0.975, len(expected[name]) - 1) * stats.sem(expected[name])
            floor = -1.0 if name in ("within_pearson", "within_spearman") else 0.0
            assert got.low <= max(got.value - half, floor) + 1e-9
            assert got.high >= min(got.value + half, 1.0) - 1e-9


def test_prompts_with_few_answers_or_one_class_are_left_out_and_counted() -> None:
    t = table(3, prompts=40)
    counted = summarize(t)
    eligible = [len(rows) >= 4 and rows["gold"].nunique() == 2 for _, rows in t.groupby("generator_prompt")]
    assert counted["prompts"]["value"] == 40 and counted["prompts_compared"]["value"] == sum(eligible)
    assert 0 < sum(eligible) < 40
    alone = t.drop_duplicates("generator_prompt")
    assert measures_of(sample(alone)) == MEASURES and summarize(alone)["prompts_compared"]["value"] == 0
    assert "prompts" not in summarize(t.drop(columns="generator_prompt"))
    assert WITHIN["within_pearson"].estimate(sample(alone)).reason == "no prompt has 4 answers, right and wrong ones"


def test_levels_of_prompts_fake_a_pooled_correlation_that_is_not_within_them() -> None:
    t = table(5, prompts=60)
    found = summarize(t)
    assert found["pearson_all"]["high"] < -0.5 and found["within_pearson"]["low"] > 0
    assert found["within_generator_auc"]["value"] > found["generator_auc"]["value"] + 0.1


def test_the_data_may_say_which_items_answer_one_prompt() -> None:
    t = table(6, prompts=20)
    grouped = t.assign(prompt_group=t["generator_prompt"], generator_prompt=[f"its own {i}" for i in range(len(t))])
    for name in WITHIN:
        assert summarize(grouped)[name] == summarize(t)[name]


def test_changes_are_of_the_same_prompts_in_pairs() -> None:
    before = table(7, prompts=30)
    after = before.assign(
        validator_logodds=before["validator_logodds"] + 0.5 * before["generator_logodds"] + before["gold"]
    )
    changes = compare(before, after)
    for name in WITHIN:
        old, new = plain(before)[name], plain(after)[name]
        change = changes[name].change
        assert change["value"] == pytest.approx(np.mean(np.subtract(new, old)))
        if name != "within_generator_auc":
            assert change["low"] < change["value"] < change["high"]
    # the very same scores: no change, for certain
    assert changes["within_generator_auc"].change == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert changes["within_spearman"].change["low"] > 0
    # narrower than the two intervals apart: most of what differs between prompts is in both
    sides = changes["within_spearman"]
    assert sides.change["high"] - sides.change["low"] < sides.after["high"] - sides.before["low"]


def test_scores_are_corrected_by_what_the_table_has() -> None:
    t = table(8)
    g, n = t["generator_logprob"], t["generator_tokens"]
    found = generator_scores(with_base(t.assign(negated_typicality=-2.0), t.assign(typicality=-7.0)))
    assert list(found) == ["logodds", "logprob", "per_token", "own", "own_per_token", "negated", "base"]
    expected = {"per_token": g / n, "own": g - t["typicality"], "own_per_token": (g - t["typicality"]) / n}
    expected |= {"logodds": t["generator_logodds"], "logprob": g, "negated": g + 2, "base": g + 7}
    for name, column in expected.items():
        np.testing.assert_allclose(found[name], column)
    assert list(generator_scores(t.drop(columns="typicality"))) == ["logodds", "logprob", "per_token"]


def test_each_way_of_scoring_is_measured_within_prompts_and_pooled() -> None:
    t = table(9, prompts=15)
    found = summarize_corrections(t).set_index(["score", "metric"])
    assert len(found) == 5 * 4
    for name, column in generator_scores(t).items():
        own = t.assign(generator_logodds=column)
        inside = plain(own)
        metrics = {"generator_auc": "within_generator_auc", "pearson": "within_pearson"}
        metrics |= {"spearman": "within_spearman", "concordance": "within_concordance"}
        for metric, within in metrics.items():
            row = found.loc[(name, metric)]
            assert row["within"] == pytest.approx(np.mean(inside[within]))
            assert row["within_low"] <= row["within"] <= row["within_high"]
            assert row["low"] <= row["value"] <= row["high"]
        assert found.loc[(name, "generator_auc"), "value"] == pytest.approx(roc_auc_score(t["gold"], column))
        rho = stats.spearmanr(column, t["validator_logodds"]).statistic
        assert found.loc[(name, "spearman"), "value"] == pytest.approx(rho)
        tau = stats.kendalltau(column, t["validator_logodds"]).statistic  # without ties
        assert found.loc[(name, "concordance"), "value"] == pytest.approx((1 + tau) / 2)
    alone = summarize_corrections(t, resamples=0)
    assert alone[["low", "within_high"]].isna().all(axis=None)
    assert alone["within"].tolist() == pytest.approx(found["within"].tolist())
