"""How long a stage is expected to take: what it took, else what its kind took."""

import json
import platform

import pytest

from accord.study import costs
from accord.study.stage import Stage


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "cache" / "costs.json"
    monkeypatch.setattr(costs, "_file", lambda: path)
    return path


def stage(kind="gap", seed=0, seconds=10.0, **settings):
    return Stage(kind, f"x-s{seed}", lambda work: None, settings, seed, 1, seconds=seconds)


def test_before_anything_was_measured_a_stage_weighs_as_in_the_demo(file):
    assert costs.expected(stage(seconds=12.0)) == 12.0 and costs.measured(stage()) is None


def test_the_same_settings_take_as_long_with_another_seed(file):
    costs.note(stage(limit=5), 3.0)
    assert costs.expected(stage(limit=5, seed=1)) == 3.0


def test_other_settings_take_as_long_as_their_kind_did_and_other_kinds_as_the_median(file):
    costs.note(stage(limit=5), 30.0)  # three times the demo's
    assert costs.expected(stage(limit=6)) == 30.0
    assert costs.expected(stage("repair", seconds=4.0)) == 12.0
    costs.note(stage("repair", seconds=4.0), 4.0)
    assert costs.expected(stage("repair", seconds=8.0, steps=2)) == 8.0
    assert costs.expected(stage("damage", seconds=10.0)) == 20.0  # the median of 3 and 1
    assert costs.measured(stage("damage")) is None and costs.measured(stage(limit=6)) == 30.0


def test_only_the_latest_are_kept(file, monkeypatch):
    monkeypatch.setattr(costs, "_KEPT", 2)
    for limit in (1, 2, 3):
        costs.note(stage(limit=limit), limit)
    assert len(json.loads(file.read_text())["stages"]) == 2
    assert costs.expected(stage(limit=2)) == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"stages": 1, "paces": []}'])
def test_a_damaged_file_is_as_none(file, damage):
    costs.note(stage(), 3.0)
    file.write_text(damage)
    assert costs.expected(stage()) == 10.0
    costs.note(stage(), 4.0)
    assert costs.expected(stage()) == 4.0


def test_a_cache_that_cannot_be_written_stops_nothing(file):
    file.parent.write_text("a file")
    costs.note(stage(), 3.0)
    assert costs.expected(stage()) == 10.0


@pytest.mark.parametrize("value", ['"abc"', "NaN", "1e400", "-5", "0", "null", "true"])
def test_what_is_no_number_of_seconds_is_as_unknown(file, value):
    costs.note(stage(), 3.0)
    text = json.dumps({"stages": {costs._key(stage()): "X"}, "paces": {costs._like(stage()): "X"}})
    file.write_text(text.replace('"X"', value))
    assert costs.measured(stage()) is None and costs.expected(stage()) == 10.0


def made(folder, of, seconds, *, spans=None, **machine):
    (folder / of.name).mkdir(parents=True)
    here = platform.node()
    manifest = {"seconds": seconds, "machine": {"host": here, **machine}, "spans": spans or [{"host": here}]}
    (folder / of.name / "manifest.json").write_text(json.dumps(manifest))
    return of


def test_what_is_learnt_of_a_run_is_what_one_worker_of_this_machine_made_alone(file, tmp_path):
    alone = made(tmp_path, stage(limit=1), 3.0)
    helped = made(tmp_path, stage("texts", limit=2), 3.0, helpers=[{"host": "a", "card": "H100", "parts": 3}])
    ranks = made(tmp_path, stage("concepts", limit=3), 3.0, ranks=4)
    spans = [{"host": "another machine"}, {"host": platform.node()}]
    begun_elsewhere = made(tmp_path, stage("heads", limit=4), 3.0, spans=spans)
    gone = stage("repair", limit=5)
    costs.note_made([alone, helped, ranks, begun_elsewhere, gone], tmp_path)
    assert costs.measured(alone) == 3.0
    assert [costs.measured(other) for other in (helped, ranks, begun_elsewhere, gone)] == [None] * 4


def test_the_table_is_read_once_and_written_once_for_many_stages(file, tmp_path, monkeypatch):
    stages = [made(tmp_path, Stage("gap", f"{i}", lambda work: None, {"i": i}, 0, 1), 1.0) for i in range(30)]
    costs.note(stage(), 1.0)
    reads, writes = [], []
    read, write = costs.read_object, costs.write_whole
    monkeypatch.setattr(costs, "read_object", lambda path, *keys: reads.append(path) or read(path, *keys))
    monkeypatch.setattr(costs, "write_whole", lambda path, text: writes.append(path) or write(path, text))
    costs.note_made(stages, tmp_path)
    assert writes == [file]
    assert [costs.expected(one) for one in stages] == [1.0] * 30
    assert reads.count(file) <= 2  # as it was, and as it is


def test_another_model_takes_its_own_time(file):
    costs.note(stage(weights="small"), 1.0)
    assert costs.measured(stage(weights="large")) is None
    large = Stage("heads", "x", lambda work: None, {}, 0, 1, {"model": stage(weights="large")}, seconds=10.0)
    small = Stage("heads", "x", lambda work: None, {}, 0, 1, {"model": stage(weights="small")}, seconds=10.0)
    costs.note(small, 2.0)
    assert costs.measured(small) == 2.0 and costs.measured(large) is None
