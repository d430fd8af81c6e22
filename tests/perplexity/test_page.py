"""The chapter on heads and their texts: the order of rows, remarks, sample texts, numbers that are not defined."""

import math
import re
from pathlib import Path

import pytest
from tests.report.line_folder import change, stages_of, write_line, write_row, write_texts
from tests.report.test_html import HOSTILE, Page, asks_network, own_scripts

from accord.perplexity.page import chapters, figures
from accord.report import style
from accord.report.html import write_report
from accord.study.run_folder import Run

FIGURES = ["perplexity", "head-training"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two seeds of everything and no gap; tests only read it."""
    return write_line(tmp_path_factory.mktemp("runs") / "demo", seeds=(0, 1))


def shown(run: Path) -> dict:
    (chapter,) = chapters(Run(run))
    return chapter.shown


def test_rows_stand_in_their_natural_order(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    rows = [(row["label"], row["what"]) for row in shown(run)["table"]["rows"]]
    paths = ["latents-new", "reconstruction-original", "reconstruction-new"]
    wanted = ["backbone", "finetuned", "new", *(f"{m}-{p}" for m in ("topk", "lcblm") for p in paths), "random"]
    assert [label for label, _ in rows] == wanted
    assert dict(rows)["topk-reconstruction-original"] == "reconstruction by topk → original head"
    assert [row["label"] for row in shown(run)["heads"]["rows"]] == wanted[1:-1]


def test_one_seed_has_the_interval_over_its_texts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    metrics = Run(run)["perplexity/new-s1"].metrics
    row = next(row for row in shown(run)["table"]["each"] if (row["label"], row["seed"]) == ("new", 1))
    ends = f"[{metrics['judge_mean_low']:.1f},\N{NO-BREAK SPACE}{metrics['judge_mean_high']:.1f}]"
    assert row["cells"][0]["interval"] == ends
    assert all(cell["interval"] == "" for cell in row["cells"][1:])


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    write_line(tmp_path, seeds=[0, 1], models=["topk"])
    for kind, key in (("heads", "row"), ("perplexity", "row"), ("perplexity", "judge")):
        for stage in stages_of(tmp_path, kind):
            change(tmp_path, stage, **{key: f"{HOSTILE} {stage}"})
    row = {"row": HOSTILE, "seed": 0, "tokens": 4, "finished": False}
    texts = [row | {"index": i, "text": text} for i, text in enumerate((HOSTILE + "\u2028" + "x" * 3000, ""))]
    for stage in stages_of(tmp_path, "texts"):
        write_texts(tmp_path, stage.partition("/")[2], texts)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert own_scripts(html)
    assert asks_network(html) == []
    assert html.count(HOSTILE) == 0
    assert "{{ 7 * 7 }}" in page.text
    assert "more characters are in texts.jsonl" in page.text
    assert "No text at all." in page.text


def test_repetition_and_lost_texts_are_remarked(tmp_path: Path) -> None:
    for i, row in enumerate(("backbone", "new", "odd row")):
        write_row(tmp_path, row, i, 0)
    change(tmp_path, "perplexity/new-s0", repeated_4=0.6, unscored=2, judge="other")
    remarks = shown(tmp_path)["remarks"]
    assert remarks[0].startswith("Rows have different judges (gemma3-270m, other)")
    assert "new (60%)" in remarks[1]
    assert remarks[2].endswith("in no mean: new (2).")


def test_numbers_that_are_not_defined_draw(tmp_path: Path) -> None:
    for seed in (0, 1):
        own = {"judge_mean": 3.0 + 400 * seed, "own_perplexity": None}
        write_row(tmp_path, "backbone", 0, seed, **own)
        write_row(tmp_path, "new", 1, seed)
    change(tmp_path, "perplexity/new-s1", judge_mean=None, own_perplexity=math.inf, repeated_4=None)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "1 of 2" in page.text  # seeds that have the number
    with style.house_style():
        assert [drawn.name for drawn in figures(Run(tmp_path))] == FIGURES


def test_figures_are_there_and_fit_for_a_page(run: Path) -> None:
    with style.house_style():
        pictures = figures(Run(run))
        assert [drawn.name for drawn in pictures] == FIGURES
        for drawn in pictures:
            svg = style.inline_svg(drawn.figure, drawn.name)
            assert len(svg) > 1000
            assert not re.search(r"<text|<style|<script|<!--|https?:", svg)
            assert len(drawn.alt) > 40


def test_a_run_of_other_things_has_no_such_chapter(tmp_path: Path) -> None:
    assert chapters(Run(tmp_path)) == []
