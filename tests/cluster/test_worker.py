"""A worker, without Ray: what it makes, what it says of what fails, and what it leaves."""

import json
import os
import queue
import threading
import time
from contextlib import nullcontext

import pytest

from accord.cluster import worker as module
from accord.cluster.driver import Driver
from accord.cluster.forecast import Unheard
from accord.cluster.log import logged, logs_of
from accord.cluster.pool import Failed, Help, Helped, Joined, Made, Recall
from accord.cluster.schedule import StageSchedule
from accord.cluster.shared import left_a_mark, what_is_wrong
from accord.cluster.worker import Briefing, Worker
from accord.disk import DiskFull, lock
from accord.errors import AccordError
from accord.ranks import RankLost
from accord.study.graph import Graph
from accord.study.manifest import read_manifest
from tests.cluster import sleeping


class Sleeper(Worker):
    def _plan(self):
        return Graph(sleeping.planned(self._told.text, self._told.folder), {})


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker of stages that take no model, and their fingerprints; its command line is not the tests'."""
    monkeypatch.setattr("sys.argv", [*module.sys.argv])
    monkeypatch.chdir(tmp_path)

    def worker(*stages):
        text, folder = json.dumps(stages), tmp_path / "run"
        folder.mkdir(exist_ok=True)
        words = ("accord", "run", "s.toml")
        one = Sleeper("worker 1", Briefing(text, "s.toml", str(tmp_path), str(folder), "cpu", "mark", 1, words))
        return one, {stage.name: stage.recipe.fingerprint for stage in sleeping.planned(text, folder)}

    return worker


def test_a_stage_is_made_with_the_command_line_of_the_driver(worker, tmp_path):
    one, prints = worker({"name": "a/x", "how": "sleep 0"})
    done = one.make("a/x", prints["a/x"])
    assert (done.how, done.found, done.lacking) == ("made", "", "") and done.seconds >= 0
    manifest = read_manifest(tmp_path / "run" / "a" / "x")
    assert manifest["command"] == "accord run s.toml" and manifest["seconds"] == done.seconds
    assert not [*(tmp_path / "run").rglob("*.log")]
    assert one.make("a/x", prints["a/x"]).how == "made"  # it is there already


def test_what_fails_is_told_in_a_line_and_in_a_log(worker, tmp_path, capfd):
    one, prints = worker({"name": "a/x", "how": "fail on\tpurpose"})
    for _ in range(2):
        done = one.make("a/x", prints["a/x"])
        assert (done.how, done.reason) == ("failed", "This cannot be made. (on purpose)")
    log = (tmp_path / "run" / "logs" / "a" / "x.log").read_text()
    assert log.count("worker 1 on ") == log.count("before it fails") == log.count("Traceback") == 2
    assert "before it fails" not in capfd.readouterr().out


def test_a_full_disk_is_told_in_the_words_of_a_serial_run():
    assert module._in_a_line(DiskFull(module.Path("/"))).startswith("The disk is full.")


def test_a_machine_that_plans_another_stage_refuses(worker):
    one, _ = worker({"name": "a/x", "how": "sleep 0"})
    done = one.make("a/x", "of another version")
    assert done.how == "unfit" and done.reason.startswith("This machine would make something else of the stage")
    assert one.make("b/y", "of another version").how == "unfit"
    assert one.help("a/x", "of another version").how == "unfit"


def test_a_machine_that_cannot_plan_is_unfit_for_all_stages(worker, monkeypatch):
    def plans(self):
        raise AccordError("There is no key for the judge.", got="OPENAI_API_KEY is not set")

    monkeypatch.setattr(Sleeper, "_plan", plans)
    one, prints = worker({"name": "a/x", "how": "sleep 0"})
    done = one.make("a/x", prints["a/x"])
    assert (done.how, done.reason) == ("unfit", "There is no key for the judge. (OPENAI_API_KEY is not set)")


def test_a_stage_whose_ranks_lost_each_other_is_left_and_not_failed(worker, monkeypatch):
    def gone(*_, **__):
        raise RankLost("Rank 1 is gone: its process died.")

    one, prints = worker({"name": "a/x", "how": "sleep 0"})
    monkeypatch.setattr("accord.ranks.join", lambda rank, ranks, address: nullcontext())
    monkeypatch.setattr(module.store, "publish", gone)
    done = one.make("a/x", prints["a/x"], 0, 2, "here:1")
    assert (done.how, done.reason) == ("left", "Rank 1 is gone: its process died.")


def test_a_stage_whose_ranks_did_not_meet_is_left_and_not_failed(worker, monkeypatch):
    def alone(*_):
        raise AccordError("The ranks did not meet: rank 1 did not come.")

    one, prints = worker({"name": "a/x", "how": "sleep 0"})
    monkeypatch.setattr("accord.ranks.join", alone)
    done = one.make("a/x", prints["a/x"], 0, 2, "here:1")
    assert (done.how, done.reason) == ("left", "The ranks did not meet: rank 1 did not come.")


def test_what_is_told_to_leave_goes_on_later(worker, tmp_path):
    one, prints = worker({"name": "a/x", "how": "wait go"})
    done = []
    thread = threading.Thread(target=lambda: done.append(one.make("a/x", prints["a/x"])))
    thread.start()
    while one.how_far()[1] != 600:
        time.sleep(0.01)
    one.leave()
    thread.join(10)
    assert [one.how for one in done] == ["left"]
    assert not [*(tmp_path / "run").rglob("*.log")]
    assert one.how_far() == (0, 0, "", "")
    (tmp_path / "go").write_text("")
    assert one.make("a/x", prints["a/x"]).how == "made"


def test_inputs_that_are_not_seen_yet_are_waited_for(worker, monkeypatch):
    one, prints = worker({"name": "a", "how": "sleep 0"}, {"name": "b", "how": "sleep 0", "inputs": ["a"]})
    thread = threading.Timer(0.5, lambda: one.make("a", prints["a"]))
    other, _ = worker({"name": "a", "how": "sleep 0"}, {"name": "b", "how": "sleep 0", "inputs": ["a"]})
    thread.start()
    assert other.make("b", prints["b"]).how == "made"
    thread.join()
    listed, lists = set(), module.Path.iterdir
    monkeypatch.setattr(module.Path, "iterdir", lambda self: listed.add(self.name) or lists(self))
    monkeypatch.setattr(module, "_SEEN", 0.3)
    one, prints = worker({"name": "c", "how": "sleep 0"}, {"name": "d", "how": "sleep 0", "inputs": ["c"]})
    assert one.make("d", prints["d"]).how == "failed"
    assert listed == {"run"}
    one, prints = worker({"name": "c/x", "how": "sleep 0"}, {"name": "d", "how": "sleep 0", "inputs": ["c/x"]})
    assert one.make("d", prints["d"]).how == "failed"
    assert listed == {"run", "c"}


class Threads:
    """A pool whose workers are threads."""

    def __init__(self, prints, **workers):
        self._prints, self._workers, self._threads = prints, workers, []
        self.workers, self.events = len(workers), queue.SimpleQueue()
        for name in workers:
            self.events.put(Joined(name, "here"))

    def start(self, order):
        worker = self._workers[order.worker]
        if isinstance(order, Recall):
            worker.leave("help")
            return
        self._threads.append(threading.Thread(target=self._do, args=(worker, order), daemon=True))
        self._threads[-1].start()

    def _do(self, worker, order):
        if isinstance(order, Help):
            worker.help(order.stage, self._prints[order.stage])
            self.events.put(Helped(order.worker, order.stage))
            return
        done = worker.make(order.stage, self._prints[order.stage])
        how = Made(order.worker, order.stage) if done.how == "made" else Failed(order.worker, order.stage, done.reason)
        self.events.put(how)

    def wait(self, timeout):
        try:
            return [self.events.get(timeout=timeout)]
        except queue.Empty:
            return []

    def replace(self, worker):
        raise AssertionError

    def join(self):
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def test_a_worker_that_has_nothing_to_make_computes_parts_of_what_another_makes(worker, tmp_path):
    stages = [{"name": "a/x", "how": "in parts"}]
    (one, prints), (other, _) = worker(*stages), worker(*stages)
    pool, schedule = Threads(prints, one=one, other=other), StageSchedule(sleeping.jobs_of(json.dumps(stages)))
    Driver(schedule, pool, Unheard()).run()
    pool.join()
    assert schedule.failed == {}
    found = (tmp_path / "run" / "a" / "x" / "found.txt").read_text().split()
    assert found[0] == "owner" and "helper" in found[1:] and len(found) == 4
    assert read_manifest(tmp_path / "run" / "a" / "x")["files"].keys() == {"found.txt"}


def test_helping_never_fails(worker):
    one, prints = worker({"name": "a", "how": "sleep 0"})
    assert one.help("a", prints["a"]).how == "helped"


def test_what_goes_well_leaves_no_log_and_what_was_there_stays(tmp_path):
    path = tmp_path / "logs" / "a" / "x.log"
    with logged(path, "me"):
        os.write(1, b"of a library\n")
        assert "of a library" in path.read_text()
    assert not path.exists()
    with pytest.raises(ZeroDivisionError), logged(path, "me"):
        print(1 / 0)
    before = path.read_text()
    assert before.endswith(" me\n")
    with logged(path, "me"):
        print("again")
    assert path.read_text() == before


def test_a_worker_takes_no_folder_from_under_another_that_is_about_to_write_there(tmp_path):
    with logged(tmp_path / "logs" / "a" / "x.log", "me"):
        pass
    assert [path.name for path in (tmp_path / "logs").rglob("*")] == ["a"]


def test_the_logs_of_all_ranks_are_found_where_they_are(tmp_path):
    folder = tmp_path / "logs" / "heads"
    assert logs_of(tmp_path, "heads/x[1]") == []
    folder.mkdir(parents=True)
    for name in ("x[1].rank1.log", "x1.rank1.log", "x[1]y.log"):
        (folder / name).write_text("")
    assert [path.name for path in logs_of(tmp_path, "heads/x[1]")] == ["x[1].rank1.log"]
    (folder / "x[1].log").write_text("")
    assert [path.name for path in logs_of(tmp_path, "heads/x[1]")] == ["x[1].log", "x[1].rank1.log"]


def test_a_run_folder_is_tried_and_not_believed(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with left_a_mark(run) as mark:
        assert "a lock" in what_is_wrong(run, mark)
        (run / "logs" / "gap").mkdir()  # a worker leaves it empty
        with lock(run.resolve()):
            assert what_is_wrong(run, mark) == ""
            assert "does not see" in what_is_wrong(run, ".seen-other", patience=0.1)
            assert "does not see" in what_is_wrong(tmp_path / "other", mark, patience=0.1)
    assert [*run.iterdir()] == []


def test_what_a_killed_driver_left_is_removed(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / ".seen-old").write_text("")
    (tmp_path / "logs" / "a.log").write_text("")
    with left_a_mark(tmp_path) as mark:
        assert {path.name for path in (tmp_path / "logs").iterdir()} == {mark, "a.log"}
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["a.log"]
