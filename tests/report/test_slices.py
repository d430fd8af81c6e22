"""Slices: which items count as disagreement, by category and similarity, and which lie furthest apart."""

from collections.abc import Callable

import pandas as pd
import pytest

from accord.gap.slices import (
    AFFIRMS_SILENT,
    SAYS_DENIES,
    by_category,
    by_similarity,
    generator_cut,
    judged,
    wilson,
    worst,
)

Scores = Callable[..., pd.DataFrame]


def table(rows: list[tuple[float, float, bool, str | None]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["generator_logodds", "validator_logodds", "gold", "group"])
    return frame.assign(similarity=None, generator_prompt="", validator_prompt="", answer="")


FOUR = table([(-1, 2, True, "a"), (-2, -1, True, "a"), (-8, 3, False, "b"), (-9, -2, False, "b")])


def test_says_as_many_as_there_are_right_ones(gap_scores: Scores) -> None:
    scores = gap_scores(200)
    assert judged(scores)["says"].sum() == scores["gold"].sum()
    assert -8 < generator_cut(FOUR) < -2


def test_kinds_of_disagreement() -> None:
    assert list(judged(FOUR)["disagreement"]) == ["", SAYS_DENIES, AFFIRMS_SILENT, ""]


def test_one_class_is_cut_in_the_middle() -> None:
    assert judged(FOUR.assign(gold=True))["says"].sum() == 2


def test_infinite_scores_do_not_break_the_cut() -> None:
    scores = FOUR.assign(generator_logodds=[float("-inf"), -2.0, -8.0, -9.0])
    assert -9 <= generator_cut(scores) <= -2


def test_categories_sorted_by_disagreement() -> None:
    scores = pd.concat([FOUR, table([(-3, -4, True, "a"), (-1, 5, True, None)])], ignore_index=True)
    rows = by_category(scores)
    assert list(rows["category"]) == ["a", "b"]
    assert list(rows["n"]) == [3, 2]
    assert rows["rate"].iloc[0] == pytest.approx(2 / 3)
    assert ((rows["low"] <= rows["rate"]) & (rows["rate"] <= rows["high"])).all()
    assert by_category(FOUR.assign(group=None)).empty


def test_similarity_rows(gap_scores: Scores) -> None:
    scores = gap_scores(100)
    rows = by_similarity(scores)
    assert list(zip(rows["gold"], rows["similarity"], strict=True)) == [
        ("right", "high"), ("right", "low"), ("wrong", "high"), ("wrong", "low"),
    ]  # fmt: skip
    assert rows["n"].sum() == 100
    assert by_similarity(FOUR).empty


def test_worst_first_in_both_directions(gap_scores: Scores) -> None:
    items = worst(gap_scores(400), top=5)
    assert list(items) == [SAYS_DENIES, AFFIRMS_SILENT]
    denied, affirmed = items[SAYS_DENIES], items[AFFIRMS_SILENT]
    assert (denied["validator_logodds"] <= 0).all()
    assert denied["distance"].is_monotonic_decreasing
    assert (affirmed["validator_logodds"] > 0).all()
    assert affirmed["distance"].is_monotonic_increasing
    assert len(affirmed) == 5


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(0, 10, 0.0, 0.278), (5, 10, 0.237, 0.763), (0, 0, 0, 1)])
def test_wilson(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-3)
