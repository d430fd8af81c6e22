"""The sentence on repairs never claims what was not shown, names what got worse, and picks by its stated rule."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accord.report.data import UNKNOWN, Metric
from accord.report.draw_damage import undominated
from accord.report.repair_data import Changed, Repaired, Trial
from accord.report.repair_groups import Repair, furthest, nearest, pooled, ratio, shifted
from accord.report.repair_parts import Damage
from accord.report.repair_tables import damage_table, method_table
from accord.report.repair_verdict import best, factor, finding, rule, share, worsened

FAR = "test-unseen-both"
Ends = tuple[float, float, float]


def changed(before: float, after: Ends) -> Changed:
    """A correlation, with the closure that belongs to it."""
    closure = Metric(*((r - before) / (1 - before) for r in after))
    change = Metric(*(r - before for r in after))
    return Changed(Metric(before, before - 0.08, before + 0.08), Metric(*after), change, closure)


def plain(value: float, change: Ends = (0.0, -0.01, 0.01)) -> Changed:
    before = Metric(value - change[0], value - change[0] - 0.02, value - change[0] + 0.02)
    return Changed(before, Metric(value, value - 0.02, value + 0.02), Metric(*change), UNKNOWN)


def trial(after: Ends, yes: Ends | None = None, no: Ends | None = None, **measures: Changed) -> Trial:
    changes = {
        "pearson_all": changed(0.01, after),
        "pearson_yes": changed(-0.05, yes or after),
        "pearson_no": changed(0.02, no or after),
        "validator_auc": plain(0.85),
        "validator_accuracy": plain(0.8),
        "generator_auc": plain(0.9),
    }
    return Trial("test items", 511, changes | measures)


def damage(perplexity: float = 1.02, worse: Sequence[str] = (), half: float = 0.01) -> Damage:
    rows = [("text", "perplexity", 30.0, 30.0 * perplexity, perplexity, True, "perplexity" in worse)]
    rows += [("own task", "generator_auc", 0.92, 0.88, -0.04, False, "generator_auc" in worse)]
    columns = ["group", "measure", "base", "repaired", "change", "ratio", "worsened"]
    table = pd.DataFrame(rows, columns=columns).assign(n=200, worse_if="higher")
    return Damage(Path(), "", table.assign(low=table["change"] - half, high=table["change"] + half), pd.DataFrame())


def repair(name: str, trials: Sequence[dict[str, Trial]], broke: Damage | None = None, kind: str = "") -> Repair:
    """A repair with a seed for each of `trials`."""
    seeds = [
        Repaired(Path(f"run/verdict/{name}-s{i}"), name, kind, i, "base-t", "t", 100.0, t, broke, None, None, {})
        for i, t in enumerate(trials)
    ]
    return Repair(name, seeds)


def good(name: str, near: float = 0.84, far: float = 0.6, broke: Damage | None = None) -> Repair:
    """Three seeds, close together."""
    return repair(
        name,
        [
            {
                "test": trial((near + d, near + d - 0.02, near + d + 0.02)),
                FAR: trial((far + d, far + d - 0.05, far + d + 0.05)),
            }
            for d in (-0.01, 0.0, 0.01)
        ],
        broke,
    )


def said(*repairs: Repair) -> str:
    found = finding(repairs)
    text = " | ".join([f"{found.headline}: {found.evidence}", *found.remarks, found.others, found.details])
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_sentence_has_before_after_interval_items_seeds_and_cost() -> None:
    # t(.975, 2) · s / √n of three seeds .01 apart, and the half width that each has over items
    half = math.hypot(4.302652729911275 * 0.01 / math.sqrt(3), 0.02)
    text = said(good("rankalign", broke=damage(worse=["perplexity"])))
    assert text.startswith("rankalign closes 84% of the gap, perplexity × 1.020: The two forms now correlate")
    assert f"r = .84 [{0.84 - half:.2f}, {0.84 + half:.2f}]".replace("0.", ".") in text
    assert ", before with .01 (511 test items, 3 seeds)" in text
    assert "Before the repair, r = .01 [−.07, .09] over all items; within right answers now .84 [" in text
    assert "before −.05; within wrong answers now .84 [" in text
    assert "On words that no training item has: r = .60 [.54, .66], closing 60%." in text
    assert "Worse, of 2 measures of damage: perplexity (held-out text) × 1.020" in text


def test_no_claim_where_the_interval_includes_nothing() -> None:
    """Neither where items explain it, nor where seeds do, nor where one seed fails, nor without an interval."""
    items = repair("a", [{"test": trial((0.05, -0.03, 0.13))}])
    seeds = repair("a", [{"test": trial((r, r - 0.02, r + 0.02))} for r in (0.1, 0.5, 0.9)])
    one_fails = repair("a", [{"test": trial((0.5, 0.5 - w, 0.5 + w))} for w in (0.02, 0.6, 0.02)])
    unknown = repair("a", [{"test": trial((0.5, math.nan, math.nan))}])
    for found, why in (
        (items, "which chance can explain"), (seeds, "which chance can explain"),
        (one_fails, "which not every seed shows beyond chance"), (unknown, "without an interval nobody can say"),
    ):  # fmt: skip
        text = said(found)
        assert text.startswith("The repair is not shown to close the gap: It takes the correlation")
        assert "closes" not in text
        assert why in text
    worse = repair("a", [{"test": trial((-0.5, -0.6, -0.4))}])
    assert "it widens the gap" in said(worse)
    better = repair("a", [{"test": trial((0.05, -0.03, 0.13), validator_accuracy=plain(0.8, (0.2, 0.1, 0.3)))}])
    assert "Its yes or no is right more often than before, though: .80 [.78, .82]" in said(better)
    assert "more often" not in said(items)
    assert said(items, worse).startswith("None of 2 repairs is shown to close the gap: a takes")


def test_what_does_not_carry_over_is_said() -> None:
    text = said(repair("a", [{"test": trial((0.8, 0.77, 0.83)), FAR: trial((0.1, -0.1, 0.3))}]))
    assert text.startswith("a closes 80% of the gap, at a cost not measured")
    assert "On words that no training item has the gap is not shown to close (r = .10 [−.10, .30], closure .09" in text
    assert "What it broke was not measured." in text


def test_inflation_threshold_generator_and_budget_are_remarked() -> None:
    near = trial(
        (0.8, 0.77, 0.83), yes=(0.3, 0.2, 0.4), no=(0.1, -0.02, 0.2),
        validator_accuracy=plain(0.6), generator_auc=plain(0.8, (-0.1, -0.12, -0.08)),
    )  # fmt: skip
    text = said(repair("a", [{"test": near}], damage(1.4)))
    assert "only right and wrong lying apart" in text
    assert "Among wrong answers alone, the gap is not shown to close." in text
    assert "orders the items with AUC .85, but says yes or no rightly to only 60%" in text
    assert "less well than before: AUC −.10 [−.12, −.08]" in text
    assert "beyond the budget of × 1.05" in text
    calm = said(good("a", broke=damage(1.01)))
    for words in ("lying apart", "Among", "threshold", "less well", "beyond the budget"):
        assert words not in calm
    assert "Of 2 measures of damage none is clearly worse." in calm


def test_the_first_is_chosen_by_the_rule() -> None:
    costly = good("costly", 0.95, 0.9, damage(1.3))
    far, near = good("far", 0.7, 0.65, damage()), good("near", 0.9, 0.5, damage())
    vain = repair("vain", [{"test": trial((0.9, -0.1, 1.0)), FAR: trial((0.99, 0.98, 1.0))}], damage())
    assert best([near, costly, vain, far]) is far
    assert best([costly, vain]) is costly
    assert "within × 1.05, the one that closes most on words that no training item has" in rule([near])
    text = said(near, costly, vain, far)
    assert "The other repairs close, on test items: costly 95% (perplexity × 1.30), near 90%" in text
    assert "Not shown to close it: vain." in text
    assert "beyond the budget" in said(costly, vain)


def test_near_and_far_are_told_by_the_names_of_the_test_sets() -> None:
    one = repair("a", [{"task-x": trial((0.5, 0.4, 0.6)), "test-unseen-hypernyms": trial((0.5, 0.4, 0.6))}])
    assert (nearest([one]), furthest([one])) == ("test-unseen-hypernyms", "test-unseen-hypernyms")
    assert (nearest([good("a")]), furthest([good("a")])) == ("test", FAR)
    other = repair("a", [{"task-x": trial((0.5, 0.4, 0.6))}])
    assert said(other).startswith("a closes 49% of the gap")


def test_worsened_in_half_of_the_seeds_counts() -> None:
    trials = [{"test": trial((0.8, 0.7, 0.9))}] * 3
    one = repair("a", trials)
    told = [damage(worse=worse) for worse in ([], ["perplexity"], ["perplexity", "generator_auc"])]
    seeds = [Repaired(**{**vars(s), "damage": d}) for s, d in zip(one.seeds, told, strict=True)]
    text = worsened(Repair("a", seeds))
    assert len(text) == 1 and text[0].startswith("perplexity (held-out text) × 1.020")
    table = damage_table(Repair("a", seeds))
    told_rows = [(row["verdict"], row["in_seeds"]) for row in table["rows"]]
    assert told_rows == [("worse", "in 2 of 3 seeds"), ("", "in 1 of 3 seeds")]
    assert (table["worse"], table["of"]) == (1, 2)


def test_distance_and_single_relations_are_no_harm() -> None:
    """They are in the table, but any repair at all moves a model, and of many relations some get worse by chance."""
    found = damage(worse=[])
    first = found.table.iloc[[0]]
    rows = [("text", "kl_base_repaired"), ("relations", "validator_same_top"), ("relations: synonym", "yes_beats_no")]
    more = [first.assign(group=g, measure=m, worsened=True) for g, m in rows]
    more[:2] = [one.assign(worse_if="distance", worsened=False, low=0.01, high=0.03) for one in more[:2]]
    neutral = first.assign(group="relations", measure="yes_share", worse_if="neither")
    one = repair(
        "a", [{"test": trial((0.8, 0.7, 0.9))}], replace(found, table=pd.concat([found.table, *more, neutral]))
    )
    assert worsened(one) == []
    assert "Of 2 measures of damage none is clearly worse." in said(one)
    table = damage_table(one)
    assert [row["verdict"] for row in table["rows"]] == ["", "", "moved", "moved", "neutral"]
    assert [row["verdict"] for row in table["more"]] == ["worse"]


def leaning(*changes: tuple[float, float, float]) -> Repair:
    """A repair after which the share of yes to other relations is other by these, a seed each."""
    seeds = []
    for one, (change, low, high) in zip(repair("a", [{"test": trial((0.8, 0.7, 0.9))}] * len(changes)).seeds, changes,
                                        strict=True):  # fmt: skip
        told = damage()
        more = {
            "group": "relations",
            "measure": "yes_share",
            "base": 0.2,
            "repaired": 0.2 + change,
            "worse_if": "neither",
        }
        row = told.table.iloc[[1]].assign(change=change, low=low, high=high, worsened=False, **more)
        seeds.append(replace(one, damage=replace(told, table=pd.concat([told.table, row]))))
    return Repair("a", seeds)


def test_a_yes_to_everything_else_is_remarked() -> None:
    text = (
        "Asked about other relations, it says yes to 80% of the questions, of which half are right; the base model to"
    )
    assert finding([leaning((0.6, 0.5, 0.7))]).remarks[0] == f"{text} 20%."
    assert "says yes to 5% of" in said(leaning((-0.15, -0.2, -0.1)))
    assert "other relations" not in said(leaning((0.1, -0.05, 0.25)))  # chance can explain it
    assert f"{text} 20%." in said(leaning((0.59, 0.5, 0.7), (0.6, 0.5, 0.7), (0.61, 0.5, 0.7)))
    assert "other relations" not in said(leaning((0.1, 0.05, 0.15), (0.9, 0.8, 1.0)))  # the seeds do not agree
    assert "other relations" not in said(good("a", broke=damage()))


def test_without_intervals_of_damage_nothing_is_said_to_be_unharmed() -> None:
    blind = damage()
    blind = replace(blind, table=blind.table.assign(low=math.nan, high=math.nan))
    text = said(good("a", broke=blind))
    assert "cannot be said, as damage was measured without intervals" in text
    assert "none is clearly worse" not in text


def test_numbers_of_damage_in_either_form() -> None:
    as_ratio = pd.Series({"base": 30.0, "repaired": 33.0, "change": 1.1, "low": 1.05, "high": 1.15, "ratio": True})
    difference = pd.Series({"base": 30.0, "repaired": 33.0, "change": 3.0, "low": 1.5, "high": 4.5, "ratio": False})
    assert ratio(as_ratio) == pytest.approx(ratio(difference))
    assert shifted(difference) == pytest.approx((33.0, 31.5, 34.5))
    assert not ratio(difference.replace({30.0: 0.0})).known
    assert pooled([Metric(0.5, 0.4, 0.6)]) == (0.5, 0.4, 0.6)
    assert pooled([Metric(0.5, 0.4, 0.6), Metric(0.7, 0.0, 0.9)]).value == pytest.approx(0.6)


def test_means_over_wordings_are_taken_seed_by_seed() -> None:
    values = [[0.2, 0.4], [0.5, 0.9]]
    one = repair("a", [{f"generator-{k}": trial((v, v, v)) for k, v in enumerate(row)} for row in values])
    found = one.mean_of(["generator-0", "generator-1"], "pearson_all")
    seeds = [sum(row) / len(row) for row in values]
    half = 12.706204736174694 * np.std(seeds, ddof=1) / math.sqrt(2)
    assert found == pytest.approx((np.mean(seeds), np.mean(seeds) - half, np.mean(seeds) + half))


def test_the_frontier_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    places = [*rng.random((30, 2)).round(1), (0.5, 0.5), (0.5, 0.5)]
    marks = [(good(str(i)), Metric(x, x, x), Metric(y, y, y)) for i, (x, y) in enumerate(places)]
    kept = {m[0].label for m in undominated(marks)}
    for i, (x, y) in enumerate(places):
        beaten = False
        for a, b in places:
            if (a <= x and b > y) or (a < x and b >= y):
                beaten = True
        assert (str(i) in kept) == (not beaten)


@pytest.mark.parametrize(
    ("value", "text"), [(0.996, "99%"), (1.0, "100%"), (-0.001, "0%"), (-0.12, "−12%"), (math.nan, "an unknown share")]
)
def test_shares_are_not_rounded_up_to_all(value: float, text: str) -> None:
    assert share(value) == text


def test_factors_have_as_many_digits_as_they_need() -> None:
    assert factor(Metric(1.0042, 1.001, 1.007)) == ("1.004", "[1.001,\N{NO-BREAK SPACE}1.007]")
    assert factor(Metric(1.384, math.nan, math.nan)) == ("1.38", "")
    assert factor(Metric(12345.6, math.nan, math.nan)) == ("12,346", "")


def test_a_clear_loss_is_marked_in_words_and_empty_columns_are_left_out() -> None:
    near = trial((-0.4, -0.5, -0.3))
    table = method_table([repair("a", [{"test": near}])], Path("run"))
    labels = [t.label for t in table["terms"]]
    assert "Perplexity ×" not in labels and "r, unseen words" not in labels
    row = dict(zip(labels, table["rows"][0]["cells"], strict=True))
    assert row["r, all"] == {"value": "−.40", "interval": "[−.50,\N{NO-BREAK SPACE}−.30]", "note": "▾ worse"}
    assert row["Validator AUC"]["note"] == ""
    assert row["Generator AUC, change"] == {"value": ".000", "interval": "[−.010,\N{NO-BREAK SPACE}.010]", "note": ""}
    assert dict(zip(labels, table["base"], strict=True))["r, all"]["value"] == ".01"
