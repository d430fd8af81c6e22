"""Closed forms against scipy and plain loops."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from accord.intervals import (
    auc,
    auc_estimate,
    concordance,
    concordance_estimate,
    correlations,
    difference,
    mean_change,
    mean_estimate,
    pearson,
    pearson_estimate,
    ratio_difference,
    ratio_estimate,
    share_change,
    share_estimate,
    share_of_many,
    spearman_estimate,
)
from accord.intervals.estimate import Estimate, _hall, spread, studentised, transformed
from accord.intervals.families import _critical, simultaneous


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (19, 20), (20, 20), (37, 100)])
def test_a_share_of_one_class_is_wilsons(hits: int, n: int) -> None:
    estimate = share_estimate(np.arange(n) < hits)
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_fixed_classes_narrow_a_share_and_clusters_widen_it() -> None:
    hits = np.r_[np.ones(40), np.zeros(40)]
    whole, classes = share_estimate(hits), share_estimate(hits, [slice(0, 40), slice(40, None)])
    assert classes.high - classes.low < 0.5 * (whole.high - whole.low)
    alike = share_of_many(np.repeat(hits[::4], 1) * 4, np.full(20, 4.0))  # texts whose four tokens agree
    assert alike.high - alike.low > 1.8 * (whole.high - whole.low)


@pytest.mark.parametrize(("changed", "certain"), [(0, False), (5, False), (6, True)])
def test_a_change_of_a_share_is_certain_where_the_exact_test_says_so(changed: int, certain: bool) -> None:
    before, after = np.zeros(100), (np.arange(100) < changed) * 1.0
    estimate = share_change(before, after)
    assert (estimate.low > 0) == certain == (changed > 0 and stats.binomtest(changed, changed).pvalue <= 0.05)
    assert estimate.low < estimate.value < estimate.high
    b, n = changed + 1, 102
    middle, error = (b - 1) / n, math.sqrt(((b + 1) / n - ((b - 1) / n) ** 2) / n)
    assert estimate.high == pytest.approx(middle + 1.959964 * error)


def test_halls_transformation_is_inverted() -> None:
    for t, skew in product((-4.0, -2.0, 0.5, 3.0), (-0.8, -0.1, 0.0, 0.3)):
        assert transformed(_hall(t, skew), skew) == pytest.approx(t)


def test_a_mean_has_students_interval_or_one_moved_by_its_skewness() -> None:
    x = _draw(30)
    x = x - x.mean()
    even = mean_estimate(np.r_[x, -x] + 2)
    half = stats.t.ppf(0.975, 59) * stats.sem(np.r_[x, -x])
    assert (even.low, even.high) == pytest.approx((2 - half, 2 + half))
    skewed = np.exp(2 * _draw(30))
    estimate, student = mean_estimate(skewed), stats.t.interval(0.95, 29, skewed.mean(), stats.sem(skewed))
    assert estimate.low == pytest.approx(student[0]) and estimate.high > student[1] + stats.sem(skewed)
    both = mean_estimate(np.r_[x, x + 5], [slice(0, 30), slice(30, None)])
    assert both.high - both.low < 0.4 * (2 * (mean_estimate(np.r_[x, x + 5]).high - both.value))


def test_pearson_leaves_items_out_one_by_one() -> None:
    x, y = _draw(2, 25)
    classes = [slice(0, 10), slice(10, None)]
    influence = np.array(
        [-24 * np.arctanh(stats.pearsonr(np.delete(x, i), np.delete(y, i)).statistic) for i in range(25)]
    )
    variance = sum(np.var(part, ddof=1) * len(part) for part in (influence[:10], influence[10:])) / 25**2
    error, skew = spread(influence, classes)
    assert error == pytest.approx(math.sqrt(variance))
    r = stats.pearsonr(x, y).statistic
    low, high = studentised(np.arctanh(r), error, skew, stats.t.ppf(0.975, 23))
    estimate = pearson_estimate(x, y, classes)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((r, np.tanh(low), np.tanh(high)))


def _weighted_spearman(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """Of mid distribution functions, items weighted, by plain sums."""
    w = w / w.sum()
    u, v = (
        np.array([sum(w[j] * ((z[j] < z[i]) + 0.5 * (z[j] == z[i])) for j in range(len(z))) for i in range(len(z))])
        for z in (x, y)
    )
    u, v = u - (w * u).sum(), v - (w * v).sum()
    return float((w * u * v).sum() / math.sqrt((w * u * u).sum() * (w * v * v).sum()))


@pytest.mark.parametrize("ties", [False, True])
def test_spearmans_influence_is_what_weight_on_an_item_does(ties: bool) -> None:
    x, y = _draw(2, 14)
    y = y + x
    if ties:
        x, y = x.round(), y.round()
    estimate, step = spearman_estimate(x, y), 1e-6
    assert estimate.value == pytest.approx(stats.spearmanr(x, y).statistic)
    for i in range(14):
        moved = _weighted_spearman(x, y, np.ones(14) + step * 14 * (np.arange(14) == i)) - estimate.value
        assert estimate.influence[i] * (1 - estimate.value**2) == pytest.approx(moved / step, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_concordances_influence_is_what_weight_on_an_item_does(ties: bool) -> None:
    x, y = _draw(2, 14)
    y = y + x
    if ties:
        x, y = x.round(), y.round()
    signs = np.sign(np.subtract.outer(x, x) * np.subtract.outer(y, y))

    def weighted(w: np.ndarray) -> float:
        pairs = np.outer(w, w)
        return float((pairs * (signs > 0)).sum() / (pairs * (signs != 0)).sum())

    estimate, step = concordance_estimate(x, y), 1e-6
    assert estimate.value == pytest.approx(weighted(np.ones(14))) == pytest.approx(float(concordance(x, y)))
    assert estimate.low < estimate.value < estimate.high
    gamma = 2 * estimate.value - 1
    for i in range(14):
        moved = weighted(np.ones(14) + step * 14 * (np.arange(14) == i)) - estimate.value
        assert estimate.influence[i] * (1 - gamma**2) == pytest.approx(2 * moved / step, rel=1e-3, abs=1e-3)


def test_concordance_is_undefined_where_all_is_tied_and_has_no_error_where_all_is_alike() -> None:
    line = np.arange(8.0)
    assert concordance_estimate(line, np.ones(8)).reason == "no pair is ordered by both scores"
    assert concordance_estimate(line, -line).value == 0 and not concordance_estimate(line, -line).known
    assert concordance_estimate(line[:4], line[:4]).reason == "4 items: an interval takes 5"


def test_auc_has_delongs_variance_of_plain_loops() -> None:
    values = _draw(30).round(1)
    values[:10] += 1
    yes, no = values[:10], values[10:]
    above = np.array([[(a > b) + 0.5 * (a == b) for b in no] for a in yes])
    area = above.mean()
    variance = above.mean(1).var(ddof=1) / 10 + above.mean(0).var(ddof=1) / 20
    estimate = auc_estimate(values, 10)
    assert estimate.value == pytest.approx(area) == pytest.approx(float(auc(values, 10)))
    error, _ = spread(estimate.influence, [slice(0, 10), slice(10, None)])
    assert error == pytest.approx(math.sqrt(variance))

    def says(a: float) -> float:
        k = 30 / 2 - 1
        return a * (1 - a) * (1 + k * (1 - a) / (2 - a) + k * a / (1 + a)) / 200

    trust = min(area, 1 - area) * 10
    ratio = variance / says(area)
    scale = max(ratio, ratio ** (trust / (trust + 1)))
    for end in (estimate.low, estimate.high):
        assert abs(area - end) == pytest.approx(stats.t.ppf(0.975, 28) * math.sqrt(scale * says(end)))


def test_perfect_auc_has_a_width_and_pairs_move_together() -> None:
    perfect = auc_estimate(np.r_[np.arange(10.0) + 20, np.arange(10.0)], 10)
    assert (perfect.value, perfect.high) == (1.0, 1.0) and 0.7 < perfect.low < 0.95
    own = 3 * _draw(40)
    facts = np.r_[own + _draw(40, seed=1) + 1, own + _draw(40, seed=2)]
    paired, apart = auc_estimate(facts, 40, pairs=True), auc_estimate(facts, 40)
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)


def test_a_difference_is_that_of_its_intervals_and_their_correlation() -> None:
    x = _draw(50)
    before, after = Estimate(0.5, 0.4, 0.7, influence=x), Estimate(0.8, 0.7, 0.85, influence=_draw(50, seed=1))
    rho = float(np.corrcoef(before.influence, after.influence)[0, 1])
    estimate = difference(before, after)
    assert estimate.low == pytest.approx(0.3 - math.sqrt(0.1**2 + 0.2**2 - 2 * rho * 0.1 * 0.2))
    assert estimate.high == pytest.approx(0.3 + math.sqrt(0.05**2 + 0.1**2 - 2 * rho * 0.05 * 0.1))
    assert difference(before, Estimate(0.9, reason="why")).interval() == {
        "value": pytest.approx(0.4), "low": None, "high": None, "reason": "why",
    }  # fmt: skip


def test_ratios_are_jackknifed() -> None:
    top, bottom = _draw(2, 12) + 5
    left_out = np.array([np.delete(top, i).sum() / np.delete(bottom, i).sum() for i in range(12)])
    error = math.sqrt(11 / 12 * ((left_out - left_out.mean()) ** 2).sum())
    estimate = ratio_estimate(top, bottom)
    assert spread(estimate.influence)[0] == pytest.approx(error)
    assert estimate.low < estimate.value - 2 * error and estimate.high > estimate.value + 2 * error
    change = ratio_difference((top, bottom), (top + 0.5 * bottom, bottom))
    assert (change.value, change.low, change.high) == pytest.approx((0.5, 0.5, 0.5))


def test_where_nothing_is_known_there_is_a_reason_and_no_interval() -> None:
    few = share_estimate(np.ones(1))
    assert few.interval() == {"value": 1.0, "low": None, "high": None, "reason": "1 item: an interval takes 5"}
    few = np.array([40.0, 50.0, 60.0, 45.0, 2000.0])
    assert mean_estimate(few).low < 1 == mean_estimate(few, least=1.0).low
    assert mean_estimate(few + 900, least=1.0) == mean_estimate(few + 900)
    assert mean_estimate(np.full(9, 3.0)).reason == "every value is the same"
    assert mean_estimate(np.full(9, 1.0), unit=True).low == pytest.approx(
        stats.binomtest(9, 9).proportion_ci(method="wilson").low
    )
    assert mean_change(np.full(9, 0.3), np.full(9, 0.3), unit=True).low < 0
    assert "gold class" in auc_estimate(_draw(9), 2).reason
    assert "one line" in pearson_estimate(np.arange(9.0), 3 - np.arange(9.0)).reason


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 1e200])
def test_constant_scores_have_no_correlation_whatever_their_size(scale: float) -> None:
    y = _draw(150)
    for constant in np.random.default_rng(0).uniform(-100, 100, 36):
        assert np.isnan(pearson(np.full(150, constant * scale), y))
        assert pearson_estimate(y, np.full(150, constant * scale)).interval()["reason"] == "the scores are all the same"
    assert float(pearson(scale * y, scale * (y + 1e3))) == pytest.approx(1)


def test_simultaneous_intervals_are_by_random_signs_of_whole_rows() -> None:
    changes = _draw(60, 5) + np.array([1.0, 0, 0, 0, 0])
    low, high, reason = simultaneous(changes, seed=2, flips=300)
    assert list(reason) == [""] * 5 and low[0] > 0 and (low[1:] < 0).all() and (high[1:] > 0).all()
    quantile, rng, largest = _critical(changes, 2, 300), np.random.default_rng(2), []
    signs = np.concatenate([rng.integers(0, 2, (250, 60)), rng.integers(0, 2, (50, 60))]) * 2 - 1
    for sign in signs:
        flipped = changes * sign[:, None]
        statistics = []
        for column in flipped.T:
            t, k = stats.ttest_1samp(column, 0).statistic, ((column - column.mean()) ** 3).sum()
            skew = k / ((column - column.mean()) ** 2).sum() ** 1.5
            other = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6
            statistics.append(min(abs(t), abs(other)) if t * other > 0 else 0.0)
        largest.append(max(statistics))
    assert quantile == pytest.approx(sorted(largest)[math.ceil(0.95 * 301) - 1])


def test_rare_and_skewed_changes_have_no_simultaneous_interval() -> None:
    rng = np.random.default_rng(0)
    rare = np.c_[_draw(80, 3), (np.arange(80) < 9) * 1.0]
    low, _, reason = simultaneous(rare, 0, 200)
    assert reason[3] == "changed on fewer than 10 items" and np.isnan(low[3]) and not np.isnan(low[:3]).any()
    low, _, reason = simultaneous(rng.exponential(1, (20, 64)) - 1, 0, 200)
    assert set(reason) == {"too skewed for so few items"} and np.isnan(low).all()
    assert np.isnan(simultaneous(_draw(50, 3), 0, 0)[0]).all()


@pytest.mark.parametrize("levels", [5, 40, 10**9])
def test_pairs_of_many_items_are_counted_as_pair_by_pair(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few levels most are ties; with many none is."""
    for n in (2, 3, 7, 64, 301):
        rng = np.random.default_rng(n)
        x, y = rng.integers(0, levels, (2, n)).astype(float)
        plain = correlations._ordered_pairs(x, y) if n <= correlations._PAIRWISE else None
        signs = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
        monkeypatch.setattr(correlations, "_PAIRWISE", 0)
        found = correlations._ordered_pairs(x, y)
        monkeypatch.undo()
        for own, want in zip(found, ((signs > 0).sum(-1), (signs != 0).sum(-1)), strict=True):
            assert own.tolist() == want.tolist()
        assert plain is None or all(a.tolist() == b.tolist() for a, b in zip(found, plain, strict=True))
