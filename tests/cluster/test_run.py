"""A run of several workers from the study file to the page, with workers in this process in place of Ray's."""

import io
from contextlib import nullcontext

import pytest
from rich.console import Console

from accord.cluster import run as module
from accord.cluster.config import MachinesSection
from accord.errors import AccordError
from accord.study import costs, engine
from accord.study.check import check
from accord.study.manifest import read_manifest
from tests.cluster.here import Here
from tests.study.made_run import said
from tests.tiny import tiny_hub_folder

STUDY = """\
name = "s"
[backbone]
model = "model"
device = "cpu"
[[gap]]
task = "hypernymy"
limit = 8
[[repair]]
kind = "calibrate"
limit = 16
positions = 20
allow_low_mass = true
[verdict]
limit = 10
phrasings = false
[machines]
engine = "ray"
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    tiny_hub_folder(tmp_path / "model")
    (tmp_path / "s.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["accord", "run", "s.toml"])
    monkeypatch.setattr(module, "RayPool", type("Pool", (Here,), {}))
    monkeypatch.setattr(module, "connected", lambda machines: nullcontext())
    monkeypatch.setattr("accord.cluster.start.import_ray", lambda alone: None)

    def run(**keys):
        console = Console(file=io.StringIO(), width=200)
        try:
            return engine.run(tmp_path / "s.toml", console=console, **keys), console.file.getvalue()
        except AccordError as error:
            return error, console.file.getvalue()

    return run


def test_a_stage_that_fails_ends_the_run_when_all_others_are_made(run, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise AccordError("No such luck.", got="it rains")

    with monkeypatch.context() as patch:
        patch.setattr("accord.verdict.stage.score_trials", fails, raising=False)
        patch.setattr("accord.verdict.measure.score_trials", fails, raising=False)
        patch.setattr("accord.gap.measure_gap", fails)
        error, told = run()
    assert isinstance(error, AccordError) and error.exit_code == 1
    assert "could not be made" in str(error) and "; all others are." in str(error)
    assert "gap/hypernymy: No such luck. (it rains) (log: runs/s/logs/gap/hypernymy.log)" in str(error)
    assert "worker 1 on here is out: killed; " in told and "is made again elsewhere" in told
    made = tmp_path / "runs" / "s"
    assert "No such luck." in (made / "logs" / "gap" / "hypernymy.log").read_text()
    manifest = read_manifest(made / "repair" / "calibrate-s0")
    assert manifest["command"] == "accord run s.toml" and manifest["machine"]["worker"].startswith("worker ")
    assert not (made / "gap").exists() or not [*(made / "gap").glob("*/manifest.json")]
    report, told = run()
    assert report.name == "report.html" and report.parent.name == "s"
    assert "gap/hypernymy (worker" in told and "repair/calibrate-s0" not in told
    assert check(made) == [] and "error" not in said("status", made)[1]


def test_what_keeps_the_page_from_being_written_does_not_hide_what_failed(run, monkeypatch):
    def fails(*_, **__):
        raise AccordError("No such luck.")

    def breaks(folder):
        raise RuntimeError("of the page")

    monkeypatch.setattr("accord.gap.measure_gap", fails)
    monkeypatch.setattr(module, "bring_report", breaks)
    monkeypatch.setattr(module, "logs_of", lambda folder, stage: [])
    error, _ = run()
    assert isinstance(error, AccordError) and "gap/hypernymy: No such luck.\n" in f"{error}\n"
    assert str(error.__cause__) == "of the page" and "log:" not in str(error)


def test_a_run_of_workers_is_up_to_date_for_one_process_and_the_other_way_round(run):
    report, told = run()
    assert report.name == "report.html", report
    assert "4 of 4 stages to do" in told
    _, told = run(machines=MachinesSection())
    assert "all 4 stages are up to date" in told
    _, told = run()
    assert "all 4 stages are up to date" in told


def test_what_stages_took_is_known_to_the_next_run(run, tmp_path):
    run()
    stages = engine.plan_study(engine.load(tmp_path / "s.toml")).stages
    assert all(costs.measured(stage) is not None for stage in stages)
