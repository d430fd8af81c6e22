"""The engine on a real Ray of three machines in one: the same results as a serial run, and what fails."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from rich.console import Console

from accord.cluster.config import MachinesSection
from accord.cluster.driver import Driver
from accord.cluster.pool import Make
from accord.cluster.ray_pool import RayPool
from accord.cluster.schedule import StageSchedule
from accord.cluster.shared import left_a_mark
from accord.cluster.worker import Briefing
from accord.disk import is_locked, lock
from accord.errors import AccordError
from accord.study import engine
from accord.study.check import check
from accord.study.manifest import read_manifest
from accord.study.remove import removal
from accord.study.search import search
from tests.cluster import sleeping
from tests.study.shared_study import STUDY, write_files

pytest.importorskip("ray", reason="of several workers (pip install 'accord[ray]')")

MACHINE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
WITH_CARDS = {**MACHINE, "num_gpus": 2}  # as Ray counts them: what a worker computes on is this machine's processor
_TAKEN = ("seconds", "path", "repaired")  # keys of JSON files that are another in every run, as its folder is


@pytest.fixture(scope="module")
def cluster():
    """Three machines of one CPU each, on this one; two have cards."""
    from accord.cluster.start import import_ray

    import_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**MACHINE, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**WITH_CARDS)
    yield cluster
    cluster.shutdown()


@contextmanager
def pool_of(cluster, folder, stages, shares=True):
    """Workers that sleep, and the text of their stages."""
    from accord.cluster.ray_pool import RayPool
    from accord.cluster.start import connected

    text, machines = json.dumps(stages), MachinesSection(engine="ray", address=cluster.address)
    folder.mkdir(exist_ok=True)
    with lock(folder.resolve()), left_a_mark(folder) as mark, connected(machines) as ray:
        seen = mark if shares else "another"
        told = Briefing(text, "s.toml", str(folder.parent), str(folder), "cpu", seen, 1, ("accord", "run", "s.toml"))
        prints = {stage.name: stage.recipe.fingerprint for stage in sleeping.planned(text, folder)}
        pool = RayPool(ray, machines, told, prints, worker=sleeping.SleepingWorker)
        try:
            yield pool
        finally:
            pool.close()


class Notes:
    """Who is told: keeps it, and calls what is given for an event."""

    def __init__(self, **calls):
        self.told, self._calls = [], calls

    def __getattr__(self, name):
        def note(*about):
            self.told.append((name, *about))
            if name in self._calls:
                self._calls[name](self)

        return note

    def of(self, name):
        return [about for kind, *about in self.told if kind == name]


# First, as it needs no run of its own, and the machines are all there


def test_a_machine_that_sees_another_folder_is_named(cluster, tmp_path):
    stages = [{"name": "a", "how": "sleep 0"}]
    seen = pytest.raises(AccordError, match="does not see there what the driver")
    with pool_of(cluster, tmp_path / "run", stages, shares=False) as pool, seen as raised:
        pool.open()
    assert str(tmp_path / "run") in str(raised.value)


@pytest.fixture(scope="module")
def hard_run(cluster, tmp_path_factory):
    """A run in which a machine leaves, a worker is killed, and a stage fails."""
    folder = tmp_path_factory.mktemp("hard") / "run"
    stages = [
        *({"name": f"wait/{i}", "how": "wait go", "seconds": 9} for i in range(3)),
        {"name": "dies/once", "how": "die died", "seconds": 8},
        {"name": "fails", "how": "fail on purpose", "seconds": 7},
        {"name": "after/failed", "how": "sleep 0", "inputs": ["fails", "wait/0"]},
        {"name": "after/all", "how": "sleep 0", "inputs": ["wait/0", "wait/1", "wait/2", "dies/once"]},
    ]

    def begun(notes):
        if len(notes.of("begun")) == 3:
            cluster.remove_node(cluster.worker_nodes.copy().pop())
            (folder.parent / "go").write_text("")

    with pool_of(cluster, folder, stages) as pool:
        pool.open()
        schedule, notes = StageSchedule(sleeping.jobs_of(json.dumps(stages))), Notes(begun=begun)
        Driver(schedule, pool, notes).run()
    cluster.add_node(**WITH_CARDS)
    return folder, schedule, notes


def test_all_that_can_be_made_is_made(hard_run):
    folder, schedule, notes = hard_run
    assert {stage for stage, *_ in notes.of("made")} == {"wait/0", "wait/1", "wait/2", "dies/once", "after/all"}
    found = (folder / "after" / "all" / "found.txt").read_text()
    assert found == "after/all(wait/0(), wait/1(), wait/2(), dies/once())"
    assert read_manifest(folder / "after" / "all")["command"] == "accord run s.toml"
    assert [*schedule.failed] == ["fails"] and [*schedule.waiting] == ["after/failed"]
    assert schedule.failed["fails"] == "This cannot be made. (on purpose)"
    assert not list(folder.glob("**/.*.partial"))


def test_what_was_lost_is_made_again_elsewhere(hard_run):
    _, _, notes = hard_run
    lost = {stage: why for _, why, stage in notes.of("lost") if stage}
    assert set(lost) == {"dies/once", *(stage for stage in lost if stage.startswith("wait/"))} and len(lost) == 2
    assert {"its machine left"} == {why for stage, why in lost.items() if stage.startswith("wait/")}
    begun = [stage for stage, _ in notes.of("begun")]
    assert sorted(stage for stage in set(begun) if begun.count(stage) == 2) == sorted([*lost, "fails"])


def test_the_logs_of_what_failed_or_died_are_in_the_run_folder(hard_run):
    folder, _, _ = hard_run
    logs = folder / "logs"
    failed, died = (logs / "fails.log").read_text(), (logs / "dies" / "once.log").read_text()
    assert "before it fails" in failed and "AccordError: This cannot be made." in failed
    assert died.startswith("20") and "last words" in died and died.count("worker") == 1
    assert not (logs / "after").exists()  # of what was made without a hitch nothing stays
    assert [str(problem) for problem in check(folder)] == []


def test_sixty_stages_are_made_without_a_worker_that_idles_though_a_machine_left_while_idle(cluster, tmp_path):
    """Three workers; all stages wait for the first. An idle worker's machine leaves then, and another joins."""
    draw, stages = random.Random(3), [{"name": "wait/0", "how": "wait go", "seconds": 9}]
    for i in range(60):
        inputs = {"wait/0", *(draw.choice(stages)["name"] for _ in range(draw.randrange(3)))}
        stages.append({"name": f"sleep/{i}", "how": "sleep 0.05", "inputs": sorted(inputs)})
    gone = []

    def all_are_there(notes):
        first = dict(notes.of("begun")).get("wait/0")
        if len(notes.of("joined")) == 3 and first and not gone:
            hosts = dict(notes.of("joined"))
            idle = {node for worker, node in hosts.items() if worker != first} - {hosts[first]}
            node = next(node for node in cluster.worker_nodes if node.node_id in idle)
            gone.extend(worker for worker, host in hosts.items() if host == node.node_id)
            cluster.remove_node(node)
            cluster.add_node(**WITH_CARDS)
            (tmp_path / "go").write_text("")

    with pool_of(cluster, tmp_path / "run", stages) as pool:
        pool.open()
        schedule, notes = (
            StageSchedule(sleeping.jobs_of(json.dumps(stages))),
            Notes(joined=all_are_there, begun=all_are_there),
        )
        Driver(schedule, pool, notes).run()
    assert len(gone) == 1
    assert {stage for stage, *_ in notes.of("made")} == {of["name"] for of in stages} and not schedule.failed
    inputs = {of["name"]: set(of.get("inputs", ())) for of in stages}
    at, made, before = {}, set(), ""  # worker -> stage that it makes; idle: ""
    for kind, *about in notes.told:
        if before == "begun" and kind != before:  # all orders are given that can be
            ready = {name for name in inputs if inputs[name] <= made} - made - set(at.values())
            assert not ready or all(at.values())
        before = kind
        if kind == "begun":
            stage, worker = about
            assert inputs[stage] <= made and not at[worker]
            at[worker] = stage
        elif kind == "made":
            made.add(about[0])
            at = {worker: "" if stage == about[0] else stage for worker, stage in at.items()}
        elif kind == "joined":
            at[about[0]] = ""
        elif kind == "lost":
            at.pop(about[0])


def test_an_interrupted_driver_has_its_workers_leave_and_nothing_is_half_written(cluster, tmp_path):
    folder = tmp_path / "run"

    def begun(notes):
        time.sleep(1.0)
        raise KeyboardInterrupt

    stages = [{"name": "wait/0", "how": "wait never"}]
    with pool_of(cluster, folder, stages) as pool:
        pool.open()
        driver = Driver(StageSchedule(sleeping.jobs_of(json.dumps(stages))), pool, Notes(begun=begun))
        with pytest.raises(KeyboardInterrupt):
            driver.run()
    assert not (folder / "wait" / "0").exists()
    assert not is_locked((folder / "wait" / "0").resolve())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a model, a judge and texts."""
    folder = tmp_path_factory.mktemp("study")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(files):
    """The same folder with a study, and its serial run."""
    (files / "s.toml").write_text(STUDY)
    engine.run(files / "s.toml", files / "serial", console=Console(file=io.StringIO()))
    return files


def contents(run):
    """Stage -> file -> its hash, or what is in it but for seconds."""
    return {
        path.parent.relative_to(run).as_posix(): {
            name: _without_seconds(path.parent / name) if name.endswith((".json", ".jsonl")) else of["sha256"]
            for name, of in read_manifest(path.parent)["files"].items()
        }
        for path in run.rglob("manifest.json")
    }


def _without_seconds(path):
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    return [_bare(json.loads(line)) for line in lines]


def _bare(content):
    if isinstance(content, dict):
        return {key: _bare(value) for key, value in content.items() if key not in _TAKEN}
    return [*map(_bare, content)] if isinstance(content, list) else content


def test_a_run_that_was_killed_goes_on_and_gives_what_a_serial_run_gives(cluster, prepared, monkeypatch):
    monkeypatch.chdir(prepared.parent)
    path, run = prepared / "s.toml", prepared / "parallel"
    words = ["-m", "accord", "run", path, "--out", run, "--engine", "ray", "--address", cluster.address]
    driver = subprocess.Popen([sys.executable, *map(str, words)], env=os.environ, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while not list(run.glob("*/*/manifest.json")) and time.monotonic() < until and driver.poll() is None:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    said = driver.communicate()[1]
    assert driver.returncode == -signal.SIGKILL, said
    before = contents(run)
    assert 0 < len(before) < len(contents(prepared / "serial")), said
    console = Console(file=io.StringIO(), width=200)
    machines = MachinesSection(engine="ray", address=cluster.address)
    assert engine.run(path, run, console=console, machines=machines) == run / "report.html"
    told = console.file.getvalue()
    assert "(worker " in told and "failed" not in told
    assert contents(run) == contents(prepared / "serial")
    assert check(run) == []
    assert removal(run).stages == len(contents(run))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the cards of this test are Ray's alone")
def test_two_workers_with_cards_train_a_concept_model_together(cluster, files, monkeypatch):
    study, quiet = files / "cards.toml", Console(file=io.StringIO())
    study.write_text(STUDY.partition("[[heads]]")[0].replace('device = "cpu"', 'device = "auto"'))
    orders, start = [], RayPool.start
    monkeypatch.setattr(RayPool, "start", lambda pool, order: (orders.append(order), start(pool, order)))
    machines = MachinesSection(engine="ray", address=cluster.address, gpus_per_model=2, ranks=2)
    engine.run(study, files / "alone", only=["concepts"], console=quiet)
    engine.run(study, files / "together", only=["concepts"], console=quiet, machines=machines)
    with_ = {order.stage: len(order.with_) for order in orders if isinstance(order, Make)}
    assert with_ == {"embeddings": 0, "concepts/topk-s0": 1}
    found = [files / run / "concepts" / "topk-s0" / "metrics.json" for run in ("alone", "together")]
    alone, together = (json.loads(path.read_text()) for path in found)
    assert together["fvu"] == pytest.approx(alone["fvu"], rel=1e-3)
    assert check(files / "together") == []


SEARCH = """
[[concepts]]
name = "sae"
kind = "topk"
size = { low = 8, high = 32, step = 8 }
k = 4
training = { steps = 4, batch = 64, lr = { low = 1e-4, high = 1e-2, log = true } }

[search]
objective = "concepts/sae:r2"
direction = "maximize"
"""


def test_the_trials_of_a_search_are_those_of_one_process(cluster, prepared, monkeypatch):
    monkeypatch.chdir(prepared.parent)
    monkeypatch.setattr("accord.report.write_report", lambda folder: folder)
    head, text = STUDY.split("[[gap]]")[0], STUDY[STUDY.index("[text]") : STUDY.index("[[concepts]]")]
    path = prepared / "search.toml"
    path.write_text(head + text + SEARCH)
    found = {}
    for engine_ in ("serial", "ray"):
        address = cluster.address if engine_ == "ray" else ""
        console = Console(file=io.StringIO(), width=200)
        machines = MachinesSection(engine=engine_, address=address, workers=2)
        found[engine_] = search(path, 3, prepared / f"search-{engine_}", console=console, machines=machines)[0]
    assert found["ray"] == found["serial"] and len(found["ray"]) == 3
    assert len({trial.values["lr"] for trial in found["ray"]}) == 3
    assert "3 of 3 trials to do" in console.file.getvalue() and "(worker " in console.file.getvalue()
    assert check(prepared / "search-ray") == []
