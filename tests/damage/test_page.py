"""What a repair broke, in words: what counts as worse, over seeds and groups; and the texts beside each other."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accord.damage.changes import Changes
from accord.damage.over_seeds import factor, harms, perplexity, specificity, worsened
from accord.damage.page import damage_shown
from accord.damage.result import FREE_COLUMNS, Damage
from accord.intervals import Estimate
from accord.report.metric import Metric
from accord.study.run_folder import Run
from tests.report.run_folder import publish_result
from tests.verdict.repaired_run import MADE, make_damage

NONE = pd.DataFrame(columns=FREE_COLUMNS)


def damage(*rows: tuple[str, str, str, float, float], free: pd.DataFrame = NONE) -> Damage:
    """(group, measure, worse_if, change, half width) of each row, and the perplexity and AUC that are always there."""
    changes = Changes(0, 1000)
    for group, measure, worse, change, half in rows:
        estimate, ratio = Estimate(change, change - half, change + half), measure == "perplexity"
        sides = 30.0, 30.0 * change if ratio else 30.0 + change
        changes.add(group, measure, sides, estimate, 200, worse, ratio=ratio)  # type: ignore[arg-type]
    return Damage(changes.table(), "a sentence", pd.DataFrame(), pd.DataFrame(), free)


def both(*worse: str) -> Damage:
    """Perplexity × 1.02 and AUC −.04, each beyond chance if it is named."""
    halves = [0.01 if name in worse else 0.1 for name in ("perplexity", "generator_auc")]
    return damage(
        ("text", "perplexity", "higher", 1.02, halves[0]), ("own task", "generator_auc", "lower", -0.04, halves[1])
    )


def test_worsened_in_half_of_the_seeds_counts() -> None:
    seeds = [both(), both("perplexity"), both("perplexity", "generator_auc")]
    (text,) = worsened(seeds)
    assert text.startswith("perplexity (held-out text) × 1.020")
    (block,) = damage_shown({"a": dict(enumerate(seeds))}, "a")["blocks"]
    assert [(row["verdict"], row["in_seeds"]) for row in block["rows"]] == [
        ("worse", "in 2 of 3 seeds"),
        ("", "in 1 of 3 seeds"),
    ]
    assert (block["worse"], block["of"], block["of_seed"]) == (1, 2, "seed 0")


def test_distance_and_single_relations_are_no_harm() -> None:
    """They are in the table, but any repair at all moves a model, and of many relations some get worse by chance."""
    result = damage(
        ("text", "perplexity", "higher", 1.0, 0.1),
        ("text", "kl_base_repaired", "distance", 0.02, 0.01),
        ("relations", "validator_same_top", "distance", -0.02, 0.01),
        ("relations", "yes_share", "neither", 0.3, 0.01),
        ("relations: synonym", "yes_beats_no", "lower", -0.2, 0.1),
    )
    assert worsened([result]) == [] and [len(table) for table in harms([result])] == [1]
    (block,) = damage_shown({"a": {0: result}}, "a")["blocks"]
    assert [row["verdict"] for row in block["rows"]] == ["", "moved", "moved", "neutral"]
    assert [row["verdict"] for row in block["more"]] == ["worse"]
    assert [row["group"] for row in block["more"]] == ["relations: synonym"]


def test_one_of_each_group_is_told_before_any_second_one() -> None:
    result = damage(
        ("text", "perplexity", "higher", 1.2, 0.1), ("text", "perplexity_per_text", "higher", 0.2, 0.1),
        ("own task", "generator_auc", "lower", -0.2, 0.1),
    )  # fmt: skip
    assert [text.split(" (")[0] for text in worsened([result])] == [
        "perplexity", "generator AUC", "perplexity of a text",
    ]  # fmt: skip


def test_numbers_over_seeds() -> None:
    rows = [("text", "perplexity", "higher", 1.1, 0.05), ("relations", "validator_same_top", "distance", -0.2, 0.1)]
    assert perplexity([damage(*rows)]) == pytest.approx((1.1, 1.05, 1.15))
    assert specificity([damage(*rows)]) == pytest.approx((29.8, 29.7, 29.9))  # around the base's number
    assert not perplexity([]).known and not specificity([both()]).known
    other = damage(("text", "perplexity", "higher", 1.3, 0.05))
    half = math.hypot(12.706204736174694 * np.std([1.1, 1.3], ddof=1) / math.sqrt(2), 0.05)
    assert perplexity([damage(*rows), other]) == pytest.approx((1.2, 1.2 - half, 1.2 + half))


def test_factors_have_as_many_digits_as_they_need() -> None:
    assert factor(Metric(1.0042, 1.001, 1.007)) == ("1.004", "[1.001,\N{NO-BREAK SPACE}1.007]")
    assert factor(Metric(1.384, math.nan, math.nan)) == ("1.38", "")
    assert factor(Metric(12345.6, math.nan, math.nan)) == ("12,346", "")


def test_the_one_that_leads_comes_first_and_every_measure_is_explained(tmp_path: Path) -> None:
    for name in ("rankalign", "readout"):
        publish_result(tmp_path, "damage", f"{name}-s0", make_damage(MADE[name], 0))
    damages = Run(tmp_path).of(Damage)
    values = damage_shown({name: {0: damages[f"{name}-s0"], 1: None} for name in ("rankalign", "readout")}, "readout")
    assert [block["label"] for block in values["blocks"]] == ["readout", "rankalign"]
    rows = {row["measure"]: row for row in values["blocks"][1]["rows"]}
    assert rows["perplexity"]["change"]["value"].startswith("× 1.02") and rows["perplexity"]["base"] == "31.7"
    assert rows["perplexity"]["n"] == "200" and rows["perplexity"]["group"] == "held-out text"
    assert rows["distinct_2"]["change"]["value"] == "−.006"
    meant = {term.label for term in values["terms"]}
    assert {row["label"] for block in values["blocks"] for row in (*block["rows"], *block["more"])} == meant
    assert values["blocks"][0]["sentence"] == damages["readout-s0"].sentence
    assert damage_shown({"a": {0: None}}, "a")["blocks"] == []


def test_texts_from_the_same_beginning_stand_side_by_side() -> None:
    free = pd.DataFrame([("p", "b0", "r0"), ("q", "b1", "x" * 1200)], columns=FREE_COLUMNS)
    full, other = damage(free=free), damage(free=free.assign(prompt=["p", "elsewhere"], repaired=""))
    table = both().table
    seeds = {"a": {0: None, 1: full}, "b": {0: replace(full, table=table)}, "c": {0: replace(other, table=table)}}
    first, second = damage_shown({label: seeds[label] for label in ("b", "c")}, "b")["samples"]
    assert [(text["label"], text["text"]) for text in first["texts"]] == [("before", "b0"), ("b", "r0"), ("c", "")]
    assert [text["label"] for text in second["texts"]] == ["before", "b"]
    assert second["texts"][1]["cut"] == 200 and (second["number"], second["prompt"]) == (2, "q")
    assert damage_shown({"a": {0: None, 1: replace(full, table=table)}}, "a")["samples"] == []  # of the lowest seed
