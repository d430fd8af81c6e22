"""The part of the page on a search: the best first, both directions, what failed, and safety."""

import math

import pandas as pd
import pytest
from tests.report.run_folder import publish_result
from tests.report.search_folder import write_search
from tests.report.test_html import HOSTILE, Page, asks_network, own_scripts

from accord.errors import AccordError
from accord.report import style
from accord.report.draw_search import draw_search
from accord.report.html import write_report
from accord.study.ranges import Choices, Interval
from accord.study.search_config import SearchSection
from accord.study.search_result import SearchedRange, SearchResult
from accord.study.trials import SearchTrial

SECTION = SearchSection(objective="concepts/sae:r2_hard", direction="maximize")


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
    search = SearchResult.read(write_search(tmp_path, direction=direction))
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


def test_the_head_names_the_models_of_trials(tmp_path):
    run = write_search(tmp_path / "tune", 4)
    publish_result(run / "trials" / "0002", "embeddings", "", None, settings={"model": "tiny"}, files={"a": "b"})
    text = read(run).text
    assert "Model tiny Measured 2" in text


def test_hostile_names_stay_text(tmp_path):
    ranges = [
        SearchedRange("kind", Choices(choices=[HOSTILE, "topk"])),
        SearchedRange(HOSTILE, Interval(low=4, high=64)),
    ]
    trials = [SearchTrial(i, {"kind": HOSTILE, HOSTILE: 5 + i}, i / 10, None) for i in range(3)]
    trials.append(SearchTrial(3, {"kind": "topk", HOSTILE: 9}, None, HOSTILE))
    SearchResult(SECTION, ranges, "f").with_trials(trials).write(tmp_path)
    page = read(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert not asks_network(html) and own_scripts(html) and "alert('x')" in page.text


def test_what_is_written_is_read(tmp_path):
    ranges = [SearchedRange("words", Choices(choices=["NA", "", "a, b", [1, 2], True, 1.5])),
              SearchedRange("n", Interval(low=1, high=9)),
              SearchedRange("lr", Interval(low=1e-4, high=1e-2, log=True))]  # fmt: skip
    search = SearchResult(SECTION, ranges, "print")
    search.write(tmp_path)
    assert SearchResult.read(tmp_path).trials.empty and not (tmp_path / "trials.csv").exists()
    trials = [
        SearchTrial(i, {"words": word, "n": i + 1, "lr": 0.001}, i / 3, None)
        for i, word in enumerate(["NA", "", [1, 2]])
    ]
    trials.append(SearchTrial(3, {"words": True, "n": 9, "lr": 0.01}, None, "it\nfailed"))
    search.with_trials(trials).write(tmp_path)
    again = SearchResult.read(tmp_path)
    assert (again.section, again.ranges, again.fingerprint) == (SECTION, ranges, "print")
    assert again.trials["words"].tolist() == ["NA", "", "[1, 2]", "true"]
    assert again.done["trial"].tolist() == [2, 1, 0] and again.failed["failed"].tolist() == ["it\nfailed"]
    assert [(range_.ends, range_.log, range_.whole) for range_ in ranges] == [
        ((0, 5), False, False), ((1, 9), False, True), ((1e-4, 1e-2), True, False),
    ]  # fmt: skip


def test_broken_folders_are_told(tmp_path):
    run = write_search(tmp_path, 4)
    pd.read_csv(run / "trials.csv").drop(columns="k").to_csv(run / "trials.csv", index=False)
    with pytest.raises(AccordError, match="This search cannot be read") as caught:
        write_report(run)
    assert "k" in str(caught.value)
    (run / "search.json").write_text("{}")
    with pytest.raises(AccordError, match="damaged"):
        write_report(run)
    (run / "search.json").write_text("{")
    with pytest.raises(AccordError, match="not JSON"):
        write_report(run)
