"""A measure without an interval has a dash on the page, and the reason why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.gap import summarize
from accord.gap.page import chapters
from accord.study.run import Run


def test_the_page_says_why_there_is_no_interval(
    gap_writer: Callable[..., Path], gap_scores: Any, tmp_path: Path
) -> None:
    scores = gap_scores().assign(validator_logodds=61.7)
    gap_writer(tmp_path / "gap" / "flat", scores, metrics=summarize(scores))
    shown = chapters(Run(tmp_path))[0].shown
    rows = {row["name"]: row for row in shown["all_measures"]}
    assert rows["pearson_all"]["interval"] == "–" and rows["pearson_all"]["reason"] == "the scores are all the same"
    assert rows["generator_auc"]["reason"] == "" and rows["generator_auc"]["interval"].startswith("[")
    [note] = shown["reasons"]
    assert note.endswith(": the scores are all the same") and note.count(",") >= 3
