"""How a run was made, on the page: its machines and workers, and its stages in time."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from tests.study.made_run import change, make_run

from accord.report import style
from accord.report.draw_timeline import draw_timeline
from accord.report.making import Making, by_number
from accord.report.making_page import chapters, making_shown
from accord.study.run_folder import Run

COLUMNS = ["stage", "capability", "machine", "worker", "session", "start", "end"]


def making(rows, machines=("node7",)):
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values("start", ignore_index=True)
    return Making(table, {host: i for i, host in enumerate(machines, 1)}, {})


def many(stages, workers):
    kinds = ["gap", "concepts", "heads", "repair", "verdict", "damage", "pathway", "names"]
    rows = []
    for i in range(stages):
        kind, start = kinds[i % 8], i // workers * 50.0
        rows.append((f"{kind}/{i}", kind, 1 + i % 2, f"worker {i % workers}", 1, start, start + 9 + i % 40))
    return making(rows, ("node7", "node9"))


def at(second):
    return f"2026-03-01T10:00:{second:06.3f}+00:00"


def make(folder):
    """Two stages, of which the first was interrupted, on two machines."""
    run = make_run(folder, stages=["gap/a", "gap/b"], report=False)
    spans = [
        {"started": at(1), "finished": at(3), "host": "node<7>", "worker": "worker 1"},
        {"started": at(4), "finished": "", "host": "node<7>", "worker": "worker 1"},
        {"started": at(5), "finished": at(6.5), "host": "node9", "worker": "worker 2"},
    ]
    machine = {"host": "node9", "device": "cuda", "card": "H100 <b>", "threads": 4, "peak_memory": 2_500_000_000}
    change(run / "gap/a/manifest.json", spans=spans, machine={**machine, "worker": "worker 2"})
    later = [{"started": at(7), "finished": at(9), "host": "node9", "worker": "worker 2"}]
    change(run / "gap/b/manifest.json", spans=later, machine={**machine, "peak_memory": None, "worker": "worker 2"})
    return run


def test_sessions_are_read_from_manifests(tmp_path):
    found = Making.of(Run(make(tmp_path / "demo")))
    assert list(found.sessions.columns) == COLUMNS
    assert found.sessions["start"].tolist() == pytest.approx([0, 3, 4, 6])
    assert found.sessions["end"].tolist() == pytest.approx([2, np.nan, 5.5, 8], nan_ok=True)
    assert found.sessions["machine"].tolist() == [1, 1, 2, 2] and found.sessions["session"].tolist() == [1, 2, 3, 1]
    assert found.workers == 2 and found.work == pytest.approx(5.5)


def test_the_page_tells_machines_and_hosts_once(tmp_path):
    (chapter,) = chapters(Run(make(tmp_path / "demo")))
    assert chapter.folded and chapter.title == "How it was made"
    assert chapter.shown["machines"] == [("machine 1", "node<7>"), ("machine 2", "node9, H100 <b>")]
    first, second = chapter.shown["rows"]
    assert (first["machine"], first["worker"], first["memory"], first["note"]) == (
        2,
        "worker 2",
        "2.50",
        "in 3 sessions",
    )
    assert (second["memory"], second["note"]) == ("–", "")
    drawn = chapter.shown["figures"][0]["drawn"]
    assert not {"node<7>", "node9"} & {str(value) for value in drawn.numbers.to_numpy().ravel()}
    assert "A cross is where work began that was killed" in drawn.caption


def test_stages_of_earlier_versions_have_no_such_chapter(tmp_path):
    run = make_run(tmp_path / "demo", stages=["gap/a"], report=False)
    path = run / "gap/a/manifest.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("machine", "spans")}
    path.write_text(json.dumps(old))
    change(path)
    assert chapters(Run(run)) == []


def test_breaks_are_cut_out_and_told():
    rows = [("gap/a", "gap", 1, "", 1, 0.0, 100.0), ("gap/b", "gap", 1, "", 1, 130.0, 200.0)]
    rows += [("gap/b", "gap", 1, "", 2, 4200.0, 4300.0)]
    found = making(rows)
    table, breaks = found.without_breaks()
    assert [seconds for _, seconds in breaks] == [4000.0]  # half a minute is none
    assert table["start"].tolist() == pytest.approx([0, 130, 205.4])
    with style.house_style():
        drawn = draw_timeline(found)
    assert drawn.title == "2 stages in 5 min"
    assert "Dashed: 1 break in which nobody worked, together 1 h 07 min, cut out." in drawn.caption
    assert "breaks cut out" in drawn.figure.axes[0].get_xlabel()
    assert any(text.get_text() == "1 h 07 min later" for text in drawn.figure.axes[0].texts)


@pytest.mark.parametrize(("stages", "workers"), [(5, 1), (36, 4), (90, 3)])
def test_names_stand_where_they_fit(stages, workers):
    with style.house_style():
        drawn = draw_timeline(many(stages, workers))
        assert "<svg" in style.inline_svg(drawn.figure, "p")
    axes = drawn.figure.axes[0]
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert (sum(bool(re.search("/", name)) for name in named) == stages) == (stages < 45)
    drawn.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert (len(boxes) > 0) == (stages > 45)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert drawn.figure.get_size_inches()[1] < 10


def test_one_stage_is_no_timeline():
    with style.house_style():
        assert draw_timeline(making([("gap/a", "gap", 1, "", 1, 0.0, 100.0)])) is None
    assert making_shown(making([("gap/a", "gap", 1, "", 1, 0.0, 100.0)]))["figures"] == []


def test_workers_are_sorted_by_their_numbers():
    assert sorted(["worker 10", "worker 2", ""], key=by_number) == ["", "worker 2", "worker 10"]
