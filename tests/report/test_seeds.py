"""Means over seeds with their intervals, how they are printed, and that every column is explained."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import accord.errors
from accord.concepts import page as concepts_page
from accord.perplexity import page as perplexity_page
from accord.report.metric import Metric
from accord.report.seeds import SeedResult, differ, grouped, over_seeds, relabelled, seeds_of
from accord.report.wording import amount

NAN = float("nan")


def test_mean_and_interval_are_those_of_student() -> None:
    values = [0.58, 0.61, 0.595, 0.6]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert over_seeds(values) == pytest.approx((np.mean(values), low, high))
    assert over_seeds([*values, NAN]) == over_seeds(values)
    assert over_seeds([0.5])[0] == 0.5
    assert math.isnan(over_seeds([0.5]).low)
    assert over_seeds([0.1, 0.1, 0.1]) == (0.1, 0.1, 0.1)
    assert over_seeds([1.0, math.inf]).value == math.inf
    assert math.isnan(over_seeds([1.0, math.inf]).high)
    assert not over_seeds([NAN]).known
    assert not over_seeds([]).known


def test_differ() -> None:
    assert differ(Metric(0.6, 0.59, 0.61), Metric(0.5, 0.49, 0.51)) is True
    assert differ(Metric(0.6, 0.5, 0.7), Metric(0.55, 0.45, 0.65)) is False
    assert differ(Metric(0.6, NAN, NAN), Metric(0.5, 0.4, 0.6)) is None


def result(stage: str, seed: int | None, **metrics: object) -> SeedResult:
    return SeedResult(stage, {"seed": seed, **metrics})


def test_stages_that_differ_in_their_seed_are_one_group() -> None:
    results = [
        result("heads/new-s1", 1, ce=3.0, ce_low=2.5, ce_high=None, row="new"), result("heads/backbone", None, ce=2.0),
        result("heads/new-s0", 0, ce=None, row="new"), result("heads/new-L3-s0", 0, ce=4.0, row="new"),
    ]  # fmt: skip
    groups = grouped(results)
    assert [group.label for group in groups] == ["new", "backbone", "new-L3"]
    new, backbone, _ = groups
    assert [result.seed for result in new.results] == [0, 1] and backbone.results[0].seed == 0
    assert math.isnan(new.values("ce")[0]) and new.metric("ce").value == 3.0
    assert new.results[1].metric("ce")[:2] == (3.0, 2.5) and math.isnan(new.results[1].metric("ce").high)
    assert (new.named("row"), backbone.named("row")) == ("new", "")
    assert [group.label for group in relabelled(groups, ["a", "b", "a"], ["a", "b", "c"])] == ["a", "b", "c"]
    assert [group.label for group in relabelled(groups, ["a", "b", "a"])] == ["new", "backbone", "new-L3"]
    assert (seeds_of(groups), seeds_of(groups[:1])) == ("1 to 2 seeds", "2 seeds")


@pytest.mark.parametrize(
    ("metric", "value", "interval"),
    [
        (Metric(0.5854, 0.57, 0.6), ".585", "[.570, .600]"),
        (Metric(-0.2, -0.3, -0.1), "−.200", "[−.300, −.100]"),
        (Metric(12.34, 11.9, 12.8), "12.3", "[11.9, 12.8]"),
        (Metric(431.2, 400.1, 460), "431", "[400, 460]"),
        (Metric(61000.4, -1200, 123201), "61,000", "[−1,200, 123,201]"),
        (Metric(32.0, 32.0, 32.0), "32.0", ""),
        (Metric(5.0, NAN, NAN), "5.00", ""),
        (Metric(math.inf, NAN, NAN), "∞", ""),
        (Metric(NAN, NAN, NAN), "n/a", ""),
    ],
)
def test_amount(metric: Metric, value: str, interval: str) -> None:
    shown = amount(metric)
    assert (shown[0], shown[1].replace("\N{NO-BREAK SPACE}", " ")) == (value, interval)


def test_definitions_exist() -> None:
    for term in (
        *concepts_page.TERMS.values(),
        *perplexity_page.HEAD_TERMS.values(),
        *perplexity_page.TERMS.values(),
    ):
        module, _, name = term.defined.rpartition(".")
        if not module.startswith("accord."):
            continue
        path = Path(accord.errors.__file__).parent / (module.removeprefix("accord.").replace(".", "/") + ".py")
        names = {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
        assert name in names
