"""Distances, intervals and measures against plain loops."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from accord.damage import distance as module
from accord.damage.changes import Changes
from accord.damage.distance import distance
from accord.damage.measures import AFFIRMED, SAID, drift_rows, free_rows, text_rows
from accord.damage.wording import sentence
from accord.errors import AccordError
from accord.gap.metrics import resampled_items
from accord.lm import Backbone
from accord.lm.perplexity import Perplexity
from accord.text import measure_diversity
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize("chunk", [2**24, 700])
def test_distance_is_that_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "_LOGIT_CHUNK", chunk)  # 700: two positions of 300 logits at a time
    base, repaired = (Backbone(tiny_model(seed=seed), tiny_tokenizer()) for seed in (0, 1))
    x, y = torch.randn(2, 7, base.d_model, generator=torch.Generator().manual_seed(0))
    found = distance(base, x, repaired, y)
    with torch.no_grad():
        first, second = (lm.lens(states).double().softmax(-1) for lm, states in ((base, x), (repaired, y)))
    for i, (p, q) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        assert found.forward[i] == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), rel=1e-4)
        assert found.backward[i] == pytest.approx(sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)), rel=1e-4)
        assert found.same[i] == float(np.argmax(p) == np.argmax(q))


def test_a_model_is_at_no_distance_from_itself() -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    x = torch.randn(50, lm.d_model, generator=torch.Generator().manual_seed(0))
    found = distance(lm, x, lm, x)
    assert (found.forward == 0).all() and (found.backward == 0).all() and (found.same == 1).all()
    with pytest.raises(AccordError, match="not finite"):
        distance(lm, x, lm, x * torch.nan)


def _changes() -> Changes:
    return Changes(seed=3, resamples=50)


def test_bootstrap_draws_the_same_units_of_both() -> None:
    draw = np.random.default_rng(0)
    before, after = draw.random(12), draw.random(12)
    changes = _changes()
    changes.add("g", "m", lambda x: x.mean(-1), ((before,), (after,)), "higher")
    changes.add("g", "r", lambda x: x.mean(-1), ((before,), (after,)), "higher", ratio=True)
    differences, ratios = [], []
    for index in next(iter(resampled_items(12, 0, 50, 3))):
        x, y = [before[i] for i in index], [after[i] for i in index]
        differences.append(sum(y) / 12 - sum(x) / 12)
        ratios.append(sum(y) / sum(x))
    for row, drawn, value in zip(
        changes.rows,
        (differences, ratios),
        (after.mean() - before.mean(), after.mean() / before.mean()),
        strict=True,
    ):
        assert row["change"] == pytest.approx(value)
        assert (row["low"], row["high"]) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_classes_keep_their_sizes() -> None:
    changes = _changes()
    classes = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    changes.add("g", "m", lambda x: x.mean(-1), ((classes,), (classes * 2,)), "higher", n_yes=2)
    assert changes.rows[0]["low"] == changes.rows[0]["high"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("worse", "change", "worsened"),
    [
        ("higher", 0.1, True),
        ("higher", -0.1, False),
        ("lower", -0.1, True),
        ("lower", 0.1, False),
        ("neither", 0.1, False),
        ("higher", 5e-5, False),
        ("lower", -5e-5, False),
    ],
)
def test_worsened_means_an_interval_beyond_rounding_on_the_worse_side(worse, change, worsened) -> None:
    base = np.linspace(1.0, 2.0, 9)
    for after, ratio in ((base + change, False), (base * (1 + change), True)):
        changes = _changes()
        changes.add("g", "m", lambda x: x.mean(-1), ((base,), (after,)), worse, ratio=ratio)
        assert changes.rows[0]["worsened"] is worsened
    wide = _changes()
    wide.add("g", "m", lambda x: x.mean(-1), ((base,), (base + change * np.resize([9, -8], 9),)), worse)
    assert wide.rows[0]["worsened"] is False


def test_jackknife_leaves_texts_out_one_by_one() -> None:
    before = ["a b c a", "b b b b b", "one two three", "x y x y x y", "no no no yes"]
    after = ["a a a a", "b c d e f", "one two two", "x x x x x x", "no no no no"]

    def distinct(texts: list[str]) -> float:
        return measure_diversity(texts)["distinct_2"]

    changes = _changes()
    changes.add_jackknife("g", "m", distinct, (before, after), "lower")
    left_out = []
    for i in range(5):
        x, y = list(before), list(after)
        del x[i], y[i]
        left_out.append(distinct(y) - distinct(x))
    mean = sum(left_out) / 5
    error = math.sqrt(4 / 5 * sum((one - mean) ** 2 for one in left_out))
    change = distinct(after) - distinct(before)
    assert changes.rows[0]["low"] == pytest.approx(change - 1.96 * error)
    assert changes.rows[0]["high"] == pytest.approx(change + 1.96 * error)


def _rows(changes: Changes) -> dict[str, dict[str, float]]:
    return {row["measure"]: row for row in changes.rows}


def test_perplexity_by_token_and_by_text() -> None:
    tokens = np.array([4, 0, 10])
    before, after = Perplexity(np.array([8.0, 0, 30.0]), tokens), Perplexity(np.array([9.0, 0, 28.0]), tokens)
    owner = np.array([0, 0, 2, 2, 2])
    far = module.Distance(np.arange(5.0), np.arange(5.0) * 2, np.array([1.0, 0, 1, 1, 1]))
    changes = _changes()
    text_rows(changes, before, after, owner, far)
    rows = _rows(changes)
    assert rows["perplexity"]["base"] == pytest.approx(math.exp(38 / 14))
    assert rows["perplexity"]["change"] == pytest.approx(math.exp((1.0 - 2.0) / 14))
    assert rows["perplexity"]["n"] == 2
    assert rows["perplexity_per_text"]["change"] == pytest.approx(math.exp((1.0 / 4 - 2.0 / 10) / 2))
    assert rows["kl_base_repaired"]["change"] == pytest.approx(2.0)
    assert rows["kl_repaired_base"]["repaired"] == pytest.approx(4.0)
    assert (rows["same_top"]["base"], rows["same_top"]["repaired"]) == (1.0, pytest.approx(0.8))


def test_measures_of_facts() -> None:
    right, wrong = np.array([-1.0, -3.0, -2.0]), np.array([-2.0, -1.0, -5.0])
    said = {name: float(of(right, wrong)) for name, (of, _) in SAID.items()}
    assert said == pytest.approx(
        {
            "true_beats_false": 2 / 3,
            "answer_probability": (math.exp(-1) + math.exp(-3) + math.exp(-2)) / 3,
            "answer_margin": (1 - 2 + 3) / 3,
        }
    )
    yes, no = np.array([2.0, -1.0, 3.0, 0.5]), np.array([1.0, -2.0, 4.0, -0.5])
    affirmed = {name: float(of(yes, no)) for name, (of, _) in AFFIRMED.items()}
    pairs = [(a > b) + 0.5 * (a == b) for a in yes for b in no]
    assert affirmed == pytest.approx(
        {
            "yes_beats_no": 3 / 4,
            "validator_auc": sum(pairs) / 16,
            "validator_accuracy": (3 + 2) / 8,
            "validator_logodds": (yes.sum() + no.sum()) / 8,
            "yes_share": 5 / 8,
            "yes_excess": 1 / 8,
        }
    )


def test_drift_of_the_generator() -> None:
    draw = np.random.default_rng(1)
    gold = np.resize([True, False, False], 30)
    before = pd.DataFrame(
        {
            "gold": gold,
            "generator_logodds": draw.normal(size=30),
            "validator_logodds": 0.0,
            "generator_rank": draw.integers(1, 50, 30),
            "yes_no_mass": 1.0,
        }
    )
    after = before.assign(generator_logodds=draw.normal(size=30), generator_rank=draw.integers(1, 50, 30))
    changes = _changes()
    drift_rows(changes, before, after)
    rows = _rows(changes)
    for side, table in (("base", before), ("repaired", after)):
        g = table["generator_logodds"]
        above = [a > b for a in g[gold] for b in g[~gold]]
        assert rows["generator_auc"][side] == pytest.approx(sum(above) / len(above))
        assert rows["mrr_yes"][side] == pytest.approx((1 / table["generator_rank"][gold]).mean())
        assert rows["generator_logodds"][side] == pytest.approx(g.mean())
    moved = (after["generator_logodds"] - before["generator_logodds"]).abs().mean()
    assert (rows["generator_moved"]["base"], rows["generator_moved"]["repaired"]) == (0, pytest.approx(moved))
    r = np.corrcoef(before["generator_logodds"], after["generator_logodds"])[0, 1]
    assert (rows["generator_pearson"]["base"], rows["generator_pearson"]["repaired"]) == pytest.approx((1, r))


def test_the_judge_weighs_tokens_and_skips_what_it_could_not_read() -> None:
    free = pd.DataFrame({"text": ["a b", "c d", ""], "tokens": [2, 2, 0]})
    before = free.assign(judge_nll=[4.0, 9.0, 0.0], judge_tokens=[2.0, 3.0, 0.0])
    after = free.assign(judge_nll=[6.0, 8.0, 5.0], judge_tokens=[2.0, 2.0, 1.0])
    changes = _changes()
    free_rows(changes, before, after)
    row = _rows(changes)["judge_perplexity"]
    assert (row["base"], row["repaired"]) == pytest.approx((math.exp(13 / 5), math.exp(14 / 4)))
    assert row["n"] == 2 and row["change"] == pytest.approx(math.exp(14 / 4 - 13 / 5))


def test_the_sentence_names_what_got_worse() -> None:
    changes = _changes()
    ones = np.ones(20)
    changes.add("text", "perplexity", lambda x: x.mean(-1), ((ones * 30,), (ones * 33,)), "higher", ratio=True)
    changes.add("text", "kl_base_repaired", lambda x: x.mean(-1), ((ones * 0,), (ones * 0.25,)), "higher")
    changes.add("text", "same_top", lambda x: x.mean(-1), ((ones,), (ones * 0.9,)), "lower")
    changes.add("relations", "yes_beats_no", lambda x: x.mean(-1), ((ones * 0.8,), (ones * 0.7,)), "lower")
    changes.add("relations", "true_beats_false", lambda x: x.mean(-1), ((ones * 0.8,), (ones * 0.9,)), "lower")
    said = sentence(changes.table())
    assert "perplexity of held-out text × 1.100 (95 % 1.100 to 1.100)" in said
    assert "higher odds of yes 0.800 → 0.700 (−0.100, 95 % −0.100 to −0.100)" in said
    assert "beat the wrong one" not in said
    assert "0.2500 nats on held-out text (90.0% of argmaxes unchanged)" in said
    assert "says yes" not in said
    changes.add("relations", "yes_share", lambda x: x.mean(-1), ((ones * 0.2,), (ones * 0.9,)), "neither")
    assert "now says yes to 90% of their questions, of which half are right; the base to 20%." in sentence(
        changes.table()
    )
    without = Changes(seed=0, resamples=0)
    without.add("text", "perplexity", lambda x: x.mean(-1), ((ones,), (ones * 2,)), "higher", ratio=True)
    assert sentence(without.table()).startswith("Without intervals nothing")
