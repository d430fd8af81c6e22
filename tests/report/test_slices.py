"""Slices: which items count as disagreement, by category and similarity, and which lie furthest apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accord.gap.draw_categories import NAMED, draw_categories
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
from accord.report import style

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


def test_no_small_category_is_named_the_most_or_the_least(gap_maker: Callable[..., Any], gap_scores: Scores) -> None:
    scores = gap_scores(240)
    first, second = scores["group"].unique()[:2]
    small = scores["group"].isin([first, second]) & (scores.groupby("group").cumcount() < NAMED - 1)
    scores.loc[small & (scores["group"] == first), "validator_logodds"] = -3.0 * np.sign(judged(scores)["says"] - 0.5)
    scores = scores[small | ~scores["group"].isin([first, second])].reset_index(drop=True)
    with style.house_style():
        drawn = draw_categories(gap_maker(scores, layers=False))
        few = draw_categories(
            gap_maker(scores[scores["group"].isin([first, second])].reset_index(drop=True), layers=False)
        )
    assert drawn is not None and few is not None
    rows = by_category(scores)
    assert rows["category"].iloc[0] == first and rows["n"].iloc[0] == NAMED - 1  # it would be the most
    large = rows[rows["n"] >= NAMED]
    most, least = (large.iloc[i] for i in (0, -1))
    assert drawn.title == (
        f"Most disagreement: {most['category']} ({most['rate']:.0%}, n = {most['n']}); "
        f"least: {least['category']} ({least['rate']:.0%}, n = {least['n']})"
    )
    assert f"Named as most and least: those of at least {NAMED} items." in drawn.caption
    assert few.title.startswith("The two forms disagree on") and "none, as fewer than two have 20 items" in few.caption
