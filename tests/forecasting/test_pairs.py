"""Pairs that a teacher orders, and that a correction turns: against plain loops, and how often intervals hold."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from accord.errors import AccordError
from accord.forecasting import ordered_pairs, ordered_within, pairs, turned_pairs
from accord.intervals import auc, concordance
from accord.intervals.estimate import Floats


def _draw(seed: int, *, ties: bool, n: int = 50) -> tuple[Floats, np.ndarray, np.ndarray]:
    """Scores, gold labels and prompts of items; with ties, scores are whole quarters."""
    draw = np.random.default_rng(seed)
    scores, gold = draw.normal(size=n), draw.random(n) < 0.4
    gold[:2] = True, False
    scores = np.round((scores + gold) * 4) / 4 if ties else scores + gold
    return scores, gold, draw.integers(0, 7, n)


def _loops(
    scores: Floats, gold: np.ndarray, above: float, upto: float, first: bool, prompts: np.ndarray
) -> list[float]:
    """Of every pair of a right and a wrong answer to one prompt that the bin has: 1, 0, or ½ for a tie."""
    found = []
    for i, j in product(np.flatnonzero(gold), np.flatnonzero(~gold)):
        apart = abs(scores[i] - scores[j])
        if prompts[i] == prompts[j] and (above < apart or first) and apart <= upto:
            found.append(0.5 if apart == 0 else float(scores[i] > scores[j]))
    return found


@pytest.mark.parametrize("listed", [2**24, 0], ids=["listed", "halved"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_shares_are_those_of_plain_loops(
    listed: int, ties: bool, within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_LISTED", listed)
    monkeypatch.setattr(pairs, "_FEWEST_PAIRS", 1)
    for seed in range(4):
        scores, gold, prompts = _draw(seed, ties=ties)
        prompts = prompts if within else np.zeros(len(gold))
        table = ordered_within(scores, gold, prompts) if within else ordered_pairs(scores, gold)
        assert list(table["bin"]) == list(range(11)) and tuple(table) == pairs.COLUMNS
        whole, single = table.iloc[0], table.iloc[1:]
        assert single["pairs"].sum() == whole["pairs"] == len(_loops(scores, gold, 0, np.inf, True, prompts))
        for row in table.to_dict("records"):
            plain = _loops(scores, gold, row["above"], row["upto"], row["bin"] < 2, prompts)
            assert row["pairs"] == len(plain)
            assert row["value"] == pytest.approx(np.mean(plain) if plain else np.nan, nan_ok=True)
        if not ties:
            assert single["pairs"].max() - single["pairs"].min() <= 1
        if not within:
            ordered = np.concatenate([scores[gold], scores[~gold]])
            assert whole["value"] == pytest.approx(float(auc(ordered, int(gold.sum()))))


def test_intervals_hold() -> None:
    draw, shift, held, n = np.random.default_rng(1), 1.5, np.zeros(11), 120
    apart = norm(shift, 2**0.5)
    for _ in range(n):
        scores = np.r_[draw.normal(size=60) + shift, draw.normal(size=60)]
        table = ordered_pairs(scores, np.arange(120) < 60)
        for i, above, upto, low, high in table[["bin", "above", "upto", "low", "high"]].itertuples(index=False):
            above, upto = (0.0, np.inf) if i == 0 else (above, upto)
            right, wrong = apart.cdf(upto) - apart.cdf(above), apart.cdf(-above) - apart.cdf(-upto)
            held[i] += low <= right / (right + wrong) <= high
    assert (held / n).min() > 0.9


def test_what_cannot_be_ordered() -> None:
    scores, gold, _ = _draw(0, ties=False)
    assert ordered_pairs(scores, np.ones_like(gold)).empty
    assert ordered_within(scores, gold, np.arange(len(gold))).empty
    few = ordered_pairs(scores[:6], np.arange(6) < 3)
    assert few["low"].isna().all() and few["value"].notna().all()  # three items of a class give no interval
    assert list(few["bin"]) == [0, 1]  # and nine pairs no bins
    assert list(ordered_pairs(scores[:10], np.arange(10) < 5, bins=1)["bin"]) == [0, 1]
    assert list(ordered_pairs(scores[:14], np.arange(14) < 7)["bin"]) == [0, 1, 2]  # of 49 pairs
    with pytest.raises(AccordError, match="every score needs a label"):
        ordered_pairs(scores, gold[:-1])
    with pytest.raises(AccordError, match=r"every item answers a prompt[\s\S]*2 prompts"):
        ordered_within(scores, gold, [1, 2])
    with pytest.raises(AccordError, match=r"finite[\s\S]*nan"):
        ordered_pairs(np.where(gold, np.nan, scores), gold)


def test_turned_pairs_are_those_of_plain_loops() -> None:
    g, gold, prompts = _draw(3, ties=True)
    t = _draw(4, ties=True)[0]
    scores = pd.DataFrame(
        {
            "gold": gold, "generator_logodds": g, "generator_logprob": g, "generator_tokens": 1, "typicality": t,
            "generator_prompt": [f"prompt {p}" for p in prompts],
        }
    )  # fmt: skip
    table = turned_pairs(scores).set_index(["correction", "scope", "metric"])["value"]
    assert set(table.index.get_level_values("correction")) == {"own"}  # the others' typicality is not there
    assert table["own", "all", "turned"] == pytest.approx(1 - float(concordance(g, g - t)))
    new = g - t
    for scope in ("all", "within"):
        met = [(i, j) for i, j in product(np.flatnonzero(gold), np.flatnonzero(~gold))
               if scope == "all" or prompts[i] == prompts[j]]  # fmt: skip
        better = np.mean([g[i] < g[j] and new[i] > new[j] for i, j in met])
        worse = np.mean([g[i] > g[j] and new[i] < new[j] for i, j in met])
        assert (better > 0) and (worse > 0)
        assert table["own", scope, "to_right"] == pytest.approx(better)
        assert table["own", scope, "to_wrong"] == pytest.approx(worse)
    changed = table["own", "all", "corrected_auc"] - table["own", "all", "raw_auc"]
    assert table["own", "all", "auc_change"] == pytest.approx(changed)
    assert turned_pairs(scores.drop(columns="typicality")).empty
