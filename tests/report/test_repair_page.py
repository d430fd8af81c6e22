"""The part of the page on repairs: first on the page, complete, safe, and telling what is missing."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from tests.report.line_folder import put, put_rows
from tests.report.repair_folder import MADE, change_verdict, read_verdict, write_pathway, write_repairs
from tests.report.test_html import HOSTILE, Page, asks_network

from accord.report import style
from accord.report.draw_pathway import draw_pathway
from accord.report.draw_repair import MOST_PANELS, draw_closure, draw_every_repair
from accord.report.html import write_report
from accord.report.repair_data import read_repairs
from accord.report.repair_groups import Repair, grouped
from accord.report.repair_items import changed_items
from accord.report.repair_parts import read_pathway

TRIALS = ("test", "test-unseen-hypernyms", "test-unseen-both", "generator-typical", "validator-is-it-true")
SOME = {
    "rankalign": replace(MADE["rankalign"], seeds=2),
    "readout": MADE["readout"],
    "sft-union": replace(MADE["sft-union"], seeds=1),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three repairs; tests only read it."""
    return write_repairs(tmp_path_factory.mktemp("runs") / "demo", SOME, trials=TRIALS, n=120, resamples=20)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(whole, tmp_path / "demo"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their pictures, for tests of their words: rendering is nearly all of the time."""
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")


def read(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def repairs_of(run: Path) -> list[Repair]:
    (repairs,) = grouped(read_repairs(run)).values()
    return repairs


def test_the_page_has_every_part_in_order(whole: Path) -> None:
    html = write_report(whole).read_text(encoding="utf-8")
    page = Page(html)
    wanted = ["Finding", "closes", "perplexity ×", "Brackets", "Repairs", "Before and after", "Every repair"]
    wanted += ["before any repair", "named first", "Named first:", "What the columns mean", "(r after − r before)"]
    wanted += ["Every test set in numbers", "→", "Each seed in numbers", "How far it carries", "What it broke"]
    wanted += ["▾ worse", "moved", "Relation by relation", "What the measures mean", "What they write by themselves"]
    wanted += ["By which pathway", "The repair enters", "The 10 items that changed most", "Training"]
    wanted += ["How they were made", "settings.lr"]
    places = []
    for words in wanted:
        places.append(page.text.find(words, places[-1] if places else 0))
        assert places[-1] >= 0, words
    named = [a["aria-label"] for _, a in page.elements if a.get("role") == "img"]
    assert len(named) == 2 + 2 + 6 + 2 * 2 + 1  # items, reach, one whole pathway, two in brief, training
    assert all(len(alt) > 40 for alt in named)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {label for _, a in page.elements for label in a.get("aria-labelledby", "").split()} <= set(ids)
    assert not re.search(r"<text|<style>.*<style>|<script", html, flags=re.DOTALL)
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert "./damage/rankalign-s1/damage.json" in links
    assert all((whole / unquote(link)).is_file() for link in links)
    assert len(html) < 3_000_000


@pytest.mark.usefixtures("undrawn")
def test_repairs_come_before_the_gap(run: Path, gap_writer: Callable[..., Path]) -> None:
    gap_writer(run / "gap" / "hypernymy", layers=False)
    page = read(run)
    assert page.text.find("of the gap, perplexity") < page.text.find("knows more than it affirms")
    assert page.text.find("Every repair") < page.text.find("Probability of yes or no")
    assert "those of repairs and concept models with several seeds, over seeds" in page.text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("part", ["damage", "pathway", "repair"])
def test_what_is_missing_is_said(run: Path, part: str) -> None:
    shutil.rmtree(run / part)
    text = read(run).text
    assert ("What it broke was not measured" in text) == (part == "damage")
    assert ("Not measured: what they broke ([damage]): none of the repairs was tried" in text) == (part == "damage")
    assert ("Not measured: their pathway ([pathway]): none of the repairs was tried" in text) == (part == "pathway")
    assert ("How the losses fall" in text) == (part != "repair")
    assert "items that changed most" in text


@pytest.mark.usefixtures("undrawn")
def test_parts_of_some_and_repairs_without_verdict(run: Path) -> None:
    shutil.rmtree(run / "pathway" / "sft-union-s0")
    for table in (run / "pathway").glob("*/matrix.parquet"):
        table.unlink()
    shutil.rmtree(run / "verdict" / "rankalign-s1")
    for name in ("rankalign-s0", "readout-s0", "sft-union-s0"):
        (run / "verdict" / name / "test.parquet").unlink()
    text = read(run).text
    assert "Not measured: their pathway ([pathway]): not of sft-union." in text
    assert "without a verdict, and so not here: rankalign-s1." in text
    assert "items that changed most" not in text and "The same 120 items" not in text
    assert "Every layer of one form" not in text
    assert "Each seed in numbers" not in text  # one seed each
    shutil.rmtree(run / "verdict")
    alone = read(run).text
    assert "without a verdict" in alone and "Finding" not in alone


@pytest.mark.usefixtures("undrawn")
def test_two_bases_are_two_sections(run: Path) -> None:
    shutil.copytree(run / "verdict" / "base-hypernymy", run / "verdict" / "base-other")
    change_verdict(run / "verdict" / "readout-s0", base="base-other", task="other")
    page = read(run)
    assert "Repairs, hypernymy" in page.text and "Repairs, other" in page.text
    assert page.text.count("Every test set in numbers") == 2
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_foreign_text_stays_text(run: Path) -> None:
    for folder in run.glob("*/rankalign-s*"):
        shutil.rmtree(folder)
    for folder in (run / "verdict").glob("[!b]*"):
        raw = read_verdict(folder)
        for test in raw["tests"].values():
            test["title"] = HOSTILE
        put(folder / "verdict.json", raw | {"repair": f"{HOSTILE} {raw['repair']}", "kind": HOSTILE, "task": HOSTILE})
        about = {"about": {HOSTILE: HOSTILE}}
        put(run / "repair" / folder.name / "repair.json", about)
        damage = run / "damage" / folder.name
        put(damage / "damage.json", {"sentence": HOSTILE})
        table = pd.read_parquet(damage / "damage.parquet")
        table.assign(group=[HOSTILE if i % 2 else g for i, g in enumerate(table["group"])]).to_parquet(
            damage / "damage.parquet"
        )
        put_rows(damage / "generations.jsonl", [{"prompt": HOSTILE, "base": HOSTILE * 99, "repaired": None}])
        pathway = run / "pathway" / folder.name
        put(pathway / "pathway.json", {"sentences": [HOSTILE]})
        concepts = pd.read_parquet(pathway / "concepts.parquet")
        concepts.assign(name=HOSTILE).to_parquet(pathway / "concepts.parquet")
        patching = pd.read_parquet(pathway / "patching.parquet")
        patching.assign(direction=HOSTILE + patching["direction"]).to_parquet(pathway / "patching.parquet")
        readout = pd.read_parquet(pathway / "readout.parquet")
        readout.assign(items=HOSTILE).drop_duplicates(["model", "layer", "metric"]).to_parquet(
            pathway / "readout.parquet"
        )
    for path in (run / "verdict").glob("*/test.parquet"):
        scores = pd.read_parquet(path)
        for column in ("answer", "generator_prompt", "validator_prompt", "group"):
            scores[column] = [f"{HOSTILE} {i}" for i in range(len(scores))]
        scores.to_parquet(path)
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert not page.all("script")
    assert len(page.all("style")) == 1
    assert asks_network(html) == []
    assert html.count(HOSTILE) == 0
    assert "{{ 7 * 7 }}" in page.text
    assert "more characters are in generations.jsonl" in page.text
    assert "No text at all." in page.text


def test_the_items_that_moved_most_are_those_of_a_plain_loop(whole: Path) -> None:
    (repair,) = [r for r in repairs_of(whole) if r.label == "readout"]
    tables = [pd.read_parquet(whole / "verdict" / name / "test.parquet") for name in ("base-hypernymy", "readout-s0")]
    moved = []
    for i in range(120):
        steps = []
        for form in ("generator_logodds", "validator_logodds"):
            below = [sum(v < table[form][i] for v in table[form]) for table in tables]
            steps.append(abs(below[1] - below[0]))
        moved.append(max(steps))
    order = np.argsort([-m for m in moved], kind="stable")[:10]
    items = changed_items(repair, whole, "test")
    assert [item["answer"] for item in items] == [tables[0]["answer"][i] for i in order]
    first, i = items[0]["forms"]["validator"], order[0]
    assert first["own"] in tables[0]["validator_prompt"][i]
    before, after = (f"{table['validator_logodds'][i]:.2f}".replace("-", "−") for table in tables)
    assert first["logodds"] == f"{before} → {after}"
    assert items[0]["gold"] == tables[0]["gold"][i]


def test_a_shift_of_all_items_moves_none(run: Path) -> None:
    base = pd.read_parquet(run / "verdict" / "base-hypernymy" / "test.parquet")
    shifted = base.assign(validator_logodds=2 * base["validator_logodds"] - 7)
    shifted.to_parquet(run / "verdict" / "readout-s0" / "test.parquet")
    (repair,) = [r for r in repairs_of(run) if r.label == "readout"]
    assert changed_items(repair, run, "test") == []


def test_wreckage_and_crowds_draw(whole: Path) -> None:
    wreck, *_ = repairs_of(whole)
    with style.house_style():
        many = [Repair(f"repair {i}", wreck.seeds) for i in range(MOST_PANELS + 2)]
        drawn = draw_every_repair(many, whole, "test")
        assert drawn is not None and f"Shown: {MOST_PANELS} of {MOST_PANELS + 2} repairs." in drawn.caption
        closure = draw_closure(many)
        assert closure is not None and "closes" in closure.title
        assert draw_every_repair(many[:1], whole, "test") is None


def test_a_pathway_of_nothing_draws(tmp_path: Path) -> None:
    write_pathway(tmp_path, MADE["calibrate"], 0, n_layers=3)
    for path in tmp_path.glob("*.parquet"):
        table = pd.read_parquet(path)
        numbers = [c for c in ("value", "low", "high", "pearson", "change") if c in table.columns]
        table.assign(**dict.fromkeys(numbers, np.nan)).to_parquet(path)
    found = read_pathway(tmp_path)
    assert found is not None
    with style.house_style():
        names = [d.name for d in draw_pathway(found)]
    assert "pathway-matrix" not in names and "readout" not in names and "changed-concepts" not in names
    assert read_pathway(tmp_path / "none") is None
