"""A forecast in a study: made before repairs, told at the top of the page, drawn, and shown whatever names are like."""

from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.report.test_html import HOSTILE, asks_network, own_scripts
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

import accord
from accord import RepairForecast, cli
from accord.forecasting import figures, findings
from accord.report import style, write_report
from accord.study import plan_study
from accord.study.config import load

pytestmark = pytest.mark.usefixtures("seldom_answers")
_STUDY = """
name = "forecasts"

[backbone]
model = "base"

[[forecast]]
name = "words"
task = "hypernymy"
validator_shots = "zero"
limit = 48

[[forecast]]
name = "members"
task = "hypernymy-members"
validator_shots = "zero"
limit = 64
negated = true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    tiny_model().save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    (folder / "study.toml").write_text(_STUDY)
    result = CliRunner().invoke(cli.app, ["run", str(folder / "study.toml"), "--out", str(folder / "run")])
    assert result.exit_code == 0, result.output
    return folder


def test_a_study_makes_it_and_the_page_leads_with_it(folder: Path) -> None:
    run = accord.read(folder / "run")
    assert list(run) == ["forecast/words", "forecast/members"]
    html = write_report(folder / "run").read_text(encoding="utf-8")
    for told in run.of(RepairForecast).values():
        assert findings.finding(told).headline in unescape(html)
        assert "The record so far" in html and "forecast-1-pairs" in html
    assert "Forecast, words" in html and "RepairForecast" not in html
    told = run["forecast/members"]
    assert set(told.corrections["correction"]) == {"own", "negated"}
    assert set(told.corrections["scope"]) == set(told.pairs["scope"]) == {"all", "within"}


def test_it_comes_before_the_repairs_and_reads_what_they_learn_from(folder: Path) -> None:
    text = _STUDY + '\n[[repair]]\nkind = "readout"\nvalidator_shots = "zero"\nlimit = 48\n'
    (folder / "with.toml").write_text(text)
    stages = plan_study(load(folder / "with.toml"), fetch=True).stages
    assert [stage.kind for stage in stages][:3] == ["forecast", "forecast", "repair"]
    assert stages[0].settings["task"] == stages[2].settings["task"]


def test_what_is_wrong_is_said_with_its_line(folder: Path) -> None:
    (folder / "wrong.toml").write_text(_STUDY.replace('"members"', '"Words"'))
    result = CliRunner().invoke(cli.app, ["run", str(folder / "wrong.toml"), "--dry-run"])
    assert result.exit_code != 0 and "same folder" in result.output and "forecast/Words" in result.output


@pytest.fixture
def told(folder: Path) -> RepairForecast:
    forecast: RepairForecast = accord.read(folder / "run")["forecast/words"]
    return forecast


def test_figures_show_the_numbers(told: RepairForecast) -> None:
    with style.house_style():
        pairs, layers = figures.draw_all(told)
    lines = [line for line in pairs.figure.axes[0].get_lines() if len(line.get_xdata()) > 2]
    for line, direction in zip(lines, findings.FORMS, strict=True):
        assert list(np.asarray(line.get_ydata())) == list(findings.bins(told, direction)["value"])
    read = told.layers[told.layers["metric"] == "readout_r"]["value"]
    assert list(np.asarray(layers.figure.axes[1].get_lines()[1].get_ydata())) == list(read)
    none = replace(told, pairs=told.pairs[:0], layers=told.layers[told.layers["layer"] == 0])
    with style.house_style():
        assert figures.draw_all(none) == []
    assert set(told.plot()) == {"pairs", "layers"} and "<table>" in told._repr_html_()


def test_foreign_text_stays_text(folder: Path, told: RepairForecast, monkeypatch: pytest.MonkeyPatch) -> None:
    named = told.items.assign(answer=HOSTILE, generator_prompt=HOSTILE)
    record = told.record.assign(model=HOSTILE, task=HOSTILE, source=HOSTILE)
    about = {**told.about, "model": HOSTILE, "task": HOSTILE}
    odd = {"value": None, "low": None, "high": None, "reason": HOSTILE}
    hostile = replace(told, about=about, items=named, record=record, metrics={**told.metrics, "closure_readout": odd})
    monkeypatch.setattr(RepairForecast, "read", classmethod(lambda cls, folder: hostile))
    html = write_report(folder / "run").read_text(encoding="utf-8")
    assert own_scripts(html) and asks_network(html) == []
    assert "{{ 7 * 7 }}" in html and "alert(" in html
    assert isinstance(hostile.record, pd.DataFrame) and "alert" in hostile._repr_html_()
    assert "<script>" not in hostile._repr_html_()
