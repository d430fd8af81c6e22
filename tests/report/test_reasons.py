"""A measure without an interval has a dash on the page, and the reason why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.gap import Gap, summarize
from accord.gap.corrected import summarize_corrections
from accord.gap.page import chapters
from accord.report.html import write_report
from accord.report.wording import number
from accord.study.run_folder import Run


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


def test_the_page_says_how_much_the_choice_of_a_score_matters(
    gap_writer: Callable[..., Path], gap_scores: Any, tmp_path: Path
) -> None:
    """Within prompts beside all items where prompts have answers to compare; else that they have none."""
    answers = gap_scores()
    for name, scores in (
        ("many", answers),
        ("one", answers.assign(generator_prompt=[f"prompt {i}" for i in range(len(answers))])),
    ):
        metrics, table = summarize(scores), summarize_corrections(scores)
        gap_writer(tmp_path / "gap" / name, gap=Gap(scores, metrics, "first", corrections=table))
    _, many, one = (chapter.shown.get("corrections") for chapter in chapters(Run(tmp_path)))
    assert many["columns"][:2] == ["AUC, within prompts", "AUC, all items"] and len(many["rows"]) == 5
    prompts = answers.groupby("generator_prompt")["gold"]
    compared = int(((prompts.size() >= 4) & (prompts.nunique() == 2)).sum())
    assert f"mean over {compared} of {prompts.ngroups} prompts" in many["note"]
    found = summarize_corrections(answers).set_index(["score", "metric"])["within"]
    assert [cell["value"] for cell in many["rows"][3]["cells"]][::2] == [
        number(found["own", metric]) for metric in ("generator_auc", "spearman")
    ]
    aucs = found.xs("generator_auc", level="metric")
    assert f"from AUC {number(aucs.min())} (" in many["lead"] and f" to {number(aucs.max())} (" in many["lead"]
    assert one["columns"] == ["AUC, all items", "ρ with the validator, all items"]
    assert one["note"].startswith("No prompt has four answers, right and wrong ones")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert text.count("How the answer is scored, and what that changes</h3>") == 2
