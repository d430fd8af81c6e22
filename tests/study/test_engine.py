"""A run does what is new, changed or unfinished, and nothing else."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from tests.study.made_run import write_page
from tests.tiny import tiny_hub_folder

from accord.errors import AccordError
from accord.study import engine
from accord.study.check import check
from accord.study.stage import Stage

STUDY = """
name = "s"
backbone.model = "model"
[[gap]]
task = "hypernymy"
limit = 8
[[gap]]
task = "hypernymy"
limit = 8
validator_shots = "zero"
"""
FIRST, SECOND = "gap/hypernymy", "gap/hypernymy-validator-zero"


class Fakes:
    """Stands in for measuring and for the report; counts what was done."""

    def __init__(self):
        self.done: list[str] = []
        self.stop_at: str | None = None
        self.kinds: dict[str, str] = {}  # label -> kind of stage, where it is no gap

    def gap_stage(self, section, task, identity, load, seed, inputs=None):
        def make(work):
            work.progress(0, 2)
            (work.folder / "part").write_text("half")
            if self.stop_at == stage.name:
                raise KeyboardInterrupt
            self.done.append(stage.name)
            (work.folder / "scores.txt").write_text(str(task.settings))
            work.progress(2, 2)

        kind = self.kinds.get(section.folder, "gap")
        stage = Stage(kind, section.folder, make, {"task": task.settings, "layers": section.layers}, seed, 1)
        return stage

    def write_report(self, folder, coming=()):
        self.done.append(f"report without {', '.join(coming)}" if coming else "report")
        return write_page(folder)


@pytest.fixture
def fakes(monkeypatch):
    fakes = Fakes()
    monkeypatch.setattr("accord.gap.stage.gap_stage", fakes.gap_stage)
    monkeypatch.setattr("accord.report.write_figures", lambda folder: None)
    monkeypatch.setattr("accord.report.write_report", fakes.write_report)
    monkeypatch.setattr("accord.study.making.result_types", dict)  # what the fakes write is no gap
    return fakes


@pytest.fixture
def run(fakes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_hub_folder(tmp_path / "model")
    path = tmp_path / "s.toml"
    path.write_text(STUDY)

    def run(old="", new="", out=None, replace=False):
        path.write_text(path.read_text().replace(old, new, 1))
        fakes.done.clear()
        shown = io.StringIO()
        report = engine.run(path, out, console=Console(file=shown, width=200), replace=replace)
        assert report.is_file()
        return fakes.done, shown.getvalue()

    return run


def test_a_rerun_does_nothing(run):
    done, shown = run()
    assert done == [FIRST, SECOND, "report"]
    assert "s: 2 of 2 stages to do" in shown
    done, shown = run()
    assert done == []
    assert shown == "s: all 2 stages are up to date\n"
    assert Path("runs/s/study.toml").read_text() == STUDY


def test_a_swap_that_was_cut_is_ended_where_there_is_nothing_else_to_do(run):
    run()
    shutil.copytree(f"runs/s/{FIRST}", "runs/s/gap/.hypernymy.old")
    Path("runs/s/gap/.hypernymy.old/mine.txt").write_text("years")
    done, shown = run()
    assert done == [] and f"{FIRST}: what accord did not write there is now in" in shown
    assert Path("runs/s/gap/hypernymy.kept/mine.txt").read_text() == "years" and check(Path("runs/s")) == []


def test_the_page_is_written_when_a_capability_is_done_and_says_what_is_to_come(run, fakes):
    fakes.kinds["hypernymy-validator-zero"] = "other"
    assert run()[0] == [FIRST, "report without other", "other/hypernymy-validator-zero", "report"]
    assert run()[0] == []


def test_a_run_that_is_stopped_says_nothing_more_of_itself(run, fakes):
    fakes.stop_at = SECOND
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not Path("runs/s/progress.json").exists()


def test_only_what_changed_is_done_again(run):
    run()
    done, shown = run("limit = 8", "limit = 9", replace=True)
    assert done == [FIRST, "report"]
    assert "task.limit (8 → 9)" in shown and "s: 1 of 2 stages to do, 1 up to date" in shown and SECOND not in shown


def test_results_of_other_settings_are_kept_unless_replaced(run, fakes):
    """What differs, and both ways out, are said before anything is made or written."""
    run()
    text, scores = (Path("runs/s", name).read_text() for name in ("study.toml", f"{FIRST}/scores.txt"))
    new = '[[gap]]\ntask = "hypernymy"\nname = "new"\nlimit = 8\n'
    with pytest.raises(AccordError) as caught:
        run("[[gap]]", f"{new}[[gap]]\nlayers = true")
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[0] == "This run holds results of other settings." and lines[1].endswith("runs/s")
    assert lines[2].startswith(f"got:    {FIRST}: layers (False → True); made in") and SECOND not in str(caught.value)
    assert "--replace" in lines[3] and 'name = "…"' in lines[3] and "--out" in lines[3]
    assert fakes.done == []
    assert text == Path("runs/s/study.toml").read_text() and scores == Path(f"runs/s/{FIRST}/scores.txt").read_text()
    assert run('name = "s"', 'name = "t"')[0] == ["gap/new", FIRST, SECOND, "report"]
    assert run('name = "t"', 'name = "s"', replace=True)[0] == ["gap/new", FIRST, "report"]
    assert run()[0] == []


def test_what_is_not_accords_own_is_found_before_the_first_stage(run, fakes):
    run()
    run("[[gap]]", '[[gap]]\ntask = "hypernymy"\nname = "a"\nlimit = 8\n[[gap]]')
    Path("runs/s/gap/mine").mkdir()
    Path("runs/s/gap/mine/thesis.txt").write_text("years")
    with pytest.raises(AccordError, match="did not write"):
        run("[[gap]]", '[[gap]]\ntask = "hypernymy"\nname = "mine"\nlimit = 8\n[[gap]]', replace=True)
    assert fakes.done == []


def test_a_comment_changes_the_report_at_most(run):
    run()
    done, _ = run("[[gap]]", "# why\n[[gap]]")
    assert done == ["report"]


def test_a_study_with_windows_line_ends_stays_up_to_date(run, tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "s.toml").rename(tmp_path / "w.toml")
    shown = Console(file=io.StringIO())
    report = engine.run(tmp_path / "w.toml", console=shown)
    before = report.stat().st_mtime_ns
    engine.run(tmp_path / "w.toml", console=shown)
    assert report.stat().st_mtime_ns == before


def test_a_kill_at_the_very_start_is_no_obstacle(run, tmp_path):
    (tmp_path / "runs" / "s").mkdir(parents=True)
    (tmp_path / "runs" / "s" / "study.toml.tmp").write_text("na")
    assert len(run()[0]) == 3


def test_a_section_that_is_gone_is_told_and_left(run):
    run()
    done, shown = run('validator_shots = "zero"', 'name = "other"')
    assert done == ["gap/other", "report"]
    assert f"{SECOND}: no longer in the study" in shown


def test_the_report_is_made_again_when_it_is_missing_or_old(run):
    run()
    Path("runs/s/report.html").unlink()
    assert run()[0] == ["report"]
    for text in ("", "mine", Path("runs/s/report.html").read_text().replace("utf-8", "utf-9")):
        Path("runs/s/report.html").write_text(text)
        os.utime("runs/s/report.html", (4e9, 4e9))  # a time says nothing
        assert run()[0] == ["report"]
    os.utime("runs/s/report.html", (1, 1))
    assert run()[0] == []


def test_a_damaged_stage_is_done_again(run):
    run()
    Path(f"runs/s/{SECOND}/scores.txt").unlink()
    done, shown = run()
    assert _made(done) == [SECOND] and "gone or changed" in shown


def test_a_run_mends_what_was_changed_in_its_folder(run):
    run()
    for name in ("study.toml", "plan.json", "run.json"):
        Path("runs/s", name).write_text("x")
        assert check(Path("runs/s")) != []
        assert run()[0] in ([], ["report"]) and check(Path("runs/s")) == []
        Path("runs/s", name).unlink()
        assert run()[0] in ([], ["report"]) and check(Path("runs/s")) == []
    Path("runs/s", FIRST, "manifest.json").unlink()
    done, shown = run()
    assert _made(done) == [FIRST] and f"{FIRST}: what accord did not write there is now in" in shown
    assert Path(f"runs/s/{FIRST}.kept/scores.txt").is_file() and check(Path("runs/s")) == []
    shutil.rmtree(Path("runs/s", SECOND))
    assert _made(run()[0]) == [SECOND] and check(Path("runs/s")) == []


def _made(done):
    """Without the page, which stays where the same numbers are made within the same second."""
    return [name for name in done if name != "report"]


def test_a_run_of_an_earlier_version_gets_a_list_and_nothing_is_made_again(run):
    run()
    for path in Path("runs/s").rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        del manifest["digest"]
        path.write_text(json.dumps(manifest))
    Path("runs/s/run.json").unlink()
    assert "an earlier version" in check(Path("runs/s"))[0].what
    assert run()[0] == ["report"] and check(Path("runs/s")) == []
    path.write_text(path.read_text().replace("hypernymy", "Hypernymy", 1))
    assert len(check(Path("runs/s"))) == 1


def test_an_interrupted_run_goes_on(run, fakes):
    fakes.stop_at = SECOND
    with pytest.raises(KeyboardInterrupt):
        run()
    assert fakes.done == [FIRST]
    fakes.stop_at = None
    assert run()[0] == [SECOND, "report"]


def test_out_names_the_run_folder(run, tmp_path):
    run(out=tmp_path / "elsewhere" / "mine")
    assert (tmp_path / "elsewhere" / "mine" / FIRST / "scores.txt").exists()


def test_a_folder_of_the_users_own_is_not_touched(run, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for out in (mine, tmp_path):
        with pytest.raises(AccordError, match="not a run folder"):
            run(out=out)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    run(out=tmp_path / "first")
    with pytest.raises(AccordError, match="another study"):
        run('name = "s"', 'name = "t"', out=tmp_path / "first")


def test_mistakes_are_found_before_anything_is_made(run, fakes, tmp_path):
    with pytest.raises(AccordError, match=r"s.toml:5"):
        run("hypernymy", "hypernimy")
    assert fakes.done == [] and not (tmp_path / "runs").exists()
