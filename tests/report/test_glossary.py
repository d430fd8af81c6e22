"""Every metric that is measured is explained, and is defined where the page says."""

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from tests.report.line_folder import write_line
from tests.report.test_html import Page
from tests.verdict.repaired_run import MADE, write_run

import accord.errors
from accord.capabilities import CAPABILITIES, part
from accord.concepts.page import LABEL_TERMS
from accord.concepts.page import TERMS as CONCEPT_TERMS
from accord.damage.terms import DAMAGE_TERMS
from accord.gap.glossary import MAIN, TERMS, term
from accord.perplexity.page import HEAD_TERMS
from accord.perplexity.page import TERMS as TEXT_TERMS
from accord.report.glossary import Term
from accord.report.html import write_report
from accord.verdict.tables import TERMS as VERDICT_TERMS

ALL = [*TERMS.items(), *DAMAGE_TERMS.items(), *VERDICT_TERMS.items(), *CONCEPT_TERMS.items(), *LABEL_TERMS.items()]
ALL += [*TEXT_TERMS.items(), *HEAD_TERMS.items()]


@pytest.fixture(scope="module")
def metrics() -> ModuleType:
    """`accord.gap.metrics` by its file: the room it stands in would import torch, for seconds."""
    path = Path(accord.errors.__file__).parent / "gap" / "metrics.py"
    spec = importlib.util.spec_from_file_location("gap_metrics_alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_measure_has_an_entry(metrics: ModuleType) -> None:
    assert {*metrics.MEASURES, *metrics.WITHIN} <= set(TERMS)
    assert set(MAIN) <= set(metrics.MEASURES)


def test_definitions_exist(metrics: ModuleType) -> None:
    for entry in TERMS.values():
        for name in re.findall(r"accord\.gap\.metrics\.(\w+)", entry.defined):
            assert hasattr(metrics, name)


def test_no_page_has_other_measures() -> None:
    """Whatever the pages explain is among those that the tests here look at."""
    shown = [
        entry
        for page in filter(None, (part(capability, "page") for capability in CAPABILITIES))
        for table in vars(page).values()
        if isinstance(table, Mapping)
        for entry in table.values()
        if isinstance(entry, Term)
    ]
    assert len(shown) > 20 and {id(entry) for entry in shown} <= {id(entry) for _, entry in ALL}


def test_unknown_metric_is_shown_under_its_own_name() -> None:
    assert term("some_new_thing").label == "some new thing"


def test_every_measure_has_a_formula() -> None:
    """But for what is counted, and for time; measures of one name have one formula, as they share its place."""
    assert {name for name, entry in ALL if not entry.formula and not entry.whole} == {"seconds"}
    assert len({(entry.place, entry.formula) for _, entry in ALL}) == len({entry.place for _, entry in ALL})
    assert not [entry for _, entry in ALL if re.search(r"[{}]", entry.formula)]  # nothing is left to be filled in


def test_names_on_the_page_lead_to_their_formulas(
    tmp_path: Path,
    gap_writer: Callable[..., Path],
    gap_scores: Callable[..., pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")  # nearly all of the time
    write_run(tmp_path, {"readout": MADE["readout"]})
    write_line(tmp_path, seeds=[0], models=["topk"])
    gap_writer(tmp_path / "gap" / "hypernymy", gap_scores(60), layers=False)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    linked = {link["href"].removeprefix("#") for link in page.all("a") if link.get("class") == "measure"}
    places = [element["id"] for _, element in page.elements if element.get("id", "").startswith("measure-")]
    assert sorted(linked) == sorted(places) and len(places) > 40
    for entry in (TERMS["pearson_yes"], DAMAGE_TERMS["same_top"], VERDICT_TERMS["closure"], CONCEPT_TERMS["r2"]):
        assert entry.place in linked and entry.formula in page.text
