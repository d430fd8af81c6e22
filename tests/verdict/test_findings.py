"""The sentence on repairs never claims what was not shown, names what got worse, and picks by its stated rule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accord.damage.result import Damage
from accord.errors import AccordError
from accord.gap.change import Change
from accord.pathway.result import Pathway
from accord.repair.result import RepairRecord
from accord.report.metric import UNKNOWN, Metric
from accord.report.seeds import pooled
from accord.study.run_folder import Run
from accord.verdict.findings import best, finding, rule, share
from accord.verdict.frontier import Mark, draw_frontier, undominated
from accord.verdict.judged import JudgedRepair, JudgedSeed, RepairGroup, alone, judged_repairs
from accord.verdict.result import Answers, Verdict
from accord.verdict.tables import repair_table

FAR = "test-unseen-both"
Ends = tuple[float, float, float]
Trial = Mapping[str, Change]


def interval(*ends: float) -> dict[str, Any]:
    """As results have it: null for what is not defined."""
    return {name: None if math.isnan(end) else end for name, end in zip(("value", "low", "high"), ends, strict=True)}


def changed(before: float, after: Ends) -> Change:
    """A correlation, with the closure that belongs to it."""
    closure = interval(*((r - before) / (1 - before) for r in after))
    change = interval(*(r - before for r in after))
    return Change(interval(before, before - 0.08, before + 0.08), interval(*after), change, closure)


def plain(value: float, change: Ends = (0.0, -0.01, 0.01)) -> Change:
    """A measure that has no closure."""
    sides = (interval(v, v - 0.02, v + 0.02) for v in (value - change[0], value))
    return Change(*sides, interval(*change))


def trial(after: Ends, yes: Ends | None = None, no: Ends | None = None, **measures: Change) -> Trial:
    changes = {
        "pearson_all": changed(0.01, after),
        "pearson_yes": changed(-0.05, yes or after),
        "pearson_no": changed(0.02, no or after),
        "validator_auc": plain(0.85),
        "validator_accuracy": plain(0.8),
        "generator_auc": plain(0.9),
    }
    return changes | measures


def damage(perplexity: float = 1.02, worse: Sequence[str] = (), half: float = 0.01) -> Damage:
    rows = [("text", "perplexity", 30.0, 30.0 * perplexity, perplexity, "ratio", "perplexity" in worse)]
    rows += [("own task", "generator_auc", 0.92, 0.88, -0.04, "difference", "generator_auc" in worse)]
    columns = ["group", "measure", "base", "repaired", "change", "change_is", "worsened"]
    table = pd.DataFrame(rows, columns=columns).assign(n=200, worse_if="higher")
    table = table.assign(low=table["change"] - half, high=table["change"] + half)
    return Damage(table, "", *(pd.DataFrame() for _ in range(3)))


def repair(name: str, trials: Sequence[Mapping[str, Trial]], broke: Damage | None = None) -> JudgedRepair:
    """A repair with a seed for each of `trials`."""
    seeds = []
    for i, changes in enumerate(trials):
        about = {"repair": name, "kind": "", "seed": i, "task": "t", "base": "t", "seconds": 100.0}
        verdict = Verdict(changes, dict.fromkeys(changes, "test items"), dict.fromkeys(changes, 511), {}, about)
        seeds.append(JudgedSeed(f"{name}-s{i}", verdict, damage=broke))
    return JudgedRepair(name, seeds)


def group(*repairs: JudgedRepair) -> RepairGroup:
    return RepairGroup("t", repairs)


def good(name: str, near: float = 0.84, far: float = 0.6, broke: Damage | None = None) -> JudgedRepair:
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


def words_on(*repairs: JudgedRepair) -> str:
    words = finding(group(*repairs))
    text = " | ".join([f"{words.headline}: {words.evidence}", *words.remarks, words.others, words.details])
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_sentence_has_before_after_interval_items_seeds_and_cost() -> None:
    # t(.975, 2) · s / √n of three seeds .01 apart, and the half width that each has over items
    half = math.hypot(4.302652729911275 * 0.01 / math.sqrt(3), 0.02)
    text = words_on(good("rankalign", broke=damage(worse=["perplexity"])))
    assert text.startswith("rankalign closes 84% of the gap, perplexity × 1.020: The two forms now correlate")
    assert f"r = .84 [{0.84 - half:.2f}, {0.84 + half:.2f}]".replace("0.", ".") in text
    assert ", before with .01 (511 test items, 3 seeds)" in text
    assert "Before the repair, r = .01 [−.07, .09] over all items; within right answers now .84 [" in text
    assert "before −.05; within wrong answers now .84 [" in text
    assert "On words that no training item has: r = .60 [.54, .66], closing 60%." in text
    assert "Worse, of 2 measures of damage: perplexity (held-out text) × 1.020" in text


def test_agreement_that_is_only_between_prompts_is_said() -> None:
    words = "Among the answers to one prompt, the two forms are not shown to agree more"
    r = (0.84, 0.8, 0.88)
    for change, said in (((0.02, -0.05, 0.09), True), ((0.12, 0.05, 0.19), False), ((0.3, math.nan, math.nan), False)):
        text = words_on(repair("a", [{"test": trial(r, within_pearson=plain(0.3, change))}]))
        assert (words in text) == said
        assert not said or "(r .30 [.28, .32], before .28): over all items it also counts" in text
    assert words not in words_on(repair("a", [{"test": trial(r)}]))
    only = (
        "Among the answers to one prompt, the two forms do agree more than before, though (r .30 [.28, .32], before .1"
    )
    for change, said in (((0.02, -0.05, 0.09), False), ((0.15, 0.05, 0.25), True)):
        text = words_on(repair("a", [{"test": trial((0.02, -0.1, 0.1), within_pearson=plain(0.3, change))}]))
        assert words not in text and (only in text) == said


def test_no_claim_where_the_interval_includes_nothing() -> None:
    """Neither where items explain it, nor where seeds do, nor where one seed fails, nor without an interval."""
    items = repair("a", [{"test": trial((0.05, -0.03, 0.13))}])
    seeds = repair("a", [{"test": trial((r, r - 0.02, r + 0.02))} for r in (0.1, 0.5, 0.9)])
    one_fails = repair("a", [{"test": trial((0.5, 0.5 - w, 0.5 + w))} for w in (0.02, 0.6, 0.02)])
    unknown = repair("a", [{"test": trial((0.5, math.nan, math.nan))}])
    for uncertain, why in (
        (items, "which chance can explain"), (seeds, "which chance can explain"),
        (one_fails, "which not every seed shows beyond chance"), (unknown, "without an interval nobody can say"),
    ):  # fmt: skip
        text = words_on(uncertain)
        assert text.startswith("The repair is not shown to close the gap: It takes the correlation")
        assert "closes" not in text
        assert why in text
    worse = repair("a", [{"test": trial((-0.5, -0.6, -0.4))}])
    assert "it widens the gap" in words_on(worse)
    better = repair("a", [{"test": trial((0.05, -0.03, 0.13), validator_accuracy=plain(0.8, (0.2, 0.1, 0.3)))}])
    assert "Its yes or no is right more often than before, though: .80 [.78, .82]" in words_on(better)
    assert "more often" not in words_on(items)
    assert words_on(items, worse).startswith("None of 2 repairs is shown to close the gap: a takes")


def test_what_does_not_carry_over_is_said() -> None:
    text = words_on(repair("a", [{"test": trial((0.8, 0.77, 0.83)), FAR: trial((0.1, -0.1, 0.3))}]))
    assert text.startswith("a closes 80% of the gap, at a cost not measured")
    assert "On words that no training item has the gap is not shown to close (r = .10 [−.10, .30], closure .09" in text
    assert "What it broke was not measured." in text


def test_inflation_threshold_generator_and_budget_are_remarked() -> None:
    near = trial(
        (0.8, 0.77, 0.83), yes=(0.3, 0.2, 0.4), no=(0.1, -0.02, 0.2),
        validator_accuracy=plain(0.6), generator_auc=plain(0.8, (-0.1, -0.12, -0.08)),
    )  # fmt: skip
    text = words_on(repair("a", [{"test": near}], damage(1.4)))
    assert "only right and wrong lying apart" in text
    assert "Among wrong answers alone, the gap is not shown to close." in text
    assert "orders the items with AUC .85, but says yes or no rightly to only 60%" in text
    assert "less well than before: AUC −.10 [−.12, −.08]" in text
    assert "beyond the budget of × 1.05" in text
    calm = words_on(good("a", broke=damage(1.01)))
    for words in ("lying apart", "Among", "threshold", "less well", "beyond the budget"):
        assert words not in calm
    assert "Of 2 measures of damage none is clearly worse." in calm


def test_the_rule_names_only_what_it_had_to_choose_from() -> None:
    weak = repair("a", [{"test": trial((0.05, -0.03, 0.13))}])
    costly = repair("b", [{"test": trial((0.04, -0.03, 0.13))}], damage(1.5))
    assert rule(group(weak)).startswith(
        "No repair is shown to close the gap on test items. Named first: of those that keep"
    )
    assert "none keeping perplexity" in rule(group(costly)) and "no repair keeps to it" in words_on(costly)
    assert "that close the gap" not in rule(group(weak, costly)) + words_on(costly)
    closing = rule(group(good("c", broke=damage(1.5)), weak))
    assert "beyond chance on test items (none keeps perplexity" in closing and "No repair is" not in closing


def test_the_first_is_chosen_by_the_rule() -> None:
    costly = good("costly", 0.95, 0.9, damage(1.3))
    far, near = good("far", 0.7, 0.65, damage()), good("near", 0.9, 0.5, damage())
    vain = repair("vain", [{"test": trial((0.9, -0.1, 1.0)), FAR: trial((0.99, 0.98, 1.0))}], damage())
    assert best(group(near, costly, vain, far)) is far
    assert best(group(costly, vain)) is costly
    assert "within × 1.05, the one that closes most on words that no training item has" in rule(group(near))
    text = words_on(near, costly, vain, far)
    assert "The other repairs close, on test items: costly 95% (perplexity × 1.30), near 90%" in text
    assert "Not shown to close it: vain." in text
    assert "beyond the budget" in words_on(costly, vain)


def test_near_and_far_are_told_by_the_names_of_the_test_sets() -> None:
    nested = repair("a", [{"task-x": trial((0.5, 0.4, 0.6)), "test-unseen-hypernyms": trial((0.5, 0.4, 0.6))}])
    assert (group(nested).near, group(nested).far) == ("test-unseen-hypernyms", "test-unseen-hypernyms")
    assert (group(good("a")).near, group(good("a")).far) == ("test", FAR)
    other = repair("a", [{"task-x": trial((0.5, 0.4, 0.6))}])
    assert words_on(other).startswith("a closes 49% of the gap")


def leaning(*changes: Ends) -> JudgedRepair:
    """A repair after which the share of yes to other relations is other by these, a seed each."""
    seeds = []
    for seed, (change, low, high) in zip(repair("a", [{"test": trial((0.8, 0.7, 0.9))}] * len(changes)).seeds, changes,
                                        strict=True):  # fmt: skip
        broke = damage()
        more = {
            "group": "relations",
            "measure": "yes_share",
            "base": 0.2,
            "repaired": 0.2 + change,
            "worse_if": "neither",
        }
        row = broke.table.iloc[[1]].assign(change=change, low=low, high=high, worsened=False, **more)
        seeds.append(replace(seed, damage=replace(broke, table=pd.concat([broke.table, row]))))
    return JudgedRepair("a", seeds)


def test_a_yes_to_everything_else_is_remarked() -> None:
    text = (
        "Asked about other relations, it says yes to 80% of the questions, of which half are right; the base model to"
    )
    assert finding(group(leaning((0.6, 0.5, 0.7)))).remarks[0] == f"{text} 20%."
    assert "says yes to 5% of" in words_on(leaning((-0.15, -0.2, -0.1)))
    assert "other relations" not in words_on(leaning((0.1, -0.05, 0.25)))  # chance can explain it
    assert f"{text} 20%." in words_on(leaning((0.59, 0.5, 0.7), (0.6, 0.5, 0.7), (0.61, 0.5, 0.7)))
    assert "other relations" not in words_on(leaning((0.1, 0.05, 0.15), (0.9, 0.8, 1.0)))  # the seeds do not agree
    assert "other relations" not in words_on(good("a", broke=damage()))


def test_without_intervals_of_damage_nothing_is_said_to_be_unharmed() -> None:
    blind = damage()
    blind = replace(blind, table=blind.table.assign(low=math.nan, high=math.nan))
    text = words_on(good("a", broke=blind))
    assert "cannot be said, as damage was measured without intervals" in text
    assert "none is clearly worse" not in text


def test_one_seed_keeps_its_own_interval() -> None:
    assert pooled([Metric(0.5, 0.4, 0.6)]) == (0.5, 0.4, 0.6)
    assert pooled([Metric(0.5, 0.4, 0.6), Metric(0.7, 0.0, 0.9)]).value == pytest.approx(0.6)


def test_means_over_wordings_are_taken_seed_by_seed() -> None:
    values = [[0.2, 0.4], [0.5, 0.9]]
    reworded = repair("a", [{f"generator-{k}": trial((v, v, v)) for k, v in enumerate(row)} for row in values])
    mean = reworded.mean_of(["generator-0", "generator-1"], "pearson_all")
    seeds = [sum(row) / len(row) for row in values]
    half = 12.706204736174694 * np.std(seeds, ddof=1) / math.sqrt(2)
    assert mean == pytest.approx((np.mean(seeds), np.mean(seeds) - half, np.mean(seeds) + half))


def test_the_frontier_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    places = [*rng.random((30, 3)).round(1), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)]
    for asked in (False, True):
        marks = [
            Mark(good(str(i)), Metric(x, x, x), Metric(y, y, y), Metric(z, z, z) if asked else UNKNOWN)
            for i, (x, y, z) in enumerate(places)
        ]
        best = {m.repair.label for m in undominated(marks)}
        for i, (x, y, z) in enumerate(places):
            beaten = False
            for a, b, c in places:
                near, nearer = (abs(z - 0.5), abs(c - 0.5)) if asked else (0, 0)
                no_worse = a <= x and b >= y and nearer <= near
                if no_worse and (a < x or b > y or nearer < near):
                    beaten = True
            assert (str(i) in best) == (not beaten)


def test_the_frontier_shows_how_often_yes_is_said() -> None:
    yes = replace(leaning((0.2, 0.1, 0.3)), label="yes")
    other = repair("b", [{"test": trial((0.5, 0.4, 0.6))}], damage())
    drawn = draw_frontier(group(yes, other))
    assert drawn is not None and drawn.numbers is not None
    row = drawn.numbers.set_index("repair").loc["yes"]
    assert (row["share of yes"], row["share of yes low"]) == pytest.approx((0.4, 0.3))
    assert len(drawn.figure.axes) == 2 and "yes to 40%" in drawn.title and "dotted: the base model" in drawn.caption
    alone = draw_frontier(group(other))
    assert alone is not None and alone.numbers is not None
    assert len(alone.figure.axes) == 1 and "share of yes" not in alone.numbers
    assert "yes" not in alone.caption


@pytest.mark.parametrize(
    ("value", "text"), [(0.996, "99%"), (1.0, "100%"), (-0.001, "0%"), (-0.12, "−12%"), (math.nan, "an unknown share")]
)
def test_shares_are_not_rounded_up_to_all(value: float, text: str) -> None:
    assert share(value) == text


def test_a_clear_loss_is_marked_in_words_and_empty_columns_are_left_out(tmp_path: Path) -> None:
    near = trial((-0.4, -0.5, -0.3))
    table = repair_table(group(repair("a", [{"test": near}])), Run(tmp_path))
    labels = [t.label for t in table["terms"]]
    assert "Perplexity ×" not in labels and "r, unseen words" not in labels
    row = dict(zip(labels, table["rows"][0]["cells"], strict=True))
    assert row["r, all"] == {"value": "−.40", "interval": "[−.50,\N{NO-BREAK SPACE}−.30]", "note": "▾ worse"}
    assert row["Validator AUC"]["note"] == ""
    assert row["Generator AUC, change"] == {"value": ".000", "interval": "[−.010,\N{NO-BREAK SPACE}.010]", "note": ""}
    assert dict(zip(labels, table["base"], strict=True))["r, all"]["value"] == ".01"


def test_what_was_not_measured_is_not_a_number() -> None:
    near, odd = trial((0.5, 0.4, 0.6)), {"pearson_all": changed(0.1, (0.3, 0.2, 0.4))}
    one = repair("a", [{"test": near, "task-x": odd}])
    assert one.metric("test", "pearson_all") == (0.5, 0.4, 0.6)
    assert one.metric("test", "pearson_all", "change") == pytest.approx((0.49, 0.39, 0.59))
    assert one.metric("test", "pearson_all", "closure") == pytest.approx((0.49 / 0.99, 0.39 / 0.99, 0.59 / 0.99))
    assert one.before("task-x", "pearson_all") == pytest.approx((0.1, 0.02, 0.18))
    for metric in (
        one.metric("test", "validator_auc", "closure"), one.metric("nowhere", "pearson_all"),
        one.metric("task-x", "validator_auc"), one.before("nowhere", "pearson_all"),
        one.mean_of(["nowhere"], "pearson_all"),
    ):  # fmt: skip
        assert not metric.known
    assert (one.n("test"), one.n("nowhere")) == (511, 0)
    assert not one.closes("nowhere") and not one.closes("test", "validator_auc")
    # A trial that one of them lacks does not count in the mean; of one seed there is no interval.
    mean = one.mean_of(["test", "nowhere", "task-x"], "pearson_all")
    assert mean.value == pytest.approx(0.4) and math.isnan(mean.low) and math.isnan(mean.high)
    assert one.mean_of(["test", "task-x"], "pearson_all", "before").value == pytest.approx((0.01 + 0.1) / 2)
    some = repair("a", [{"test": near}, {FAR: trial((0.2, 0.1, 0.3))}, {"test": trial((0.7, 0.6, 0.8))}])
    assert [m.value for m in some.each("test", "pearson_all", "after")] == [0.5, 0.7]
    assert some.n(FAR) == 511
    assert some.mean_of(["test", FAR], "pearson_all").value == pytest.approx((0.5 + 0.2 + 0.7) / 3)


def test_the_gap_closes_only_where_every_interval_is_above_nothing() -> None:
    def closes(*lows: float) -> bool:
        sides = {"value": 0.6, "high": 0.7}
        changes = [replace(changed(0.0, (0.6, 0.5, 0.7)), closure={**sides, "low": low}) for low in lows]
        return repair("a", [{"test": {"pearson_all": change}} for change in changes]).closes("test")

    assert closes(0.01) and not closes(0.0) and not closes(-0.01)
    assert closes(0.2, 0.3, 0.01) and not closes(0.2, 0.3, 0.0)


def test_a_repair_of_several_seeds_is_told_by_its_lowest() -> None:
    one, three = repair("a", [{"test": trial((0.5, 0.4, 0.6))}]), good("b", broke=damage())
    two = repair("c", [{"test": trial((0.5, 0.4, 0.6))}] * 2)
    assert (one.first_named, two.first_named, three.first_named) == ("", "seed 0", "seed 0")
    assert three.first is three.seeds[0] and [seed.seed for seed in three.seeds] == [0, 1, 2]
    assert one.damages == [] and len(three.damages) == 3
    assert (three.seconds.value, three.seconds.low, one.seconds.value) == (100.0, 100.0, 100.0)
    assert math.isnan(JudgedSeed("a", replace(one.first.verdict, about={})).seconds)
    about = {**one.first.verdict.about, "kind": "sft\u202e"}
    assert JudgedRepair("a", [JudgedSeed("a", replace(one.first.verdict, about=about))]).kind == "sft"


def test_only_what_has_a_curve_was_trained() -> None:
    seed = good("a").first
    records: list[Any] = [None, SimpleNamespace(curve=None), SimpleNamespace(curve=pd.DataFrame())]
    assert [replace(seed, record=record).trained for record in records] == [False, False, True]


def test_a_verdict_by_itself_is_a_group_of_one() -> None:
    verdict = good("a").first.verdict
    named = replace(verdict, about={**verdict.about, "repair": "mine\u202e", "task": "t\n"})
    for given, label, told in ((named, "", ("t", "mine")), (named, "x", ("t", "x")),
                               (replace(verdict, about={}), "", ("", "the repair"))):  # fmt: skip
        own = alone(given, label) if label else alone(given)
        [one] = own.repairs
        assert (own.task, one.label, [(seed.label, seed.verdict) for seed in one.seeds]) == (*told, [(told[1], given)])


def test_scores_are_given_where_both_sides_have_them_of_the_same_items() -> None:
    table = pd.DataFrame({"generator_prompt": ["a", "b"], "validator_prompt": "v", "answer": "x", "gold": True})
    verdict = replace(repair("a", [{}]).first.verdict, after={"test": table, "more": table})
    base = Answers({"test": table.assign(more=1), FAR: table})
    seed = JudgedSeed("a", verdict, base)
    before, after = seed.scores("test") or (None, None)
    assert before is base.scores["test"] and after is table
    assert seed.scores("more") is seed.scores(FAR) is seed.scores("nowhere") is None
    assert JudgedSeed("a", verdict).scores("test") is None
    with pytest.raises(AccordError, match="not of the same items"):
        JudgedSeed("a", verdict, Answers({"test": table[::-1]})).scores("test")


def test_trials_stand_by_their_distance_whatever_the_order_of_repairs() -> None:
    r = trial((0.5, 0.4, 0.6))
    names = ["task-x", FAR, "validator-true", "test", "generator-plain", "test-unseen-hypernyms"]
    whole = group(repair("a", [dict.fromkeys(names[:2], r)]), repair("b", [{}, dict.fromkeys(names[2:], r)]))
    nested = ["test", "test-unseen-hypernyms", FAR]
    assert list(whole.trials) == [*nested, "task-x", "validator-true", "generator-plain"]
    assert set(whole.trials.values()) == {"test items"}
    assert (whole.near, whole.far) == ("test", FAR)
    assert whole.reworded == ["validator-true", "generator-plain"]


def test_numbers_of_a_verdict_are_named_by_trial_measure_and_side() -> None:
    verdict = replace(good("a").first.verdict, n={"test": 511, FAR: 60})
    metrics = verdict.metrics
    assert metrics[f"{FAR}/pearson_all/after"] == {**verdict.changes[FAR]["pearson_all"].after, "n": 60}
    assert metrics["test/pearson_all/closure"] == {**(verdict.changes["test"]["pearson_all"].closure or {}), "n": 511}
    assert "test/validator_auc/change" in metrics and "test/validator_auc/closure" not in metrics
    assert len(metrics) == sum(4 if change.closure else 3 for _, _, change in verdict.rows())
    assert verdict.measures()[f"{FAR}: pearson_all"] == verdict.changes[FAR]["pearson_all"].after
    assert verdict.measures()["test: pearson_all, closed"] == verdict.changes["test"]["pearson_all"].closure
    assert "test: validator_auc, closed" not in verdict.measures()
    assert verdict.headline() == "closed 0.83 [0.81, 0.85] on test items; r 0.01 to 0.83"
    without = {"a": {}, "b": {"pearson_all": plain(0.5)}}
    assert replace(verdict, changes=without).headline() == ""
    assert replace(verdict, changes=without | dict(verdict.changes)).headline() == verdict.headline()


def test_repairs_are_grouped_by_what_they_are_compared_with_seeds_in_their_order() -> None:
    def verdict(title: str, seed: int, base: str, task: str = "t") -> Verdict:
        return replace(
            repair(title, [{}]).first.verdict, about={"repair": title, "seed": seed, "base": base, "task": task}
        )

    verdicts = {
        "b-s1": verdict("b\n", 1, "x"), "a-s0": verdict("a", 0, "x"), "b-s0": verdict("b\n", 0, "x"),
        "c-s0": verdict("c", 0, "y"), "d-s0": verdict("d", 0, "x", "u"), "own": replace(verdict("e", 0, "x"), about={}),
    }  # fmt: skip
    held: dict[Any, dict[str, Any]] = {
        RepairRecord: {"a-s0": "made a", "b-s1": "made b", "other": "no verdict"},
        Answers: {"x": "answers x"},
        Damage: {"b-s0": "broke b"},
        Pathway: {"c-s0": "where c"},
        Verdict: verdicts,
    }
    groups = judged_repairs(SimpleNamespace(of=held.__getitem__))  # type: ignore[arg-type]
    told = [(g.task, [(r.label, [s.label for s in r.seeds]) for r in g.repairs]) for g in groups]
    assert told == [
        ("t", [("a", ["a-s0"]), ("b", ["b-s0", "b-s1"])]),
        ("t", [("c", ["c-s0"])]),
        ("u", [("d", ["d-s0"])]),
    ]
    first, last = groups[0].repairs[1].seeds
    assert (first.verdict, first.base, first.record, first.damage) == (verdicts["b-s0"], "answers x", None, "broke b")
    assert (last.verdict, last.record, last.damage, last.pathway) == (verdicts["b-s1"], "made b", None, None)
    other = groups[1].repairs[0].first
    assert (other.base, other.pathway) == (None, "where c")
