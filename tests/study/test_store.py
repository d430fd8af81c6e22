"""Stage folders: whole or not there, whatever happens while they are made."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from accord.concepts import load as load_concepts
from accord.disk import DiskFull, disk_use, lock
from accord.errors import AccordError
from accord.lm.catalog import resolve
from accord.loading import check_model
from accord.repair.merging import _check as merge_check
from accord.repair.result import base_of
from accord.study import read, store
from accord.study import status as run_status
from accord.study.check import check
from accord.study.manifest import missing, read_manifest
from accord.study.stage import Needs, Recipe, Stage, settings_that_differ
from accord.study.store import state
from accord.study.work import Models, Work
from accord.unfinished import check_finished

RECIPE = Recipe("gap", 1, {"task": "t", "limit": 8}, 0)
OTHER = Recipe("gap", 1, {"task": "t", "limit": 9}, 0)


def publish(folder, recipe, make, **options):
    """Publish a stage of this recipe that is made like this."""
    stage = Stage(recipe.stage, "", make, recipe.settings, recipe.seed, recipe.version)
    return store.publish(stage, folder, models=Models(), **options)


def writer(text="one"):
    def make(work: Work):
        (work.folder / "tables").mkdir(exist_ok=True)
        (work.folder / "scores.txt").write_text(text)
        (work.folder / "tables" / "a.svg").write_text("<svg/>")
        work.facts["device"] = "cpu"

    return make


def never(work: Work):
    raise AssertionError("this must not be made")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_publishes_whole_and_only_once(tmp_path):
    folder = tmp_path / "runs" / "gap"
    assert publish(folder, RECIPE, writer())
    assert names(folder.parent) == ["gap"]  # no partial, no lock left
    manifest = read_manifest(folder)
    assert manifest["settings"] == RECIPE.settings and manifest["facts"] == {"device": "cpu"}
    assert manifest["files"].keys() == {"scores.txt", "tables/a.svg"}
    assert {"python", "torch", "accord"} <= manifest["versions"].keys()
    assert not publish(folder, RECIPE, never)


def test_the_order_of_settings_does_not_matter():
    assert Recipe("gap", 1, {"a": 1, "b": 2}, 0).fingerprint == Recipe("gap", 1, {"b": 2, "a": 1}, 0).fingerprint
    different = [RECIPE, OTHER, Recipe("gap", 2, RECIPE.settings, 0), Recipe("gap", 1, RECIPE.settings, 1)]
    assert len({recipe.fingerprint for recipe in different}) == 4


def test_other_settings_replace_the_old_folder_when_whole(tmp_path):
    folder = tmp_path / "gap"
    publish(folder, RECIPE, writer("old"))

    def make(work):
        assert (folder / "scores.txt").read_text() == "old"
        return writer("new")(work)

    assert publish(folder, OTHER, make, replace=True)
    assert (folder / "scores.txt").read_text() == "new"
    assert names(tmp_path) == ["gap"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, AccordError("no"), OSError(errno.ENOSPC, "full")])
def test_a_build_that_stops_leaves_the_old_folder_and_its_work(tmp_path, stop):
    folder = tmp_path / "gap"
    publish(folder, RECIPE, writer("old"))

    def make(work):
        (work.folder / "part").write_text("half")
        raise stop

    with pytest.raises(stop if isinstance(stop, type) else type(stop)):
        publish(folder, OTHER, make, replace=True)
    assert (folder / "scores.txt").read_text() == "old"
    assert state(folder, RECIPE) == "whole"

    def resumed(work):
        assert (work.folder / "part").read_text() == "half"
        (work.folder / "part").unlink()
        return writer("new")(work)

    assert publish(folder, OTHER, resumed, replace=True)
    assert names(tmp_path) == ["gap"]


def test_a_build_that_wrote_nothing_leaves_nothing(tmp_path):
    with pytest.raises(AccordError):
        publish(tmp_path / "gap", RECIPE, lambda work: (_ for _ in ()).throw(AccordError("no")))
    assert names(tmp_path) == []


def test_a_full_disk_is_told_with_the_folder(tmp_path):
    def make(work):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        publish(tmp_path / "gap", RECIPE, make)
    assert caught.value.filename == str(tmp_path / "gap")


@pytest.mark.parametrize("known", [0, 10**16])
def test_a_full_disk_is_told_with_what_the_rest_of_the_stage_takes(tmp_path, known):
    def make(work):
        (work.folder / "half").write_bytes(bytes(1000))
        (work.folder / "partial.json").unlink()  # notes the seconds, however many digits they take
        raise DiskFull(work.folder / "shard", known) if known else OSError(errno.ENOSPC, "No space left on device")

    needs = lambda: Needs(disk=10**15, passing=10**14)  # noqa: E731
    stage = Stage("gap", "a", make, {}, 0, 1, needs=needs)
    with pytest.raises(DiskFull) as caught:
        store.publish(stage, tmp_path / "gap", models=Models())
    assert caught.value.filename == str(tmp_path / (".gap.partial/shard" if known else "gap"))
    assert caught.value.needed == (known or 10**15 + 10**14 - disk_use(tmp_path / ".gap.partial"))


def test_results_that_were_damaged_before_the_swap_are_made_again(tmp_path, monkeypatch, caplog):
    folder = tmp_path / "gap"
    with monkeypatch.context() as killed:
        killed.setattr(store, "_swap_in", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(folder, RECIPE, writer("old"))
    scores = tmp_path / ".gap.partial" / "scores.txt"
    scores.write_text("OLD")
    assert publish(folder, RECIPE, writer("new")) and (folder / "scores.txt").read_text() == "new"
    assert ".gap.partial is damaged" in caplog.text


def test_the_seconds_of_a_damaged_record_do_not_count(tmp_path):
    folder = tmp_path / "gap"

    def stopped(work):
        (work.folder / "part").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(folder, RECIPE, stopped)
    record = tmp_path / ".gap.partial" / "partial.json"
    table = json.loads(record.read_text())
    record.write_text(json.dumps({**table, "seconds": 12345.0}))
    publish(folder, RECIPE, writer())
    assert read_manifest(folder)["seconds"] < 100 and not (folder / "part").exists()


def test_who_asks_for_what_is_not_finished_is_told_so(tmp_path, monkeypatch):
    folder = tmp_path / "repaired"
    check_finished(folder)

    def stopped(work):
        (work.folder / "part").write_text("half")
        with pytest.raises(AccordError, match="another process is making it"):
            check_finished(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["accord", "repair", "--out", str(folder)])
    with pytest.raises(KeyboardInterrupt):
        publish(folder, RECIPE, stopped)
    for asks in (check_finished, base_of, check_model, resolve, read, check, run_status, merge_check, load_concepts):
        with pytest.raises(AccordError, match="This is not finished") as caught:
            asks(str(folder) if asks in (resolve, check_model) else folder)
        told = str(caught.value)
        assert f"where:  {folder}" in told and f"fix:    go on with it: accord repair --out {folder}" in told
    record = tmp_path / ".repaired.partial" / "partial.json"
    record.write_text("{}")  # of an earlier version
    with pytest.raises(AccordError, match="run what makes it again"):
        base_of(folder)
    publish(folder, RECIPE, writer())
    check_finished(folder)


def test_work_of_other_settings_is_wiped(tmp_path):
    folder = tmp_path / "gap"

    def make(work):
        (work.folder / "part").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        publish(folder, OTHER, make)
    assert publish(folder, RECIPE, writer())
    assert read_manifest(folder)["files"].keys() == {"scores.txt", "tables/a.svg"}


KILLED = """
import sys, time
from pathlib import Path
from accord.study.stage import Stage
from accord.study.store import publish
from accord.study.work import Models

def make(work):
    folder = work.folder
    for number in range(6):
        part = folder / f"part-{number}"
        if not part.exists():
            aside = folder / "aside"
            aside.write_text(str(number) * 1000)
            aside.rename(part)
            if number == 3 and sys.argv[2] == "stop":
                print("here", flush=True)
                time.sleep(60)
    whole = "".join((folder / f"part-{number}").read_text() for number in range(6))
    (folder / "scores.txt").write_text(whole)
    for number in range(6):
        (folder / f"part-{number}").unlink()

publish(Stage("gap", "", make, {}, 0, 1), Path(sys.argv[1]), models=Models())
"""


def test_kill_9_and_again_gives_the_same_bytes(tmp_path):
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    start = [sys.executable, "-c", KILLED]
    with subprocess.Popen([*start, str(killed), "stop"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    assert not killed.exists() and (tmp_path / ".killed.partial" / "part-3").exists()
    for folder in (killed, straight):
        subprocess.run([*start, str(folder), "go"], check=True)
    assert (killed / "scores.txt").read_bytes() == (straight / "scores.txt").read_bytes()
    assert read_manifest(killed)["files"] == read_manifest(straight)["files"]
    assert ".killed.partial" not in names(tmp_path)


def test_killed_between_the_two_renames_of_a_swap(tmp_path):
    folder = tmp_path / "gap"
    publish(folder, OTHER, writer("new"))
    folder.rename(tmp_path / ".gap.partial")  # whole, its manifest written
    publish(tmp_path / "before", RECIPE, writer("old"))
    (tmp_path / "before").rename(tmp_path / ".gap.old")
    assert publish(folder, OTHER, never, replace=True)
    assert (folder / "scores.txt").read_text() == "new"
    assert names(tmp_path) == ["gap"]


def test_killed_before_the_swap_and_then_asked_for_the_old_settings(tmp_path):
    folder = tmp_path / "gap"
    publish(folder, RECIPE, writer("old"))
    folder.rename(tmp_path / ".gap.old")
    assert not publish(folder, RECIPE, never)
    assert (folder / "scores.txt").read_text() == "old"


def test_a_torn_record_is_not_trusted(tmp_path):
    partial = tmp_path / ".gap.partial"
    partial.mkdir()
    (partial / "partial.json").write_text('{"finger')
    (partial / "part").write_text("of what?")
    publish(tmp_path / "gap", RECIPE, writer())
    assert "part" not in names(tmp_path / "gap")


def test_without_replace_results_are_never_deleted(tmp_path):
    folder = tmp_path / "gap"
    publish(folder, RECIPE, writer())
    with pytest.raises(AccordError, match="other settings") as caught:
        publish(folder, OTHER, never, keep="name another folder with --out")
    differs = list(settings_that_differ(RECIPE.settings, OTHER.settings))
    assert differs and all(f"{key} ({old} → {new})" in str(caught.value) for key, old, new in differs)
    assert "fix:    add --replace to make them again; or, to keep them, name another folder with --out" in str(
        caught.value
    )
    assert not publish(folder, RECIPE, never)


def test_results_are_there_while_what_they_were_made_from_is(tmp_path):
    at = lambda source: tmp_path / source.name  # noqa: E731
    base = Stage("base", "b", writer("old"), {}, 0, 1)
    made = Stage("made", "m", writer(), {}, 0, 1, {"base": base})
    assert not store.made_here(tmp_path, "made/m")
    for stage in (base, made):
        store.publish(stage, at(stage), at=at, models=Models())
    assert store.made_here(tmp_path, "made/m")
    other = Stage("base", "b", writer("new"), {"k": 1}, 0, 1)
    store.publish(other, at(other), models=Models(), replace=True)
    assert not store.made_here(tmp_path, "made/m") and store.made_here(tmp_path, "base/b")
    (tmp_path / "base/b/scores.txt").write_text("damaged")
    assert not store.made_here(tmp_path, "base/b")


def test_damaged_results_are_made_again(tmp_path):
    folder = tmp_path / "gap"
    publish(folder, RECIPE, writer())
    (folder / "scores.txt").unlink()
    assert state(folder, RECIPE) == "damaged"
    assert publish(folder, RECIPE, writer()) and state(folder, RECIPE) == "whole"


def test_what_is_not_ours_is_not_touched(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(AccordError, match="did not write"):
        publish(folder, RECIPE, never)
    with pytest.raises(AccordError, match="a file"):
        publish(folder / "thesis.txt", RECIPE, never)
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    with pytest.raises(AccordError, match="of their own"):
        publish(Path(), RECIPE, never)
    assert names(folder) == ["inner", "thesis.txt"]
    assert (folder / "thesis.txt").read_text() == "years"


def test_a_manifest_of_something_else_is_foreign(tmp_path):
    folder = tmp_path / "extension"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"name": "a browser extension"}))
    with pytest.raises(AccordError, match="did not write"):
        publish(folder, RECIPE, never)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "gap").mkdir()
    assert publish(tmp_path / "gap", RECIPE, writer())


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "gap").symlink_to("real")
    publish(tmp_path / "gap", RECIPE, writer())
    assert (tmp_path / "gap").is_symlink() and (tmp_path / "real" / "scores.txt").exists()


def test_two_processes_do_not_collide(tmp_path):
    code = "import sys; from pathlib import Path; from accord.disk import lock\nwith lock(Path(sys.argv[1])): pass"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with lock(tmp_path / "gap"):
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "gap")], capture_output=True, text=True, env=environment
        )
    assert second.returncode == 1
    assert "Another accord process" in second.stderr
    publish(tmp_path / "gap", RECIPE, writer())


def test_no_lock_is_left_by_a_killed_process(tmp_path):
    (tmp_path / ".gap.lock").touch()
    assert publish(tmp_path / "gap", RECIPE, writer())
    shutil.rmtree(tmp_path / "gap")
    assert names(tmp_path) == []


@pytest.fixture(autouse=True)
def every_device_has_a_card(monkeypatch):
    """Models that are made up are on cards that this machine does not have."""
    monkeypatch.setattr("accord.study.work.card_of", lambda device: f"a card for {device.type}")


class Lm:
    """A language model as far as `Work.begun_with` knows one."""

    def __init__(self, device="cpu", dtype="float32"):
        self.name, self.device, self.dtype = "a model", SimpleNamespace(type=device), f"torch.{dtype}"


def work_in(folder):
    folder.mkdir(exist_ok=True)
    return Work(folder, lambda stage: folder, Models())


@pytest.mark.parametrize("other", [Lm("cuda"), Lm(dtype="bfloat16")])
def test_parts_of_two_machines_are_never_mixed(tmp_path, other):
    work_in(tmp_path).begun_with(Lm())
    (tmp_path / "partial.json").write_text("{}")
    (tmp_path / "part").write_text("half")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "first").write_text("half")
    again = work_in(tmp_path)
    again.begun_with(Lm())
    assert names(tmp_path) == ["found.json", "part", "partial.json", "parts"]
    assert again.facts == {"device": "cpu", "dtype": "float32"}
    there = work_in(tmp_path)
    there.begun_with(other)
    assert names(tmp_path) == ["found.json", "partial.json"]
    there.begun_with(Lm())  # a second model of the stage, wherever it is, changes nothing
    assert there.facts["device"] == other.device.type and names(tmp_path) == ["found.json", "partial.json"]
    there.finish()
    assert names(tmp_path) == ["partial.json"]


def test_what_a_killed_write_leaves_is_no_half_file(tmp_path, monkeypatch):
    """A note that is empty would stop whoever goes on with the stage."""
    work_in(tmp_path).begun_with(Lm())
    before = (tmp_path / "found.json").read_text()

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("accord.disk.sync", killed)
    with pytest.raises(KeyboardInterrupt):
        work_in(tmp_path).begun_with(Lm("cuda"))
    assert not (tmp_path / "found.json").exists() or (tmp_path / "found.json").read_text() == before


def test_a_stage_is_made_of_the_folders_of_its_inputs(tmp_path):
    """Its manifest names them; where an input's recipe changes, the stage is another, too."""

    def make(work):
        (work.folder / "sum.txt").write_text((work.at(first) / "scores.txt").read_text() + "two")

    first = Stage("gap", "a", writer("one"), RECIPE.settings, 0, 1)
    second = Stage("sum", "", make, {}, 0, 1, {"gap": first})
    at = lambda stage: tmp_path / stage.name  # noqa: E731
    for stage in (first, second):
        assert store.publish(stage, at(stage), at=at, models=Models())
    manifest = read_manifest(tmp_path / "sum")
    assert manifest["inputs"] == {"gap": {"stage": "gap/a", "fingerprint": first.recipe.fingerprint}}
    assert (tmp_path / "sum" / "sum.txt").read_text() == "onetwo"
    source = store.stage_in(tmp_path, "sum")
    assert source.recipe.fingerprint == second.recipe.fingerprint and source.name == "sum"
    other = Stage("sum", "", make, {}, 0, 1, {"gap": Stage("gap", "a", never, OTHER.settings, 0, 1)})
    assert state(tmp_path / "sum", other.recipe) == "other"


def test_a_result_is_written_by_itself(tmp_path):
    class Result:
        def write(self, folder):
            (folder / "said.txt").write_text("so")

    publish(tmp_path / "gap", RECIPE, lambda work: Result())
    assert read_manifest(tmp_path / "gap")["files"].keys() == {"said.txt"}


def test_what_only_an_interrupted_stage_needs_is_gone_when_it_is_whole(tmp_path):
    def make(work):
        work.parts.mkdir()
        (work.parts / "half").write_text("half")
        return writer()(work)

    publish(tmp_path / "gap", RECIPE, make)
    assert names(tmp_path / "gap") == ["manifest.json", "scores.txt", "tables"]


def test_an_unfinished_stage_is_gone_on_with_from_what_it_wrote(tmp_path):
    folder = tmp_path / "gap"

    def half(work):
        (work.folder / "answers.txt").write_text("one")
        work.facts[store.UNFINISHED] = "one answer of two"

    def rest(work):
        assert (work.folder / "answers.txt").read_text() == "one"
        (work.folder / "answers.txt").write_text("both")

    assert publish(folder, RECIPE, half)
    assert state(folder, RECIPE) == "unfinished" and missing(folder) == "one answer of two"
    assert publish(folder, RECIPE, rest)
    assert state(folder, RECIPE) == "whole" and missing(folder) is None
    assert (folder / "answers.txt").read_text() == "both"
