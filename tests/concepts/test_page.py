"""The chapter on concept models: right sentences, means over seeds, missing parts, foreign text, figures."""

import re
from pathlib import Path

import pytest
from tests.report.line_folder import change, stages_of, write_concepts, write_corpus, write_line
from tests.report.test_html import HOSTILE, Page, asks_network, own_scripts

from accord.concepts.findings import concept_findings
from accord.concepts.groups import concept_groups
from accord.concepts.page import TERMS, chapters, figures
from accord.report import style
from accord.report.html import write_report
from accord.study.run_folder import Run

FIGURES = ["sparsity", "recovered", "training", "loss-terms"]


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
    findings = concept_findings(concept_groups(Run(run)))
    return " | ".join(f"{finding.headline}: {finding.evidence}" for finding in findings)


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
        change(tmp_path, f"concepts/topk-s{seed}", r2=0.3 + seed / 1000, r2_hard=0.3 + seed / 1000, l0=10.4)
    assert finding(tmp_path).startswith("lcblm reconstructs better than topk with about as many active concepts")
    for seed in (0, 1, 2):
        change(tmp_path, f"concepts/topk-s{seed}", r2=0.4 + seed / 5, r2_hard=0.4 + seed / 5, l0=50)
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
    labels = [group.label for group in concept_groups(Run(tmp_path))]
    assert finding(tmp_path).startswith("At layer 30, lcblm may reconstruct")
    assert labels == ["lcblm, layer 30", "topk, layer 12", "topk, layer 30"]
    assert "A row of one seed has none." in read(tmp_path).text
    nothing = dict.fromkeys(("r2", "r2_hard", "fvu", "ce_recovered", "ce_recovered_hard", "l0"))
    for stage in stages_of(tmp_path, "concepts"):
        change(tmp_path, stage, **nothing)
    assert finding(tmp_path).startswith("At layer 30, how well the concept models reconstruct is not known")
    assert read(tmp_path).text.count("n/a") == 0


@pytest.mark.usefixtures("undrawn")
def test_the_corpus_is_told_in_words(tmp_path: Path) -> None:
    write_corpus(tmp_path, {"texts": 10605, "held_out": 21, "duplicates": 2, "rejected": {}, "held_out_tokens": 4000})
    (chapter,) = chapters(Run(tmp_path))
    assert chapter.shown["corpus"] == [
        ("Texts", "10,605"), ("Texts held out", "21"), ("Texts that repeat another", "2"), ("Texts rejected", "none"),
        ("Tokens held out", "4,000"),
    ]  # fmt: skip
    assert "The texts they were trained on" in read(tmp_path).text


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
    places: list[int] = []
    for words in wanted:
        places.append(page.text.find(words, places[-1] if places else 0))
    assert -1 not in places, wanted[places.index(-1)]
    assert len(page.pictures) == len(FIGURES) + 3  # two of the heads, and how it was made
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [label for _, a in page.elements for label in a.get("aria-labelledby", "").split()]
    assert set(labels) <= set(ids)


def test_links_lead_to_files(page: Page, run: Path) -> None:
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert "./concepts/lcblm-s1/metrics.json" in links
    assert all((run / link).is_file() for link in links)


@pytest.mark.usefixtures("undrawn")
def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    page = read(write_line(tmp_path, seeds=[4]))
    assert page.text.count("One seed, so there is no interval over seeds") == 3
    assert "95 % t-intervals over seeds, mean" not in page.text
    assert "seed 4" in page.text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("part", ["embeddings", "concepts", "heads", "perplexity", "texts"])
def test_absent_stages_are_absent_parts(tmp_path: Path, part: str) -> None:
    text = read(write_line(tmp_path, seeds=[0], models=["topk"], without=part)).text
    heading = {
        "embeddings": "The texts they were trained on", "concepts": "How well they reconstruct",
        "heads": "Frequencies only", "perplexity": "gamed by repetition", "texts": "Sample texts",
    }  # fmt: skip
    for name, words in heading.items():
        assert (words in text) == (name != part)


def test_curves_may_be_absent_and_unfinished_stages_are_not_there(tmp_path: Path) -> None:
    write_concepts(tmp_path, "topk", 0, trained=False)
    write_concepts(tmp_path, "topk", 1)
    (tmp_path / "concepts" / "topk-s1").rename(tmp_path / "concepts" / ".topk-s1.partial")
    run = Run(tmp_path)
    with style.house_style():
        assert [drawn.name for drawn in figures(run)] == ["sparsity", "recovered"]
    assert [len(group.results) for group in concept_groups(run)] == [1]


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_concepts(tmp_path, "topk", seed)
        change(tmp_path, f"concepts/topk-s{seed}", name=f"{HOSTILE} topk-s{seed}", kind=HOSTILE)
    write_corpus(tmp_path, {HOSTILE: HOSTILE})
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert own_scripts(html)
    assert len(page.all("style")) == 1
    assert asks_network(html) == []
    assert html.count(HOSTILE) == 0
    assert "{{ 7 * 7 }}" in page.text


def test_figures_are_there_and_fit_for_a_page(run: Path) -> None:
    with style.house_style():
        pictures = figures(Run(run))
        assert [drawn.name for drawn in pictures] == FIGURES
        for drawn in pictures:
            svg = style.inline_svg(drawn.figure, drawn.name)
            assert len(svg) > 1000
            assert not re.search(r"<text|<style|<script|<!--|https?:", svg)
            assert len(drawn.alt) > 40


def test_many_models_draw(tmp_path: Path) -> None:
    for i in range(20):
        write_concepts(tmp_path, f"model {i}", 0, l0=2.0**i)
    with style.house_style():
        captions = {drawn.name: drawn.caption for drawn in figures(Run(tmp_path))}
    assert "Shown: 18 of 20." in captions["training"] and "Shown: 18 of 20." in captions["loss-terms"]


def test_loss_terms_are_means_over_seeds(run: Path) -> None:
    with style.house_style():
        drawn = next(figure for figure in figures(Run(run)) if figure.name == "loss-terms")
    panels = {axes.get_title(loc="left"): axes for axes in drawn.figure.axes}
    assert {title: [str(curve.get_label()) for curve in axes.lines] for title, axes in panels.items()} == {
        "topk": ["mse", "aux"],
        "lcblm": ["mse", "rate"],  # a term that is 0 throughout has no line
    }
    mse = panels["topk"].lines[0]
    assert list(mse.get_xdata())[:2] == [50, 100] and mse.get_ydata()[0] == pytest.approx(0.41)  # of .40, .41, .42


def test_every_column_is_measured(run: Path) -> None:
    metrics = Run(run)["concepts/lcblm-s0"].metrics
    assert set(TERMS) <= set(metrics)
