"""What is noted of how a stage was made: when, where, and in how much memory."""

import json
import platform
import sys
from types import SimpleNamespace

import pytest
from tests.study.made_run import change, make_run

from accord.amounts import moment
from accord.study import session, store
from accord.study.difference import diff
from accord.study.manifest import open_manifest
from accord.study.session import Session
from accord.study.shown_difference import because, sentences
from accord.study.stage import Stage
from accord.study.work import Models

MB = 2**20


def publish(folder, make, worker=""):
    store.publish(Stage("toy", "", make, {}, 0, 1), folder, models=Models(), worker=worker)
    return open_manifest(folder)


def takes(megabytes):
    def make(work):
        taken = bytearray(b"x") * (megabytes * MB)
        (work.folder / "size.txt").write_text(str(len(taken)))

    return make


def stopped(work):
    (work.folder / "begun.txt").write_text("half")
    raise KeyboardInterrupt


def test_a_manifest_says_when_and_where_a_stage_was_made(tmp_path):
    manifest = publish(tmp_path / "stage", takes(1), worker="worker 2")
    (span,) = manifest["spans"]
    machine = manifest["machine"]
    assert (machine["host"], machine["worker"], machine["device"]) == (platform.node(), "worker 2", "cpu")
    assert machine["card"] == session.processor() != ""
    assert machine["threads"] >= 1 and machine["peak_memory"] > MB
    assert (span["host"], span["worker"]) == (platform.node(), "worker 2")
    took = (moment(span["finished"]) - moment(span["started"])).total_seconds()
    assert took == pytest.approx(manifest["seconds"], abs=1.0) and "." in span["started"]
    assert publish(tmp_path / "alone", takes(1))["machine"]["worker"] == ""


@pytest.mark.skipif(sys.platform != "linux", reason="of peaks of memory that the system counts anew (Linux)")
def test_the_peak_is_that_of_the_stage_and_not_of_an_earlier_one(tmp_path):
    large = publish(tmp_path / "large", takes(200))["machine"]["peak_memory"]
    small = publish(tmp_path / "small", takes(1))["machine"]["peak_memory"]
    assert 150 * MB < large - small < 250 * MB


def test_where_the_system_counts_once_only_a_peak_that_grew_is_known(tmp_path, monkeypatch):
    peaks = iter([100 * MB, 300 * MB, 300 * MB, 300 * MB])
    monkeypatch.setattr(session, "_PROCESS", tmp_path / "no proc")
    monkeypatch.setattr(session, "_peak", lambda: next(peaks))
    assert publish(tmp_path / "large", takes(0))["machine"]["peak_memory"] == 300 * MB
    assert publish(tmp_path / "small", takes(0))["machine"]["peak_memory"] is None


def test_cards_that_were_used_are_named_with_what_was_taken_there(monkeypatch):
    taken, anew = {0: 5 * MB, 1: 0, 2: 7 * MB}, []  # 2: a model that an earlier stage left
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 3,
        reset_peak_memory_stats=anew.append,
        max_memory_allocated=taken.__getitem__,
        get_device_name=lambda card: "H100",
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, get_num_threads=lambda: 4))
    begun = Session()
    assert anew == [0, 1, 2]
    taken[0], taken[1] = 50 * MB, 20 * MB
    machine = begun.machine([begun.span(ended=True)], "cuda")
    assert machine["card"] == "2 × H100" and machine["device"] == "cuda" and machine["threads"] == 4
    assert machine["peak_memory"] == 70 * MB


def test_an_interrupted_stage_has_several_spans(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "stage", stopped, worker="worker 1")
    manifest = publish(tmp_path / "stage", takes(1), worker="worker 2")
    first, second = manifest["spans"]
    assert (first["worker"], second["worker"]) == ("worker 1", "worker 2")
    assert first["started"] <= first["finished"] <= second["started"] <= second["finished"]
    assert manifest["machine"]["worker"] == "worker 2"


def test_a_session_that_was_killed_has_no_end(tmp_path, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(Session, "span", lambda self, *, ended, span=Session.span: span(self, ended=False))
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path / "stage", stopped)
    first, second = publish(tmp_path / "stage", takes(1))["spans"]
    assert first["started"] and first["finished"] == "" and second["finished"]


def test_runs_differ_by_their_machines_never_in_settings(tmp_path):
    folders = [make_run(tmp_path / name, stages=["gap/a"], report=False) for name in ("one", "two")]
    path = folders[1] / "gap" / "a" / "manifest.json"
    machine = json.loads(path.read_text())["machine"]
    change(path, machine={**machine, "host": "far", "worker": "worker 3", "peak_memory": 1})
    assert diff(*folders).pairs[0].made == ()  # neither says anything of the bytes
    change(path, machine={**machine, "card": "another processor", "threads": 99})
    pair = diff(*folders).pairs[0]
    assert [(one.kind, one.name) for one in pair.made] == [("machine", "card"), ("machine", "threads")]
    assert not pair.recipe and not pair.causes
    assert "What differs in how they were made changed none of their files." in list(sentences(diff(*folders)))
    (path.parent / "numbers.txt").write_text("other")
    files = {"numbers.txt": {"bytes": 5, "sha256": store.sha256(path.parent / "numbers.txt")}}
    change(path, files=files)
    said = because(diff(*folders).pairs[0])
    assert said.startswith("the same recipe and versions, made on ")
    assert said.endswith(f" and another processor, with {machine['threads']} and 99 threads")


def test_manifests_of_earlier_versions_say_nothing_of_machines(tmp_path):
    folders = [make_run(tmp_path / name, stages=["gap/a"], report=False) for name in ("one", "two")]
    path = folders[1] / "gap" / "a" / "manifest.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("machine", "spans")}
    path.write_text(json.dumps(old))
    change(path)
    assert "machine" not in open_manifest(path.parent)
    assert diff(*folders).pairs[0].made == ()
