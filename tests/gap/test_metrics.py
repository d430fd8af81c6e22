"""Measures against scipy and plain loops, and intervals against what they promise."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from accord.errors import AccordError
from accord.gap.metrics import (
    MEASURES,
    PAIRED,
    RANK_THRESHOLDS,
    _rank_accuracy,
    layer_matrix,
    sample,
    summarize,
    summarize_layers,
)


def table(seed: int = 0, n: int = 60, link: float = 1.0) -> pd.DataFrame:
    r = np.random.default_rng(seed)
    gold = r.random(n) < 0.5
    generator = r.normal(size=n) + 2 * gold
    return pd.DataFrame(
        {
            "gold": gold,
            "generator_logodds": generator,
            "validator_logodds": link * generator + r.normal(size=n),
            "generator_rank": r.choice([*RANK_THRESHOLDS, *r.integers(1, 2000, n)], n),  # ties with a threshold, too
            "yes_no_mass": r.random(n),
        }
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(12, 80))
def test_measures_equal_scipy_and_plain_loops(seed: int, n: int) -> None:
    t = table(seed, n)
    if min(t["gold"].sum(), (~t["gold"]).sum()) < 3:
        return
    got = {name: interval["value"] for name, interval in summarize(t, resamples=0).items()}
    yes, no = t[t["gold"]], t[~t["gold"]]
    for part, rows in (("all", t), ("yes", yes), ("no", no)):
        x, y = rows["generator_logodds"], rows["validator_logodds"]
        assert got[f"pearson_{part}"] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert got[f"spearman_{part}"] == pytest.approx(stats.spearmanr(x, y).statistic)
    for form in ("generator", "validator"):
        a, b = yes[f"{form}_logodds"], no[f"{form}_logodds"]
        u = stats.mannwhitneyu(a, b).statistic
        assert got[f"{form}_auc"] == pytest.approx(u / (len(a) * len(b)))
    hits = [(row.validator_logodds > 0) == row.gold for row in t.itertuples()]
    assert got["validator_accuracy"] == pytest.approx(sum(hits) / len(t))
    assert got["mrr_yes"] == pytest.approx(sum(1 / r for r in yes["generator_rank"]) / len(yes))
    assert got["mrr_no"] == pytest.approx(sum(1 / r for r in no["generator_rank"]) / len(no))
    for threshold in RANK_THRESHOLDS:
        right = [(row.generator_rank <= threshold) == row.gold for row in t.itertuples()]
        assert got[f"generator_accuracy_{threshold}"] == pytest.approx(sum(right) / len(t))
    assert got["yes_no_mass"] == pytest.approx(sum(t["yes_no_mass"]) / len(t))
    assert got["rank_sanity"] == pytest.approx(
        stats.pearsonr(t["generator_logodds"], -np.log(t["generator_rank"])).statistic
    )
    assert (got["n"], got["n_yes"], got["n_no"]) == (len(t), len(yes), len(no))


@pytest.mark.parametrize("threshold", RANK_THRESHOLDS)
def test_accuracy_by_rank_is_a_share_of_the_generators_items(threshold: int) -> None:
    """Made here, as what is made while a module loads is out of reach of mutation testing."""
    t, measure = table(5, 90), _rank_accuracy(threshold)
    right = [(row.generator_rank <= threshold) == row.gold for row in t.itertuples()]
    assert measure(sample(t)) == pytest.approx(np.mean(right))
    assert measure.estimate(sample(t)).value == pytest.approx(np.mean(right))
    assert [sorted(column(sample(t))) for column in measure.scored] == [sorted(t["generator_logodds"])]


def test_intervals_hold_the_value_narrow_with_n_and_repeat() -> None:
    small, large = summarize(table(1, 60), seed=3), summarize(table(1, 2400), seed=3)
    for name in MEASURES:
        assert small[name]["low"] <= small[name]["value"] <= small[name]["high"], name
    width = {k: v["pearson_all"]["high"] - v["pearson_all"]["low"] for k, v in {"s": small, "l": large}.items()}
    assert width["l"] < width["s"] / 3
    assert summarize(table(1, 60)) == small


def test_one_class_or_no_variance_gives_none_not_numbers() -> None:
    t = table(3)
    only_yes = summarize(t[t["gold"]], resamples=20)
    assert only_yes["validator_auc"]["value"] is None and "one gold class" in only_yes["validator_auc"]["reason"]
    nothing = {"value": None, "low": None, "high": None}
    assert only_yes["pearson_no"] == {**nothing, "reason": "fewer than 3 items"}
    assert only_yes["pearson_yes"]["value"] is not None
    flat = summarize(t.assign(validator_logodds=1.5), resamples=20)
    assert flat["pearson_all"] == {**nothing, "reason": "the scores are all the same"}
    assert flat["validator_auc"]["value"] == 0.5
    single = summarize(t.head(1))
    assert (
        single["validator_accuracy"]["low"] is None
        and single["validator_accuracy"]["reason"] == "1 item: an interval takes 5"
    )


def test_answers_that_begin_with_white_space_alone_are_counted() -> None:
    tokens = [" ", "\n", " a", "b", ""] * 12
    got = summarize(table().assign(answer_token=tokens))
    assert got["blank_first_tokens"] == {"value": 36.0, "low": None, "high": None}
    assert "blank_first_tokens" not in summarize(table())


def test_a_missing_column_is_named() -> None:
    with pytest.raises(AccordError, match="generator_rank"):
        sample(table().drop(columns="generator_rank"))


def layered(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    scores = table(seed)
    r = np.random.default_rng(seed)
    rows = [
        {"item": i, "layer": layer, "generator_logodds": r.normal(), "validator_logodds": r.normal()}
        for i in range(len(scores))
        for layer in range(3)
    ]
    return scores, pd.DataFrame(rows)


def test_layer_measures_are_those_of_each_layers_own_table() -> None:
    scores, layers = layered()
    got = summarize_layers(scores, layers, resamples=10).set_index(["layer", "metric"])
    part = layers[layers["layer"] == 1].set_index("item")
    x, y = part["generator_logodds"], part["validator_logodds"]
    assert got.loc[(1, "pearson_all"), "value"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    gold = scores["gold"]
    u = stats.mannwhitneyu(y[gold], y[~gold]).statistic
    assert got.loc[(1, "validator_auc"), "value"] == pytest.approx(u / (gold.sum() * (~gold).sum()))
    assert list(got.index) == [(layer, name) for layer in range(3) for name in PAIRED]
    own = summarize(scores.assign(generator_logodds=x, validator_logodds=y), PAIRED)
    for name in PAIRED:
        assert got.loc[(1, name)].to_dict() == {end: own[name][end] for end in ("value", "low", "high")}
    alone = summarize_layers(scores, layers, resamples=0)
    assert alone["low"].isna().all() and alone["high"].isna().all()
    assert alone["value"].tolist() == pytest.approx(got["value"].tolist())


def test_items_are_told_by_their_number_and_choices_are_each_layers_own() -> None:
    scores, layers = layered(3)
    labels = np.array(["a", "b", "c"])
    r = np.random.default_rng(3)
    scores = scores.assign(
        gold=True, label=r.choice(labels, len(scores)), validator_choice=r.choice(labels, len(scores))
    )
    layers["validator_choice"] = r.choice(labels, len(layers))
    got = summarize_layers(scores, layers.sample(frac=1, random_state=0)).set_index(["layer", "metric"])["value"]
    for layer in range(3):
        chosen = layers[layers["layer"] == layer].set_index("item")["validator_choice"]
        hits = [chosen[i] == label for i, label in scores["label"].items()]
        assert got[layer, "validator_accuracy"] == pytest.approx(sum(hits) / len(hits))


def test_the_layer_matrix_is_every_pairs_correlation() -> None:
    scores, layers = layered(1)
    got = layer_matrix(scores, layers).set_index(["generator_layer", "validator_layer"])
    assert len(got) == 9
    x = layers[layers["layer"] == 2].set_index("item")["generator_logodds"]
    y = layers[layers["layer"] == 0].set_index("item")["validator_logodds"]
    for name, where in (("", slice(None)), ("_yes", scores["gold"]), ("_no", ~scores["gold"])):
        assert got.loc[(2, 0), f"pearson{name}"] == pytest.approx(np.corrcoef(x[where], y[where])[0, 1])
    pd.testing.assert_frame_equal(layer_matrix(scores.astype({"gold": object}), layers), got.reset_index())


def test_a_class_of_two_items_has_no_correlation_at_any_pair_of_layers() -> None:
    scores, layers = layered(2)
    few = scores.assign(gold=[True, True] + [False] * (len(scores) - 2))
    got = layer_matrix(few, layers)
    assert len(got) == 9 and got["pearson_yes"].isna().all() and got["pearson_no"].notna().all()
