"""`accord run` with and without several workers, as far as it goes without Ray."""

import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from accord.cluster import forecast as module
from accord.cluster.config import MachinesSection
from accord.cluster.forecast import as_jobs, forecast
from accord.cluster.room import RoomForWorkers, room, this_machine
from accord.cluster.start import connected, import_ray
from accord.errors import AccordError, MissingLibrary
from accord.study import engine
from accord.study.config import load
from accord.study.graph import plan_study
from accord.study.remove import removal
from tests.study.made_run import listed, make_run, said
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
"""


@pytest.fixture
def study(tmp_path):
    tiny_hub_folder(tmp_path / "model")
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path / "s.toml"


def test_a_run_on_one_process_knows_nothing_of_ray():
    code = """
import sys
sys.modules["ray"] = None
import accord.cli, accord.study.engine, accord.study.preview, accord.study.remove, accord.study.making
assert not [name for name in sys.modules if name.startswith("ray.") or name == "accord.cluster.ray_pool"]
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("runs", [True, False])
def test_ray_is_ended_only_where_it_was_begun(monkeypatch, runs):
    ended = []
    ray = SimpleNamespace(is_initialized=lambda: runs, init=lambda **_: None, shutdown=lambda: ended.append(1))
    monkeypatch.setattr("accord.cluster.start.import_ray", lambda alone: ray)
    refuses = pytest.raises(AccordError, match="Ray runs in this process already") if runs else nullcontext()
    with refuses, connected(MachinesSection(engine="ray")):
        assert not ended
    assert ended == ([] if runs else [1])


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'accord\[ray\]'") as raised:
        import_ray()
    assert raised.value.exit_code == 2


def test_the_command_line_counts_before_the_study(study):
    assert engine.machines_of(load(study)) == MachinesSection()
    study.write_text(STUDY + '[machines]\nengine = "ray"\nworkers = 3\ncpus_per_stage = 2\n')
    given = engine.machines_of(load(study), workers=5, address=None)
    assert given == MachinesSection(engine="ray", workers=5, cpus_per_stage=2)
    assert engine.machines_of(load(study), engine="serial").engine == "serial"


def test_what_only_several_workers_have_is_no_option_of_one(study):
    code, told = said("run", study, "--workers", 2)
    assert code == 1 and "A serial run has one worker" in told and "--engine ray" in told
    code, told = said("run", study, "--engine", "rya", "--dry-run")
    assert code == 1 and "--engine" in told and "ray" in told


def test_machines_are_in_no_recipe(study):
    before = [stage.recipe.fingerprint for stage in plan_study(load(study)).stages]
    study.write_text(STUDY + '[machines]\nengine = "ray"\naddress = "auto"\nranks = 2\n')
    assert [stage.recipe.fingerprint for stage in plan_study(load(study)).stages] == before


def test_a_numbered_card_is_no_device_of_workers(study, tmp_path):
    study.write_text(STUDY.replace('"cpu"', '"cuda:1"'))
    what = engine.ToMake(load(study), plan_study(load(study)), [], [], tmp_path / "run", page=False)
    from accord.cluster.run import make_all

    with pytest.raises(AccordError, match='write device = "cuda"'):
        make_all(what, None, MachinesSection(engine="ray"))


def test_a_forecast_follows_the_longest_path(study, monkeypatch):
    stages = plan_study(load(study)).stages
    seconds = {"gap/hypernymy": 1.0, "repair/calibrate-s0": 4.0, "answers/hypernymy": 2.0, "verdict/calibrate-s0": 3.0}
    assert {stage.name for stage in stages} == set(seconds)
    monkeypatch.setattr(module.costs, "expected", lambda stage: seconds[stage.name])
    of = forecast(stages, MachinesSection(engine="ray", workers=2), lambda: 10)
    assert (of.workers, of.cards, of.card_hours) == (2, 0, 0)
    assert of.longest == ("repair/calibrate-s0", "verdict/calibrate-s0") and of.longest_seconds == of.seconds == 7.0
    assert of.busy == 10.0
    assert sorted(name for names in of.timeline.values() for name in names) == sorted(seconds)
    assert {one.model: one.stages for one in of.models} == {"backbone": 3, "": 1}
    assert min(one.memory for one in of.models) >= 10
    assert forecast([], MachinesSection()) is None
    left = [stage for stage in stages if stage.kind in ("answers", "verdict")]
    (job,) = [job for job in as_jobs(left, {stage.name: 1.0 for stage in left}) if job.name.startswith("verdict")]
    assert job.inputs == ("answers/hypernymy",)  # what is up to date is waited for by nobody


def test_a_dry_run_tells_who_would_make_what(study, tmp_path):
    code, told = said("run", study, "--out", tmp_path / "run", "--dry-run", "--engine", "ray", "--workers", 2)
    assert code == 0, told
    assert "On Ray: 2 workers, about " in told and "At least about" in told
    assert "repair/calibrate-s0 → verdict/calibrate-s0" in " ".join(told.split())
    assert "Model backbone: 3 stages" in told and "A repaired model each: 1 stage" in told
    assert "worker 1: " in told and "worker 2: " in told
    assert not (tmp_path / "run").exists()
    assert "On Ray" not in said("run", study, "--out", tmp_path / "run", "--dry-run")[1]


@pytest.mark.parametrize(
    ("nodes", "keys", "memory", "wanted"),
    [
        ([{"CPU": 8.0, "memory": 100.0}], {}, 0, RoomForWorkers(8, False)),
        ([{"CPU": 8.0, "memory": 100.0}], {}, 30, RoomForWorkers(3, False)),
        ([{"CPU": 8.0}, {"CPU": 3.0}], {"cpus_per_stage": 2}, 0, RoomForWorkers(5, False)),
        ([{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0}], {"gpus_per_model": 2}, 10**9, RoomForWorkers(2, True)),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 8.0}], {"workers": 2}, 0, RoomForWorkers(2, True)),
        ([{"CPU": 8.0, "GPU": 1.0}], {"gpus_per_model": 2}, 0, RoomForWorkers(0, True)),
        ([], {}, 0, RoomForWorkers(0, False)),
    ],
)
def test_as_many_workers_as_there_is_room_for(nodes, keys, memory, wanted):
    assert room(nodes, MachinesSection(engine="ray", **keys), memory) == wanted


@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        ("cpu", RoomForWorkers(9, False)),
        ("auto", RoomForWorkers(1, True)),
        ("cuda", RoomForWorkers(1, True)),
        ("auto=40GB,cpu", RoomForWorkers(1, True)),
    ],
)
def test_a_study_on_cpus_holds_no_gpu(device, wanted):
    nodes = [{"CPU": 64.0, "GPU": 1.0, "memory": 99.0}]
    assert room(nodes, MachinesSection(engine="ray"), 11, device=device) == wanted


def test_a_dry_run_counts_what_ray_is_started_with(monkeypatch):
    given = {}
    calls = {"is_initialized": lambda: False, "shutdown": lambda: None}
    ray = SimpleNamespace(init=lambda **keys: given.update(keys), **calls)
    monkeypatch.setattr("accord.cluster.start.import_module", lambda name: ray)
    monkeypatch.setattr("accord.machine.free_memory", lambda device: 1000)
    machines = MachinesSection(engine="ray", workers=500, cpus_per_stage=2)
    with connected(machines):
        pass
    here = this_machine(machines)
    assert (given["num_cpus"], given["_memory"]) == (here["CPU"], here["memory"]) == (1000, 1000)


def test_logs_are_accords_own_and_go_with_the_run(tmp_path):
    run = listed(make_run(tmp_path / "run"))
    (run / "logs" / "gap").mkdir(parents=True)
    for name in ("logs/gap/a.log", "logs/embeddings.log", "logs/.seen-0123"):
        (run / name).write_text("")
    assert said("check", run) == (0, f"{run}: all files are as they were written\n")
    (run / "logs" / "mine.txt").write_text("")
    with pytest.raises(AccordError, match=r"logs/mine\.txt"):
        removal(run)
    (run / "logs" / "mine.txt").unlink()
    removal(run).carry_out()
    assert not run.exists()
