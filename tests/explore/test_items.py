"""The table of items: what a search finds, in which order, and what stands near an item."""

import numpy as np
import pytest

from accord.explore.items import ORDERS, SHOWN, found, item_rows, neighbours
from accord.explore.threshold import thresholds, usual_shifts
from accord.gap.slices import AFFIRMS_SILENT, SAYS_DENIES
from tests.report.conftest import make_scores


@pytest.fixture(scope="module")
def rows():
    return item_rows(make_scores(120))


def test_a_search_finds_what_a_plain_loop_finds(rows):
    wanted = [
        row["item"]
        for row in rows.to_dict("records")
        if "bees" in row["generator_prompt"] and row["answer"] == "insect"
    ]
    assert found(rows, "BEES  insect")["item"].tolist() == wanted != []
    assert len(found(rows, "no such thing")) == 0
    assert len(found(rows, ".*")) == 0  # no pattern


def test_kinds_are_counted_as_elsewhere(rows):
    for kind in (SAYS_DENIES, AFFIRMS_SILENT):
        assert found(rows, shown=kind)["item"].tolist() == rows.index[rows["disagreement"] == kind].tolist() != []
    assert len(found(rows, shown="right answers")) + len(found(rows, shown="wrong answers")) == len(rows)
    assert set(SHOWN) >= {SAYS_DENIES, AFFIRMS_SILENT, "all items"}


@pytest.mark.parametrize("order", ORDERS)
def test_orders(rows, order):
    column, ascending = ORDERS[order]
    values = found(rows, order=order)[column].tolist()
    assert values == sorted(values, reverse=not ascending)


def test_neighbours_share_the_prompt_or_the_answer(rows):
    near = neighbours(rows, 5, most=4)
    own = rows.iloc[5]
    assert set(near["the same answer"]["answer"]) == {own["answer"]}
    assert 5 not in near["the same answer"]["item"].tolist() and len(near["the same answer"]) == 4
    away = (near["the same answer"]["validator_logodds"] - own["validator_logodds"]).abs()
    assert away.is_monotonic_increasing


def test_a_shift_moves_the_threshold_and_nothing_else():
    scores = make_scores(80)
    shifts = usual_shifts(scores)
    plain, share, gold = thresholds(scores, [0.0, shifts["share"], shifts["gold"]])
    validator, right = scores["validator_logodds"].to_numpy(), scores["gold"].to_numpy()
    assert plain.affirmed == (validator > 0).mean() and plain.accuracy == pytest.approx(
        ((validator > 0) == right).mean()
    )
    assert share.affirmed == pytest.approx(0.5, abs=0.02)
    best = max(((validator + shift > 0) == right).mean() for shift in -np.unique(validator))
    assert gold.accuracy >= best - 1e-9


def test_what_all_prompts_begin_with_is_left_out():
    scores = make_scores(20)
    scores["generator_prompt"] = "Complete the sentence: the " + scores["generator_prompt"]
    assert item_rows(scores)["completing"].tolist() == [f"{noun} are a kind of" for noun in scores["noun1"]]
