"""A measure without an interval has a dash on the page, and the reason why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.gap import summarize
from accord.report.data import METRICS, read_gap
from accord.report.gap_page import gap_section


def test_the_page_says_why_there_is_no_interval(
    gap_writer: Callable[..., Path], gap_scores: Any, tmp_path: Path
) -> None:
    scores = gap_scores().assign(validator_logodds=61.7)
    folder = gap_writer(tmp_path / "flat", scores)
    metrics: dict[str, Any] = json.loads((folder / METRICS).read_text())
    (folder / METRICS).write_text(json.dumps({**metrics, **summarize(scores)}))
    section = gap_section(read_gap(folder), "g0", light=True)
    rows = {row["name"]: row for row in section["all_measures"]}
    assert rows["pearson_all"]["interval"] == "–" and rows["pearson_all"]["reason"] == "the scores are all the same"
    assert rows["generator_auc"]["reason"] == "" and rows["generator_auc"]["interval"].startswith("[")
    [note] = section["reasons"]
    assert note.endswith(": the scores are all the same") and note.count(",") >= 3
