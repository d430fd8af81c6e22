"""The part of the page on a search: the best first, both directions, what failed, and safety."""

import json
import math

import pandas as pd
import pytest
from tests.report.search_folder import write_search
from tests.report.test_html import HOSTILE, Page, asks_network

from accord.errors import AccordError
from accord.report import style
from accord.report.draw_search import draw_search
from accord.report.html import write_report
from accord.report.search_data import read_search


def read(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_the_page_of_a_search(tmp_path):
    run = write_search(tmp_path / "tune")
    text = read(run).text.replace("\N{NO-BREAK SPACE}", " ")
    table = pd.read_csv(run / "trials.csv")
    best = table.loc[table["concepts/sae:r2_hard"].idxmax()]
    assert f"Best of 37 trials: concepts/sae:r2_hard = {best['concepts/sae:r2_hard']:.4f}".replace(" 0.", " .") in text
    assert f"kind = {best['kind']}, training.lr = {best['training.lr']:.3g}, k = {best['k']}" in text
    assert "40 trials, sampler random; 3 failed" in text and "27 more" in text
    assert text.count("the loss is not a finite number; where: step 3") == 3
    assert "over seeds" not in text  # nothing here has such an interval
    page = (run / "report.html").read_text()
    assert 'href="./best.toml"' in page and f'href="./trials/{best["trial"]:04}/study.toml"' in page


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_is_first_and_on_top_of_the_picture(tmp_path, direction):
    search = read_search(write_search(tmp_path, direction=direction))
    values = search.done["value"]
    assert values.iloc[0] == (values.max() if direction == "maximize" else values.min())
    with style.house_style():
        drawn = draw_search(search)
        drawn.figure.canvas.draw()
    lines = [p for p in drawn.figure.axes[0].patches if p.get_linestyle() == "solid"]
    failed = [p for p in drawn.figure.axes[0].patches if p.get_linestyle() != "solid"]
    assert len(lines) == 37 and len(failed) == 3
    ends = [line.get_path().vertices[-1] for line in lines]
    thickest = max(range(37), key=lambda i: lines[i].get_linewidth())
    assert ends[thickest][1] == max(end[1] for end in ends) and {end[0] for end in ends} == {4}
    assert {line.get_path().vertices[-1][0] for line in failed} == {3}  # short of the objective
    # A value in the middle of a logarithmic scale crosses it in the middle.
    trial = search.done.iloc[0]
    height = (math.log10(trial["training.lr"]) + 4) / 2
    assert any(abs(vertex[1] - height) < 1e-9 for vertex in lines[thickest].get_path().vertices)


@pytest.mark.parametrize(("trials", "failed"), [(1, 0), (2, 1), (3, 3)])
def test_few_trials_and_none_that_worked(tmp_path, trials, failed):
    page = read(write_search(tmp_path, trials, failed=failed))
    assert ("Best of" in page.text) == (failed < trials)


def test_hostile_names_stay_text(tmp_path):
    run = write_search(tmp_path, 4)
    told = json.loads((run / "search.json").read_text())
    table = pd.read_csv(run / "trials.csv")
    told["ranges"][0]["choices"][0] = HOSTILE
    told["ranges"][2]["name"] = HOSTILE
    (run / "search.json").write_text(json.dumps(told))
    table["kind"] = HOSTILE
    table.rename(columns={"k": HOSTILE}).to_csv(run / "trials.csv", index=False)
    page = read(run)
    html = (run / "report.html").read_text()
    assert not asks_network(html) and "<script" not in html and "alert('x')" in page.text


def test_broken_folders_are_told(tmp_path):
    run = write_search(tmp_path, 4)
    pd.read_csv(run / "trials.csv").drop(columns="k").to_csv(run / "trials.csv", index=False)
    with pytest.raises(AccordError, match="lacks a column") as caught:
        write_report(run)
    assert "k" in str(caught.value)
    (run / "search.json").write_text("{}")
    with pytest.raises(AccordError, match="lacks a key"):
        write_report(run)
    (run / "search.json").write_text("{")
    with pytest.raises(AccordError, match="not JSON"):
        write_report(run)
