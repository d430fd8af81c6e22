"""A search by several workers, which are in this process in place of Ray's: the same trials as one process brings."""

import io
import json
from contextlib import nullcontext

import pandas as pd
import pytest
from rich.console import Console

from accord.cluster import search as module
from accord.cluster import search_worker
from accord.cluster.config import MachinesSection
from accord.cluster.shared import left_a_mark
from accord.cluster.worker import Briefing
from accord.disk import DiskFull, is_locked, lock
from accord.errors import AccordError
from accord.study import config, search_file, store
from accord.study.remove import removal
from accord.study.search import search
from tests.cluster.here import Here
from tests.study.made_run import said
from tests.tiny import tiny_hub_folder

STUDY = """\
name = "s"
[backbone]
model = "model"
device = "cpu"
[text]
source = "texts.txt"
max_tokens = 200
held_out_tokens = 100
[[concepts]]
name = "sae"
kind = { choices = ["topk", "batchtopk"] }
size = { low = 8, high = 24 }
k = { low = 2, high = 20 }
training = { steps = 4, batch = 64, lr = { low = 1e-4, high = 1e-2, log = true } }
[search]
objective = "concepts/sae:r2"
direction = "maximize"
seed = 2
[machines]
engine = "ray"
"""
ALONE = MachinesSection()


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Search a study; its trials in the order of their numbers, or the error, and what was told."""
    tiny_hub_folder(tmp_path / "model")
    words = ["food", "bird", "kind", "of", "are", "yes", "no"]
    lines = [" ".join(words[(i * j + j) % 7] for j in range(3, 8)) + f" {i}" for i in range(25)]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["accord", "search", "s.toml", "--trials", "4"])
    monkeypatch.setattr(module, "RayPool", type("Pool", (Here,), {}))
    monkeypatch.setattr(module, "connected", lambda machines: nullcontext())
    monkeypatch.setattr("accord.cluster.start.import_ray", lambda alone: None)
    monkeypatch.setattr("accord.report.write_report", lambda folder: folder)

    def bring(out="parallel", trials=4, machines=None, text=STUDY):
        (tmp_path / "s.toml").write_text(text)
        console = Console(file=io.StringIO(), width=200)
        try:
            found = search(tmp_path / "s.toml", trials, tmp_path / out, console=console, machines=machines)[0]
            return sorted(found, key=lambda trial: trial.number), console.file.getvalue()
        except (AccordError, KeyboardInterrupt) as error:
            return error, console.file.getvalue()

    return bring


def test_the_trials_are_those_of_one_process(bring, tmp_path):
    trials, told = bring()
    alone, _ = bring("alone", machines=ALONE)
    assert trials == alone and [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.value is None for trial in trials} == {True, False}  # k above size fails here as there
    made = tmp_path / "parallel"
    assert pd.read_csv(made / "trials.csv").equals(pd.read_csv(tmp_path / "alone" / "trials.csv"))
    assert (made / "best.toml").is_file()
    assert "worker 1 on here is out: killed" in told and "(worker 2 on here)" in told
    assert "4 of 4 trials to do" in told and f"trial 3: concepts/sae:r2 = {trials[3].value:.6g}" in told
    manifests = [json.loads(path.read_text()) for path in made.rglob("manifest.json")]
    assert {of["command"] for of in manifests} == {"accord search s.toml --trials 4"}
    assert not (made / "logs").exists() and not is_locked(made)
    assert said("check", made)[0] == 0
    again, told = bring()
    assert again == trials and "worker" not in told  # there is nothing to do, so nobody comes


def test_one_process_goes_on_with_what_workers_began_and_the_other_way_round(bring):
    bring(trials=1)
    bring(trials=2, machines=ALONE)
    assert bring(trials=4)[0] == bring("alone", machines=ALONE)[0]


def test_a_trial_that_a_worker_left_is_gone_on_with_by_another(bring, tmp_path, monkeypatch):
    original, left = store.publish, []

    def publish(stage, folder, **options):
        if stage.kind == "concepts" and not left:
            left.append(folder)
            raise KeyboardInterrupt  # what a worker meets that is told to leave
        return original(stage, folder, **options)

    monkeypatch.setattr(store, "publish", publish)
    trials, told = bring()
    assert [trial.number for trial in trials] == [0, 1, 2, 3] and "is out: it left" in told
    assert left[0].parts[-3:-1] == ("0000", "concepts")
    assert trials == bring("alone", machines=ALONE)[0]


def test_what_is_no_failed_trial_ends_the_search_and_the_same_command_goes_on(bring, tmp_path, monkeypatch):
    def publish(stage, folder, **options):
        if stage.kind == "concepts":
            raise DiskFull(folder)
        return original(stage, folder, **options)

    original = store.publish
    with monkeypatch.context() as patch:
        patch.setattr(store, "publish", publish)
        error, _ = bring()
    assert "A trial could not be brought to its end." in str(error) and "The disk is full." in str(error)
    log = tmp_path / "parallel" / "logs" / "search" / "1.log"
    assert str(log) in str(error) and "Traceback" in log.read_text()
    assert bring()[0] == bring("alone", machines=ALONE)[0]
    removal(tmp_path / "parallel").carry_out()
    assert not (tmp_path / "parallel").exists()


def test_a_trial_that_ends_its_workers_counts_as_failed(bring, tmp_path):
    bring(trials=1)
    folder, text = tmp_path / "parallel", (tmp_path / "s.toml").read_text()
    file = search_file.load(tmp_path / "s.toml")
    with lock(folder), left_a_mark(folder) as mark:
        told = Briefing(text, "s.toml", str(tmp_path), str(folder), "cpu", mark, 1, ("accord",), 3)
        one = search_worker.SearchWorker("worker 1", told)
        for note in range(search_worker.DEATHS):
            (folder / "logs" / f"{mark}-0001-{note}").touch()
        done = one.make("search/2", one._search.fingerprint)
        assert done.how == "made" and done.found.startswith("trial 1: failed. The worker at it died, 2 times")
        assert one.make("search/3", one._search.fingerprint).found.startswith("trial 2: ")
        assert one.make("search/4", one._search.fingerprint).found == ""  # there is none left to begin
        done = one.make("search/4", "of another version")
        assert done.how == "unfit" and done.reason.startswith("This machine would search something else than")
    assert file.first.study.machines.engine == "ray"
    assert not [*folder.glob("logs/.seen-*")]


def test_machines_have_no_range(tmp_path):
    (tmp_path / "s.toml").write_text(STUDY + "workers = { low = 1, high = 2 }\n")
    with pytest.raises(AccordError, match=r"no range here"):
        search_file.load(tmp_path / "s.toml")
    assert config.tables(STUDY)["machines"] == {"engine": "ray"}


def test_the_command_takes_what_accord_run_takes(tmp_path):
    (tmp_path / "s.toml").write_text(STUDY.replace('engine = "ray"', ""))
    code, told = said("search", tmp_path / "s.toml", "--trials", 2, "--workers", 2)
    assert code == 1 and "A serial run has one worker" in told and "--engine ray" in told
