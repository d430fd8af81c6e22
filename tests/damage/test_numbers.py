"""Distances, intervals and measures against plain loops."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from accord.damage import distance as module
from accord.damage.changes import Changes
from accord.damage.distance import distance
from accord.damage.exchange import diversity_changes
from accord.damage.measures import drift_rows, fact_rows, free_rows, text_rows
from accord.damage.observed import TaskAnswers
from accord.damage.wording import sentence
from accord.errors import AccordError
from accord.intervals import Estimate
from accord.lm import Backbone
from accord.lm.perplexity import Perplexity
from accord.text import measure_diversity
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize("chunk", [2**24, 700])
def test_distance_is_that_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "_LOGIT_CHUNK", chunk)  # 700: two positions of 300 logits at a time
    base, repaired = (Backbone(tiny_model(seed=seed), tiny_tokenizer()) for seed in (0, 1))
    x, y = torch.randn(2, 7, base.d_model, generator=torch.Generator().manual_seed(0))
    far = distance(base, x, repaired, y)
    with torch.no_grad():
        first, second = (lm.lens(states).double().softmax(-1) for lm, states in ((base, x), (repaired, y)))
    for i, (p, q) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        assert far.forward[i] == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), rel=1e-4)
        assert far.backward[i] == pytest.approx(sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)), rel=1e-4)
        assert far.same[i] == float(np.argmax(p) == np.argmax(q))


def test_a_model_is_at_no_distance_from_itself() -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    x = torch.randn(50, lm.d_model, generator=torch.Generator().manual_seed(0))
    far = distance(lm, x, lm, x)
    assert (far.forward == 0).all() and (far.backward == 0).all() and (far.same == 1).all()
    with pytest.raises(AccordError, match="not finite"):
        distance(lm, x, lm, x * torch.nan)


def _changes() -> Changes:
    return Changes(seed=3, resamples=50)


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
    changes = _changes()
    changes.add("g", "m", (1.0, 1.0 + change), Estimate(change, change - 1e-6, change + 1e-6), 9, worse)
    ratio = Estimate(1 + change, 1 + change - 1e-6, 1 + change + 1e-6)
    changes.add("g", "r", (1.0, 1.0 + change), ratio, 9, worse, ratio=True)
    changes.add("g", "wide", (1.0, 1.0 + change), Estimate(change, change - 1, change + 1), 9, worse)
    changes.add("g", "unknown", (1.0, 1.0 + change), Estimate(change, reason="why"), 9, worse)
    assert [row["worsened"] for row in changes.rows] == [worsened, worsened, False, False]
    assert [row["reason"] for row in changes.rows] == ["", "", "", "why"]
    without = Changes(seed=0, resamples=0)
    without.add("g", "m", (1.0, 2.0), Estimate(1.0, 0.9, 1.1), 9, "higher")
    assert np.isnan(without.rows[0]["low"]) and not without.rows[0]["worsened"]


def test_texts_are_exchanged_prompt_by_prompt() -> None:
    before = ["a b c a", "b b b b b", "one two three", "x y x y x y", "no no no yes", "so it goes on and on"]
    after = ["a a a a", "b c d e f", "one two two", "x x x x x x", "no no no no", "so it goes"]
    changes = diversity_changes(before, after, seed=4, exchanges=60)
    swaps = np.random.default_rng(4).integers(0, 2, (60, 6))
    for name, (sides, change) in changes.items():
        assert sides == (measure_diversity(before)[name], measure_diversity(after)[name])
        sizes = [abs(sides[1] - sides[0])]
        for swap in swaps:
            first = [y if turned else x for x, y, turned in zip(before, after, swap, strict=True)]
            second = [x if turned else y for x, y, turned in zip(before, after, swap, strict=True)]
            sizes.append(abs(measure_diversity(second)[name] - measure_diversity(first)[name]))
        half = sorted(sizes)[math.ceil(0.95 * 61) - 1]
        if np.isnan(sizes).any():  # in some exchange no text is long enough
            assert np.isnan(change.low)
        else:
            assert (change.low, change.high) == pytest.approx((change.value - half, change.value + half))
    same = diversity_changes(before, before, seed=0, exchanges=60)["distinct_1"][1]
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert "5" in diversity_changes(before[:3], after[:3], 0, 60)["distinct_1"][1].reason


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


def _answers(logprob: np.ndarray, affirmed: np.ndarray) -> TaskAnswers:
    """Of facts [fact, right or wrong]."""
    return TaskAnswers(logprob.ravel(), affirmed.ravel(), 1 / (1 + np.exp(-affirmed.ravel())), {})


def test_measures_of_facts() -> None:
    logprob = np.array([[-1.0, -2.0], [-3.0, -1.0], [-2.0, -5.0], [-1.0, -4.0]])
    affirmed = np.array([[2.0, 1.0], [-1.0, -2.0], [3.0, 4.0], [0.5, -0.5]])
    changes = _changes()
    fact_rows(changes, "g", [_answers(logprob, affirmed)], [_answers(logprob - np.array([0.5, 0]), affirmed)])
    rows = _rows(changes)
    base = {name: row["base"] for name, row in rows.items()}
    pairs = [(a > b) + 0.5 * (a == b) for a in affirmed[:, 0] for b in affirmed[:, 1]]
    assert base == pytest.approx(
        {
            "true_beats_false": 3 / 4,
            "answer_probability": (2 * math.exp(-1) + math.exp(-3) + math.exp(-2)) / 4,
            "answer_margin": (1 - 2 + 3 + 3) / 4,
            "yes_beats_no": 3 / 4,
            "validator_auc": sum(pairs) / 16,
            "validator_accuracy": (3 + 2) / 8,
            "validator_logodds": affirmed.mean(),
            "yes_share": 5 / 8,
            "yes_excess": 1 / 8,
            "yes_no_mass": (1 / (1 + np.exp(-affirmed))).mean(),
        }
    )
    assert rows["answer_margin"]["change"] == pytest.approx(-0.5)
    assert all(rows[name]["change"] == rows[name]["low"] == 0 for name in ("yes_share", "validator_auc", "yes_excess"))
    assert rows["true_beats_false"]["reason"] == "4 items: an interval takes 5"


def test_few_facts_that_fall_are_no_harm_and_many_are() -> None:
    draw = np.random.default_rng(0)
    logprob = np.stack([draw.random(60) - 1, draw.random(60) - 3], 1)
    for fallen, worsened in ((5, False), (6, True)):
        after = logprob - 3 * (np.arange(60) < fallen)[:, None] * [1, 0]
        changes = _changes()
        fact_rows(changes, "g", [_answers(logprob, logprob)], [_answers(after, logprob)])
        assert _rows(changes)["true_beats_false"]["worsened"] is worsened


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

    def add(group: str, measure: str, sides: tuple[float, float], worse: str, *, ratio: bool = False) -> None:
        change = sides[1] / sides[0] if ratio else sides[1] - sides[0]
        changes.add(group, measure, sides, Estimate(change, change - 0.01, change + 0.02), 20, worse, ratio=ratio)

    add("text", "perplexity", (30, 33), "higher", ratio=True)
    add("text", "kl_base_repaired", (0, 0.25), "distance")
    add("text", "same_top", (1, 0.9), "distance")
    add("relations", "yes_beats_no", (0.8, 0.7), "lower")
    add("relations", "true_beats_false", (0.8, 0.9), "lower")
    text = sentence(changes.table())
    assert "perplexity of held-out text × 1.100 (95 % 1.090 to 1.120)" in text
    assert "higher odds of yes 0.800 → 0.700 (−0.100, 95 % −0.110 to −0.080)" in text
    assert "beat the wrong one" not in text
    assert "0.2500 nats on held-out text (90.0% of argmaxes unchanged)" in text
    assert "says yes" not in text
    add("relations", "yes_share", (0.2, 0.9), "neither")
    assert "now says yes to 90% of their questions, of which half are right; the base to 20%." in sentence(
        changes.table()
    )
    without = Changes(seed=0, resamples=0)
    without.add("text", "perplexity", (1, 2), Estimate(2.0, 1.9, 2.1), 20, "higher", ratio=True)
    assert sentence(without.table()).startswith("Without intervals nothing")
