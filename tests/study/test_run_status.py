"""Which runs there are and how each stands, told from their folders alone; and the report opened."""

import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.report.run_folder import publish_result
from tests.study.made_run import FOUND, STUDY, change, make_run, progress, said, write_page

import accord
from accord.disk import lock
from accord.errors import AccordError
from accord.study.run_status import runs, status


def on_screen(*words, columns, ends=0):
    """What a command prints in a terminal of a width, without its colours."""
    code, text = said(*words, COLUMNS=str(columns), FORCE_COLOR="1", TERM="xterm")
    assert code == ends, text
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()]


@pytest.fixture
def several(tmp_path):
    """A folder with a run half done, a search, a single stage, a damaged run, and a study that nobody has run."""
    folder = tmp_path / "runs"
    make_run(folder / "demo", planned=["damage/x", "damage/y"], day=3)
    make_run(folder / "broken", ["gap/a"], day=2, report=False)
    (folder / "broken" / "gap" / "a" / "manifest.json").write_text("{")
    os.utime(folder / "broken", (1, 1))  # of one that says nothing, the folder's own time counts
    search = make_run(folder / "search", ["embeddings"], day=1, study=STUDY.replace("demo", "search"))
    (search / "plan.json").unlink()
    (search / "search.json").write_text("{}")
    for number in range(2):
        (search / "trials" / f"000{number}").mkdir(parents=True)
        (search / "trials" / f"000{number}" / "trial.json").write_text("{}")
        os.utime(search / "trials" / f"000{number}" / "trial.json", (1e9, 1e9))
    single = publish_result(folder, "heads", "t", None, settings={"model": {"name": "tiny"}}, folder=folder / "one")
    change(single / "manifest.json", finished="2026-03-09T10:00:00+00:00")
    (folder / "mine").mkdir()
    (folder / "mine" / "study.toml").write_text(STUDY)
    (folder / "notes.txt").write_text("mine")
    return folder


def test_runs_are_listed_newest_first(several):
    found = runs(several)
    assert [run.folder.name for run in found] == ["one", "demo", "search", "broken"]
    one, demo, search, broken = found
    assert (demo.name, demo.model, demo.done, demo.of, demo.finding, demo.problem) == (
        *("demo", "smollm2-135m", 2, 4),
        *(FOUND, ""),
    )
    assert (one.name, one.model, one.done, one.of, one.finding) == ("one", "tiny", 1, None, "")
    assert search.trials == 2 and [stage.name for stage in search.stages] == ["embeddings"]
    assert broken.problem == "damaged: gap/a" and broken.done == 0
    assert demo.bytes == sum(path.stat().st_size for path in demo.folder.rglob("*") if path.is_file())
    assert [run.folder for run in runs(several / "demo")] == [several / "demo"]
    assert runs(several / "mine") == []
    assert accord.study.runs(several)[1].finding == FOUND  # type: ignore[attr-defined]
    with pytest.raises(AccordError, match="no such folder"):
        runs(several / "absent")


def test_a_line_a_run_where_there_is_no_terminal(several):
    code, text = said("runs", several)
    header, *lines = text.splitlines()
    assert code == 1 and header.split() == ["name", "model", "stages", "when", "size", "first", "finding"]
    assert [line.split()[0] for line in lines] == ["one", "demo", "search", "broken"]
    assert FOUND in lines[1] and "2 of 4" in lines[1] and "2026-03-03" in lines[1]
    assert "2 trials" in lines[2] and "damaged: gap/a" in lines[3] and "no finding yet" in lines[0]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_all_of_it(several, columns):
    lines = on_screen("runs", several, columns=columns, ends=1)
    assert max(map(len, lines)) <= columns
    row = next(i for i, line in enumerate(lines) if line.startswith("demo"))
    assert re.search("smollm2-135m +2 of 4 +2026-03-03", lines[row])
    assert lines[row + 1] == f"  {FOUND}" if columns == 80 else FOUND in lines[row]


def test_a_folder_without_runs_says_so(tmp_path):
    assert said("runs", tmp_path) == (0, f"{tmp_path}: no runs in it; accord run STUDY.toml makes one\n")


def test_names_are_text_and_nothing_else(tmp_path):
    study = 'name = "[red]x[/]\\u001b[31m"\n[backbone]\nmodel = "../my/[b]model\\u0007"\n'
    folder = make_run(tmp_path / "runs" / "r", study=study, report=False)
    change(folder / "plan.json", command="accord run \u001b[2J.toml", stages={"gap/a": "1", "gap/[red]z": "2"})
    for words in (["runs", folder.parent], ["status", folder]):
        code, text = said(*words)
        assert code == 1 and "\x1b" not in text and "\x07" not in text
        assert "[b]model" in text
    assert "[red]x[/]" in said("runs", folder.parent)[1] and "gap/[red]z" in said("status", folder)[1]


def test_what_is_written_by_nobody_stops_no_list(several):
    """Files that are JSON but of other types, and a study that is no table."""
    demo = several / "demo"
    change(demo / "gap" / "a" / "manifest.json", settings=3, facts=[], inputs="x", seconds="long", finished=7, files=[])
    (demo / "study.toml").write_text("backbone = 3\nname = []\n")
    for text in ("[]", "{", '{"stage": 3, "done": "x", "total": 1e999, "pid": "a", "updated": {}}', "\x00"):
        (demo / "progress.json").write_text(text)
        run = next(run for run in runs(several) if run.folder == demo)
        assert run.name == "demo" and run.problem == "damaged: gap/a"
        assert said("status", demo)[0] == said("runs", several)[0] == 1
    (demo / "plan.json").write_text('{"command": 1, "stages": []}')
    assert status(demo).of is None


def test_states_of_stages(tmp_path):
    folder = make_run(tmp_path / "r", ["gap/a", "gap/b", "gap/c", "gap/d", "gap/old"], planned=["damage/e", "damage/f"])
    stages = json.loads((folder / "plan.json").read_text())["stages"]
    del stages["gap/old"]
    change(folder / "plan.json", stages={**stages, "gap/b": "other"})
    change(folder / "gap" / "c" / "manifest.json", facts={"unfinished": "the server left"})
    (folder / "gap" / "d" / "numbers.txt").write_text("longer than before")
    (folder / "damage" / ".e.partial").mkdir(parents=True)
    (folder / "damage" / ".e.partial" / "part").write_text("1234")
    run = status(folder)
    assert {stage.name: stage.state for stage in run.stages} == {
        "gap/a": "whole",
        "gap/b": "outdated",
        "gap/c": "unfinished",
        "gap/d": "damaged",
        "damage/e": "begun",
        "damage/f": "to do",
        "gap/old": "left over",
    }
    assert (run.done, run.of) == (1, 6)
    by_name = {stage.name: stage for stage in run.stages}
    assert by_name["damage/e"].bytes == 4 and by_name["gap/a"].seconds == 41.0
    code, text = said("status", folder)
    assert code == 1 and "1 of 6 stages whole" in text and "gap/c: the server left" in text
    assert re.search(r"gap/a +whole +41 s +2026-03-01", text)
    assert "To do: 5. The same command goes on from what is there: accord run demo.toml" in text
    assert "(made from other results than these: accord open" in text
    write_page(folder)
    assert said("status", folder)[1].endswith(f"Report: {folder / 'report.html'}\n")


def test_a_run_that_lives(tmp_path):
    folder = make_run(tmp_path / "runs" / "demo", planned=["gap/c", "gap/d", "gap/e"])
    progress(folder)
    with lock(folder.resolve()):
        run = status(folder)
        assert run.progress is not None and run.progress.life == "running" and run.busy
        code, text = said("status", folder)
        assert code == 0
        assert "Running: gap/c (3 of 4) at 40%; 2 min so far, about 4 min left." in text
        assert re.search(r"gap/c +being made 40%", text) and "To do" not in text
        assert re.search(r"gap/d +to do +\ngap/e +to do", text)  # every stage has its line
        lines = on_screen("status", folder, columns=80)
        assert [line.split("  ")[0] for line in lines[1:5]] == ["gap/a", "gap/b", "gap/c", "gap, 2 stages"]
        assert "running, 4 min left" in said("runs", folder.parent)[1]
        progress(folder, pid=2**22 + 1)  # left by one that was killed; another process works there now
        assert "A process of accord works on it now." in said("status", folder)[1]
        (folder / "progress.json").unlink()
        assert "A process of accord works on it now." in said("status", folder)[1]
        assert re.search(r"2 of 5 +busy", said("runs", folder.parent)[1])
    assert not list(folder.parent.glob(".*"))


SEVERAL = [
    {"stage": "gap/c", "at": "worker 1 on node7", "done": 2, "total": 5, "elapsed": 60},
    {"stage": "gap/d", "at": "worker 2 on node9\x1b[2J", "done": 0, "total": 0, "elapsed": 9},
]


def test_a_run_whose_stages_are_made_by_several_workers(tmp_path):
    folder = make_run(tmp_path / "runs" / "demo", planned=["gap/c", "gap/d", "gap/e"])
    progress(folder, running=SEVERAL, ended=2, of=5)
    with lock(folder.resolve()):
        code, text = said("status", folder, COLUMNS="120")
        assert code == 0
        assert "Running: 2 stages at once, 2 of 5 done; 2 min so far, about 4 min left." in text
        assert re.search(r"gap/c +being made 40%, worker 1 on node7", text)
        assert re.search(r"gap/d +being made, worker 2 on node9", text) and "\x1b[2J" not in text
        assert re.search(r"gap/e +to do", text)
        assert "running, 2 stages at once, 4 min left" in said("runs", folder.parent, COLUMNS="200")[1]
        progress(folder, running=SEVERAL[:1], ended=2, of=5)
        assert "Running: gap/c (3 of 5) at 40%, worker 1 on node7; 2 min so far" in said("status", folder)[1]
        progress(folder, running=[], ended=2, of=5)
        assert "Running: no stage (2 of 5 done); 2 min so far" in said("status", folder)[1]


def test_workers_elsewhere_are_seen_from_here(tmp_path):
    """A stage that is not there because it is being made on another machine is no damage."""
    folder = make_run(tmp_path / "runs" / "demo", planned=["gap/c", "gap/d"])
    (folder / "gap" / ".d.partial").mkdir()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    progress(folder, running=SEVERAL, ended=2, of=4, host="far", updated=now)
    code, text = said("status", folder, COLUMNS="120")
    assert code == 0
    assert re.search(r"Running on far, as it said .* ago: 2 stages at once, 2 of 4 done\.", text)
    assert re.search(r"gap/d +being made, worker 2 on node9", text) and "To do" not in text
    assert "running on far, 2 stages at once" in said("runs", folder.parent, COLUMNS="200")[1]


@pytest.mark.parametrize("running", [None, 7, [None, 7, {}], [{"stage": ["x"], "at": {}, "done": "many", "total": -1}]])
def test_whatever_a_note_says_of_what_runs_is_no_error(tmp_path, running):
    folder = make_run(tmp_path / "runs" / "demo", planned=["gap/c"])
    progress(folder, running=running, ended="all", number=1e300)
    with lock(folder.resolve()):
        code, text = said("status", folder)
        assert code == 0 and "Running: " in text


def test_a_run_that_was_killed(tmp_path):
    """The lock of a process that is gone is open, whatever its number is used for now."""
    folder = make_run(tmp_path / "runs" / "demo", planned=["gap/c", "gap/d"])
    progress(folder)
    (folder.parent / ".demo.lock").touch()
    code, text = said("status", folder)
    assert code == 0
    assert "Stopped: its process is gone. It was at gap/c (3 of 4) at 40%, last heard of 2026-03-01." in text
    assert "goes on from what is there: accord run demo.toml" in text
    assert "stopped 2026-03-01" in said("runs", folder.parent)[1]


def test_a_run_on_another_machine(tmp_path):
    folder = make_run(tmp_path / "runs" / "demo", planned=["gap/c"])
    progress(folder, host="far", updated="2026-03-01T10:02:10+00:00")
    assert "Begun on far, and last heard of" in (text := said("status", folder)[1])
    assert "can only be seen there" in text and "To do" not in text
    assert "on far" in said("runs", folder.parent)[1]


def test_status_of_no_run(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(AccordError, match="no run here"):
        status(tmp_path)


@pytest.fixture
def opened(monkeypatch):
    """Addresses that the browser was asked to open; a report is written without drawing it."""
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: addresses.append(address) or True)
    monkeypatch.setattr("accord.report.write_figures", lambda folder: None)

    def write_report(folder):
        return write_page(folder, "new")

    monkeypatch.setattr("accord.report.write_report", write_report)
    return addresses


def test_open(tmp_path, opened, monkeypatch):
    folder = make_run(tmp_path / "my runs" / "demo")
    report = folder / "report.html"
    before = report.read_text()
    address = f"file://{str(report).replace(' ', '%20')}"
    assert said("open", folder, DISPLAY=":0") == (0, f"{report}\n")
    assert opened == [address] and report.read_text() == before
    os.utime(report, (1, 1))
    assert said("open", folder, DISPLAY=":0")[0] == 0 and report.read_text() == before  # times say nothing
    report.write_text(before := before.replace("52%", "25%"))
    with lock(folder.resolve()):  # its own run writes it
        assert said("open", folder, DISPLAY=":0")[0] == 0 and report.read_text() == before
    assert said("open", folder, DISPLAY=":0")[0] == 0 and "new" in report.read_text()
    report.unlink()
    assert said("open", folder, DISPLAY=":0")[0] == 0 and "new" in report.read_text()
    opened.clear()
    monkeypatch.setattr(sys, "platform", "linux")
    code, text = said("open", folder, DISPLAY="", WAYLAND_DISPLAY="", BROWSER="")
    assert code == 0 and not opened and text.startswith(f"{report}\n") and address in text
    assert said("open", tmp_path / "absent")[0] == 1 and not Path(tmp_path / "absent").exists()
