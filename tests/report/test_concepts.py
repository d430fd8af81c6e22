"""The part of the page on concept models and perplexity: right sentences, means over seeds, missing parts, safety."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.report.line_folder import change, put, put_rows, write_concepts, write_line, write_row
from tests.report.test_html import HOSTILE, Page, asks_network

from accord.report import style
from accord.report.concepts_data import read_line
from accord.report.concepts_figures import draw_line, write_concept_figures
from accord.report.concepts_groups import concept_groups, row_groups
from accord.report.concepts_page import concepts_shown
from accord.report.concepts_verdict import concept_findings, perplexity_remarks
from accord.report.html import write_report

FIGURES = ["sparsity", "recovered", "training", "loss-terms", "perplexity", "head-training"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three seeds of everything and no gap; tests only read it."""
    return write_line(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return read(run)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their pictures, for tests of their words: rendering is nearly all of the time."""
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")


def read(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def finding(run: Path) -> str:
    return " | ".join(f"{one.headline}: {one.evidence}" for one in concept_findings(concept_groups(read_line(run))))


def test_the_finding_says_who_reconstructs_better_and_at_what_price(run: Path, tmp_path: Path) -> None:
    text = finding(run)
    assert text.startswith("lcblm and topk reconstruct equally well") or "better than topk with fewer" in text
    assert "over 3 seeds" in text
    for seed in (0, 1, 2):
        write_concepts(tmp_path, "topk", seed, r2=0.7 + seed / 1000, r2_hard=0.7 + seed / 1000)
        write_concepts(tmp_path, "lcblm", seed)
    text = finding(tmp_path).replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("topk reconstructs better than lcblm, but with more active concepts: R² .701 [.699, .703]")
    assert "against R² .59" in text  # gates open or shut, as L0 is counted
    assert "gates hard, for lcblm, over 3 seeds." in text
    for seed in (0, 1, 2):
        change(tmp_path / "concepts" / f"topk-s{seed}", r2=0.3 + seed / 1000, r2_hard=0.3 + seed / 1000, l0=10.4)
    assert finding(tmp_path).startswith("lcblm reconstructs better than topk with about as many active concepts")
    for seed in (0, 1, 2):
        change(tmp_path / "concepts" / f"topk-s{seed}", r2=0.4 + seed / 5, r2_hard=0.4 + seed / 5, l0=50)
    assert "equally well, as far as the seeds can tell, lcblm with fewer active concepts" in finding(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_findings_of_one_seed_one_model_none_and_several_layers(tmp_path: Path) -> None:
    write_concepts(tmp_path, "lcblm", 0)
    assert re.match(r"lcblm reconstructs \d\d% of the variance: .*, over 1 seed\.", finding(tmp_path))
    write_concepts(tmp_path, "topk", 0)
    assert finding(tmp_path).startswith("lcblm may reconstruct better than topk with fewer active concepts")
    assert "over 1 seed; too few seeds to tell the difference from chance." in finding(tmp_path)
    write_concepts(tmp_path, "topk", 0, layer=12, suffix="-L12")
    write_concepts(tmp_path, "topk", 1, layer=12, suffix="-L12")
    assert [part.split(",")[0] for part in finding(tmp_path).split(" | ")] == ["At layer 30", "At layer 12"]
    labels = [group.label for group in concept_groups(read_line(tmp_path))]
    assert finding(tmp_path).startswith("At layer 30, lcblm may reconstruct")
    assert labels == ["lcblm, layer 30", "topk, layer 12", "topk, layer 30"]
    assert "A row of one seed has none." in read(tmp_path).text
    nothing = dict.fromkeys(("r2", "r2_hard", "fvu", "ce_recovered", "ce_recovered_hard", "l0"))
    for folder in (tmp_path / "concepts").iterdir():
        change(folder, **nothing)
    assert finding(tmp_path).startswith("At layer 30, how well the concept models reconstruct is not known")
    assert read(tmp_path).text.count("n/a") == 0


def test_the_corpus_is_told_in_words(tmp_path: Path) -> None:
    write_concepts(tmp_path, "topk", 0)
    corpus = {"texts": 10605, "held_out": 21, "duplicates": 2, "rejected": {}, "held_out_tokens": 4000}
    put(tmp_path / "embeddings" / "corpus.json", corpus)
    shown = concepts_shown(read_line(tmp_path), tmp_path, "c")["corpus"]
    assert shown == [
        ("Texts", "10,605"), ("Texts held out", "21"), ("Texts that repeat another", "2"), ("Texts rejected", "none"),
        ("Tokens held out", "4,000"),
    ]  # fmt: skip


def test_the_page_has_every_part_in_order(page: Page) -> None:
    wanted = ["demo", "Finding", "Concept models", "How well they reconstruct", "CE recovered, hard"]
    wanted += ["95 % t-intervals over seeds", "Pictures", "The texts they were trained on", "Rejected, empty"]
    wanted += [
        "Heads and their texts",
        "judged by gemma3-270m; 100 texts a seed",
        "gamed by repetition",
        "Own, held-out",
    ]
    wanted += ["Heads", "Frequencies only", "Sample texts", "Text 1", "stopped at the limit"]
    places = []
    for words in wanted:
        places.append(page.text.find(words, places[-1] if places else 0))
    assert -1 not in places, wanted[places.index(-1)]
    assert len([a for _, a in page.elements if a.get("role") == "img"]) == len(FIGURES)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [label for _, a in page.elements for label in a.get("aria-labelledby", "").split()]
    assert set(labels) <= set(ids)


def test_links_lead_to_files(page: Page, run: Path) -> None:
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert "./concepts/lcblm-s1/metrics.json" in links
    assert all((run / link).is_file() for link in links)


def test_rows_stand_in_their_natural_order(run: Path) -> None:
    line = read_line(run)
    rows = [group.label for group in row_groups(line.perplexity, concept_groups(line))]
    paths = ["latents-new", "reconstruction-original", "reconstruction-new"]
    wanted = ["backbone", "finetuned", "new", *(f"{m}-{p}" for m in ("topk", "lcblm") for p in paths), "random"]
    assert rows == wanted


@pytest.mark.usefixtures("undrawn")
def test_beside_a_gap_both_have_their_finding(
    tmp_path: Path, gap_writer: Callable[..., Path], gap_scores: Callable[..., pd.DataFrame]
) -> None:
    write_line(tmp_path, seeds=[0], models=["topk"])
    gap_writer(tmp_path / "gap" / "hypernymy", gap_scores(60), layers=False)
    page = read(tmp_path)
    assert "Findings" in page.text
    assert page.text.find("knows more than it affirms") < page.text.find("topk reconstructs 58% of the variance")
    assert page.text.find("How it was measured") < page.text.find("How well they reconstruct")
    assert not [a for a in page.all("details") if a.get("class") == "stage"]


@pytest.mark.usefixtures("undrawn")
def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    write_line(tmp_path, seeds=[4])
    page = read(tmp_path)
    assert page.text.count("One seed, so there is no interval over seeds") == 3
    assert "95 % t-intervals over seeds, mean" not in page.text
    assert "seed 4" in page.text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("part", ["embeddings", "concepts", "heads", "perplexity", "texts"])
def test_absent_files_are_absent_parts(tmp_path: Path, part: str) -> None:
    write_line(tmp_path, seeds=[0], models=["topk"])
    (tmp_path / part).rename(tmp_path / "elsewhere")
    text = read(tmp_path).text
    heading = {
        "embeddings": "The texts they were trained on", "concepts": "How well they reconstruct",
        "heads": "Frequencies only", "perplexity": "gamed by repetition", "texts": "Sample texts",
    }  # fmt: skip
    for name, words in heading.items():
        assert (words in text) == (name != part)


def test_curves_may_be_absent_and_unfinished_stages_are_not_there(tmp_path: Path) -> None:
    folder = write_concepts(tmp_path, "topk", 0)
    (folder / "curve.jsonl").write_text("")
    write_concepts(tmp_path, "topk", 1)
    (tmp_path / "concepts" / "topk-s1").rename(tmp_path / "concepts" / ".topk-s1.partial")
    (tmp_path / "concepts" / "topk-s2").mkdir()
    with style.house_style():
        assert [d.name for d in draw_line(read_line(tmp_path))] == ["sparsity", "recovered"]
    assert "Without their metrics, and so not here: concepts/topk-s2." in read(tmp_path).text


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    write_line(tmp_path, seeds=[0, 1], models=["topk"])
    put(tmp_path / "embeddings" / "corpus.json", {HOSTILE: HOSTILE})
    for part, key in (("concepts", "name"), ("heads", "row"), ("perplexity", "row"), ("perplexity", "judge")):
        for folder in (tmp_path / part).iterdir():
            change(folder, **{key: f"{HOSTILE} {folder.name}", "kind": HOSTILE})
    for folder in (tmp_path / "texts").iterdir():
        row = {"row": HOSTILE, "seed": 0, "tokens": HOSTILE, "finished": None}
        texts = [HOSTILE + "\u2028" + "x" * 3000, "", None]
        put_rows(folder / "texts.jsonl", [row | {"index": i, "text": text} for i, text in enumerate(texts)])
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert not page.all("script")
    assert len(page.all("style")) == 1
    assert asks_network(html) == []
    assert html.count(HOSTILE) == 0
    assert "{{ 7 * 7 }}" in page.text
    assert "more characters are in texts.jsonl" in page.text
    assert "No text at all." in page.text


def test_repetition_and_lost_texts_are_remarked(tmp_path: Path) -> None:
    for i, row in enumerate(("backbone", "new", "odd row")):
        write_row(tmp_path, row, i, 0)
    change(tmp_path / "perplexity" / "new-s0", repeated_4=0.6, unscored=2, judge="other")
    remarks = perplexity_remarks(row_groups(read_line(tmp_path).perplexity, []))
    assert remarks[0].startswith("Rows have different judges (gemma3-270m, other)")
    assert "new (60%)" in remarks[1]
    assert remarks[2].endswith("in no mean: new (2).")


def test_null_and_infinite_numbers_draw(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_row(tmp_path, "backbone", 0, seed)
        change(tmp_path / "perplexity" / f"backbone-s{seed}", judge_mean=3.0 + 400 * seed, own_perplexity=None)
        write_row(tmp_path, "new", 1, seed)
    change(tmp_path / "perplexity" / "new-s1", judge_mean=None, own_perplexity=math.inf, repeated_4=None)
    text = read(tmp_path).text
    assert "1 of 2" in text  # seeds that have the number
    assert "∞" in text


def test_figures_are_there_and_fit_for_a_page(run: Path, tmp_path: Path) -> None:
    with style.house_style():
        drawn = draw_line(read_line(run))
        assert [d.name for d in drawn] == FIGURES
        for d in drawn:
            svg = style.inline_svg(d.figure, d.name)
            assert len(svg) > 1000
            assert not re.search(r"<text|<style|<script|<!--|https?:", svg)
            assert len(d.alt) > 40
    (tmp_path / "concepts").symlink_to(run / "concepts", target_is_directory=True)
    names = [path.name for path in write_concept_figures(tmp_path, tmp_path / "figures")]
    assert names == [f"{name}.{kind}" for name in FIGURES[:4] for kind in ("svg", "png")]


def test_many_models_draw(tmp_path: Path) -> None:
    for i in range(20):
        write_concepts(tmp_path, f"model {i}", 0, l0=2.0**i)
    with style.house_style():
        captions = {d.name: d.caption for d in draw_line(read_line(tmp_path))}
    assert "Shown: 18 of 20." in captions["training"]


@pytest.mark.usefixtures("undrawn")
def test_the_header_tells_model_and_date_without_a_gap(tmp_path: Path) -> None:
    write_concepts(tmp_path, "topk", 0)
    assert "Model" not in read(tmp_path).text.partition("Finding")[0]
    put(
        tmp_path / "embeddings" / "manifest.json",
        {"settings": {"model": "smollm2-135m"}, "finished": "2025-11-21T10:00:00Z"},
    )
    put(tmp_path / "concepts" / "topk-s0" / "manifest.json", {"finished": "2025-11-22T10:00:00Z", "started": ""})
    put(tmp_path / "concepts" / ".topk-s1.partial" / "manifest.json", {"finished": "2025-11-23T10:00:00Z"})
    header = read(tmp_path).text.partition("Finding")[0]
    assert "Model smollm2-135m" in header and "Measured 2025-11-22" in header and "Task" not in header


def test_loss_terms_are_means_over_seeds(run: Path) -> None:
    with style.house_style():
        drawn = next(one for one in draw_line(read_line(run)) if one.name == "loss-terms")
    panels = {axes.get_title(loc="left"): axes for axes in drawn.figure.axes}
    assert {title: [str(curve.get_label()) for curve in axes.lines] for title, axes in panels.items()} == {
        "topk": ["mse", "aux"],
        "lcblm": ["mse", "rate"],  # a term that is 0 throughout has no line
    }
    mse = panels["topk"].lines[0]
    assert list(mse.get_xdata())[:2] == [50, 100] and mse.get_ydata()[0] == pytest.approx(0.41)  # of .40, .41, .42
