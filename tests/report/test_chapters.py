"""How the chapters of several capabilities stand together on the page."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from tests.report.line_folder import BEGUN, CORPUS, write_concepts, write_corpus, write_line, write_texts
from tests.report.meaning_folder import write_explanation, write_names, write_steering
from tests.report.test_html import Page

from accord.report.html import write_report


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their pictures: rendering is nearly all of the time."""
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")


def read(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_what_concepts_mean_and_do_stands_before_the_texts_of_heads(tmp_path: Path) -> None:
    write_names(tmp_path)
    write_steering(tmp_path)
    write_explanation(tmp_path)
    write_texts(tmp_path, "new-s0", [{"row": "new", "seed": 0, "index": 0, "text": "a", "tokens": 1, "finished": True}])
    page = read(tmp_path)
    titles = [heading["id"] for heading in page.all("h2") if heading["id"].endswith("-title")]
    assert titles == [
        "names-title",
        "steering-title",
        "explain-title",
        "perplexity-title",
        "making-title",
        "glossary-title",
    ]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "95 % intervals of names over concepts; of the explanation over items" in page.text


def test_beside_a_gap_both_have_their_finding(
    tmp_path: Path, gap_writer: Callable[..., Path], gap_scores: Callable[..., pd.DataFrame]
) -> None:
    write_line(tmp_path, seeds=[0], models=["topk"])
    gap_writer(tmp_path / "gap" / "hypernymy", gap_scores(60), layers=False)
    page = read(tmp_path)
    assert page.text.find("knows more than it affirms") < page.text.find("topk reconstructs 58% of the variance")
    below = page.text[page.text.index("knows more than it affirms") :]
    assert -1 < below.find("How it was measured") < below.find("How well they reconstruct")
    assert [a["id"] for a in page.all("details") if a.get("class") == "stage"] == [
        "gap-1", "concepts", "perplexity", "making", "glossary",
    ]  # fmt: skip


def test_the_header_tells_model_and_date_without_a_gap(tmp_path: Path) -> None:
    write_concepts(tmp_path, "topk", 0)
    assert "Model" not in read(tmp_path).text.partition("Finding")[0]
    with mock.patch("accord.study.store._now", return_value=BEGUN.replace("-21T", "-22T")):
        write_corpus(tmp_path, CORPUS, settings={"model": "smollm2-135m"})
    write_concepts(tmp_path, "topk", 1, begun=BEGUN.replace("-21T", "-23T"))
    (tmp_path / "concepts" / "topk-s1").rename(tmp_path / "concepts" / ".topk-s1.partial")
    header = read(tmp_path).text.partition("Finding")[0]
    assert "Model smollm2-135m" in header and "Measured 2025-11-22" in header and "Task" not in header
