"""Which way repairs go, on the page: all figures of one, a few of the others, and nothing where there is nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.report.run_folder import publish_result
from tests.verdict.repaired_run import MADE, make_pathway

from accord.pathway import page
from accord.pathway.figures import draw_changed_concepts, draw_patching, draw_pathway
from accord.pathway.result import Pathway
from accord.pathway.tables import ALL
from accord.report import style
from accord.study.run_folder import Run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "x" * 100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    for label, name in (("rankalign-s1", "rankalign"), ("readout-s0", "readout")):
        publish_result(folder, "pathway", label, make_pathway(MADE[name]))
    return Run(folder)


@pytest.mark.usefixtures("undrawn")
def test_the_one_that_leads_has_all_figures(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pathways = run.of(Pathway)
    repairs = {"rankalign": {0: None, 1: pathways["rankalign-s1"]}, "none": {0: None}}
    repairs["readout"] = {0: pathways["readout-s0"]}
    first, second = page.pathway_shown(repairs, "readout", "key")["shown"]
    assert (first["label"], first["seed"], len(first["figures"])) == ("readout", "", 6)
    assert (second["label"], second["seed"], len(second["figures"])) == ("rankalign", "seed 1", 2)
    assert first["sentence"] == " ".join(pathways["readout-s0"].summary()["sentences"])
    assert "the repair enters" in first["sentence"]
    monkeypatch.setattr(page, "BUDGET", 100)
    values = page.pathway_shown(repairs, "readout", "key")
    assert (len(values["shown"]), values["dropped"]) == (1, ["rankalign"])


def test_titles_say_where(run: Run) -> None:
    with style.house_style():
        titles = {drawn.name: drawn.title for drawn in draw_pathway(run["pathway/rankalign-s1"]) if drawn is not None}
    table = run["pathway/rankalign-s1"].cka
    least = table.loc[table["value"].idxmin()]
    assert titles["cka"].startswith(f"States differ most at layer {least['layer']} on validator prompts (CKA .7")
    concepts = run["pathway/rankalign-s1"].concepts
    assert titles["changed-concepts"].startswith(f"{concepts['certain'].sum()} of 40 concepts changed for certain")


def test_only_the_last_position_of_patching_is_shown(run: Run) -> None:
    pathway = run["pathway/readout-s0"]
    more = pd.concat([pathway.patching, pathway.patching.assign(positions=ALL, value=9.0)])
    with style.house_style():
        last, every = (draw_patching(p) for p in (pathway, replace(pathway, patching=more)))
        assert last is not None and every is not None
        assert style.inline_svg(last.figure, "a") == style.inline_svg(every.figure, "a")


def test_a_pathway_of_nothing_draws(tmp_path: Path) -> None:
    pathway, numbers = make_pathway(MADE["readout"], layers=3), ("value", "low", "high", "pearson", "change")

    def emptied(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**dict.fromkeys([name for name in numbers if name in table.columns], np.nan))

    tables = {name: emptied(getattr(pathway, name)) for name in ("curves", "matrix", "cka", "readout", "patching")}
    nothing = replace(pathway, **tables, concepts=emptied(pathway.concepts))
    publish_result(tmp_path, "pathway", "a-s0", nothing)
    with style.house_style():
        names = [drawn.name for drawn in draw_pathway(Run(tmp_path)["pathway/a-s0"]) if drawn is not None]
        assert "pathway-matrix" not in names and "readout" not in names and "changed-concepts" not in names
        single = {name: table[table["layer"] == 2] for name in tables if "layer" in (table := getattr(pathway, name))}
        alone = draw_pathway(replace(pathway, **single))  # a curve of one layer is none
    assert [drawn.name for drawn in alone if drawn is not None] == ["changed-concepts", "pathway-matrix"]


def test_a_concept_without_an_interval_is_told_and_looks_so(run: Run) -> None:
    pathway = run["pathway/readout-s0"]
    assert pathway.concepts is not None
    lacking = pathway.concepts.copy()
    lacking.loc[lacking["change"].abs().idxmax(), ["low", "high"]] = np.nan
    with style.house_style():
        whole, bare = (draw_changed_concepts(replace(pathway, concepts=table)) for table in (pathway.concepts, lacking))
    assert whole is not None and bare is not None
    assert "Hollow" not in whole.caption and "Hollow, without a line: changed on too few items" in bare.caption
    for drawn, faces in ((whole, 0), (bare, 1)):
        points = [line for line in drawn.figure.axes[0].lines if line.get_marker() in ("o", "s")]
        assert sum(point.get_markerfacecolor() == "none" for point in points) == faces
