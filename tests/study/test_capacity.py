"""What this machine cannot hold is refused before anything is fetched or made, with numbers that are near the truth."""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console
from tests.tiny import tiny_hub_folder, tiny_texts

import accord
from accord import disk, hub, machine
from accord.errors import AccordError
from accord.lm.catalog import CATALOG, bytes_to_fetch
from accord.loading import weights_bytes
from accord.study import capacity, engine, load, plan_study
from accord.study.stage import Needs, Stage

STUDY = """\
name = "s"
[backbone]
model = "model"
device = "cpu"
layer = [1, 2]
[text]
source = "texts.txt"
dtype = "float16"
[[concepts]]
kind = "topk"
size = 96
k = 4
training = { steps = 4, batch = 32, evaluate_every = 2 }
[[heads]]
kind = "new"
training = { steps = 2, batch = 16 }
[[heads]]
kind = "finetuned"
reads = "embedding"
training = { steps = 2, batch = 16 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study, its model and its run as far as the heads."""
    folder = tmp_path_factory.mktemp("capacity")
    tiny_hub_folder(folder / "model")
    (folder / "texts.txt").write_text("\n".join(text.strip() * 4 for text in tiny_texts()))
    (folder / "s.toml").write_text(STUDY)
    engine.run(folder / "s.toml", folder / "run", console=Console(file=io.StringIO()), only=["concepts", "heads"])
    return folder


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_what_stages_take_on_the_disk_is_known_before(made):
    needs = {stage.name: stage.needs() for stage in plan_study(load(made / "s.toml")).stages}
    for name in ("concepts/topk-L1-s0", "heads/topk-latents-new-L2-s0", "heads/finetuned-L1-s0"):
        weights = [file for file in (made / "run" / name).rglob("*.safetensors") if file.stem != "probe"]
        assert needs[name].disk == pytest.approx(sum(file.stat().st_size for file in weights), rel=0.1), name
    stores = sum(size(made / "run" / "embeddings" / side) for side in ("train", "held_out"))
    assert 0.2 * stores < needs["embeddings"].disk < stores  # rather too few than too many
    assert needs["concepts/topk-L1-s0"].passing == 0  # four steps keep no checkpoint


def test_what_a_model_takes_is_read_off_its_headers(made):
    lm = accord.load(made / "model", device="cpu")
    count = sum(weight.numel() for weight in {id(w): w for w in lm.model.parameters()}.values())
    assert weights_bytes(str(made / "model"), device="cpu") == 4 * count
    assert weights_bytes(str(made / "model"), device="cpu", dtype="bfloat16") == 2 * count
    for name, entry in CATALOG.items():  # also of those that are not here
        assert weights_bytes(name, device="cpu") == 4 * entry.parameters
    assert weights_bytes("org/far", device="cpu") == 0
    needs = {stage.name: stage.needs() for stage in plan_study(load(made / "s.toml")).stages}
    model = 4 * (2 * 96 * lm.d_model + 96 + lm.d_model)
    assert needs["concepts/topk-L1-s0"].memory == 4 * count + 4 * model


def stage(name, **needs):
    return Stage("one", name, lambda work: None, {}, 0, 1, needs=lambda: Needs(**needs))


@pytest.fixture
def small(monkeypatch):
    """A machine with 8 GB of memory and 3 GB on its disk."""
    monkeypatch.setattr(capacity, "free_memory", lambda device: 8 * 10**9)
    monkeypatch.setattr(capacity, "free_disk", lambda folder: 3 * 10**9)


def test_too_little_is_refused_with_what_is_needed_and_free(small):
    gb, run = 10**9, Path("runs/s")
    capacity.check_capacity([stage("a", memory=7 * gb, disk=gb), stage("b", memory=8 * gb, disk=gb)], run, "cpu")
    stages = [stage("a", memory=9 * gb, disk=10 * gb), stage("b", disk=gb, passing=gb)]
    with pytest.raises(AccordError) as caught:
        capacity.check_capacity(stages, run, "cpu")
    said = str(caught.value)
    assert "one/a needs about 9.0 GB of memory, 8.0 GB are free." in said
    assert "This run needs about 12 GB in runs/s, 3.0 GB are free.\n  got:    one/a 10 GB, one/b 1.0 GB" in said
    with pytest.raises(AccordError, match=r"one/a needs about 9.0 GB of memory"):
        capacity.check_capacity([stage("a")], run, "cpu", lambda: 9 * gb)
    capacity.check_capacity([], run, "cpu", lambda: 9 * gb)  # nothing is to be made


def test_several_cards_are_told_with_what_each_has(monkeypatch):
    gb = 10**9
    monkeypatch.setattr(machine, "free_of_cards", lambda: [80 * gb] * 4)
    capacity.check_capacity([stage("a", memory=200 * gb)], Path("runs/s"), "auto")
    capacity.check_capacity([stage("a", memory=141 * gb)], Path("runs/s"), "cuda:0,cuda:2=72GB")
    with pytest.raises(
        AccordError, match="needs about 300 GB of memory, 4 cards × 72 GB are free for weights"
    ) as caught:
        capacity.check_capacity([stage("a", memory=300 * gb)], Path("runs/s"), "auto")
    assert 'device = "auto,cpu"' in str(caught.value)
    capacity.check_capacity([stage("a", memory=900 * gb)], Path("runs/s"), "auto,cpu,disk")


def test_the_hub_is_asked_how_large_a_model_is(monkeypatch):
    class Sized:
        def model_info(self, name, *, timeout, expand):
            total = type("Total", (), {"total": 70 * 10**9})
            return type("Info", (), {"safetensors": total if name == "org/sized-70b" else None})

    monkeypatch.setattr("huggingface_hub.HfApi", Sized)
    assert weights_bytes("org/sized-70b", device="cpu", dtype="bfloat16") == 140 * 10**9
    assert weights_bytes("org/of-no-size", device="cpu") == 0


def test_a_run_is_refused_before_its_first_stage(made, small, monkeypatch):
    monkeypatch.setattr("accord.study.capacity.free_memory", lambda device: 1000)
    with pytest.raises(AccordError, match=r"needs about .* of memory, 1 kB are free"):
        engine.run(made / "s.toml", made / "elsewhere", console=Console(file=io.StringIO()))
    assert not (made / "elsewhere").exists()
    monkeypatch.setattr("accord.study.capacity.free_disk", lambda folder: 0)
    engine.run(
        made / "s.toml", made / "run", console=Console(file=io.StringIO()), only=["concepts", "heads"]
    )  # all is there


class Hub:
    """Stands in for huggingface_hub.HfApi."""

    def model_info(self, name, *, files_metadata, timeout):
        if name == "org/gone":
            raise OSError("offline")
        files = {"model.safetensors": 5, "config.json": 1, "pytorch_model.bin": 70, "onnx/model.safetensors": 900}
        siblings = [type("File", (), {"rfilename": name, "size": size * 10**9}) for name, size in files.items()]
        return type("Info", (), {"siblings": siblings, "sha": "0" * 40})

    dataset_info = model_info


def test_downloads_that_do_not_fit_are_refused_before_they_begin(made, small, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert bytes_to_fetch("org/big") == (6 * 10**9, hub.cache_folder())
    assert bytes_to_fetch("org/gone")[0] == 0  # fetching will tell
    assert bytes_to_fetch("smollm2-135m")[0] == CATALOG["smollm2-135m"].download + 4 * 134_515_008

    def snapshot(*args, local_files_only=False, **keys):
        if not local_files_only:
            pytest.fail("this would fetch")
        raise OSError("not cached")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    (made / "far.toml").write_text(STUDY + '[perplexity]\njudge = "org/big"\nsamples = 1\n')
    with pytest.raises(AccordError) as caught:
        engine.run(made / "far.toml", made / "far", console=Console(file=io.StringIO()))
    assert "What is to be fetched needs about 6.0 GB in" in str(caught.value) and "3.0 GB are free" in str(caught.value)
    assert "org/big 6.0 GB" in str(caught.value) and "HF_HOME" in str(caught.value)


def test_a_folder_that_may_not_be_written_is_refused(made, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(AccordError, match="may not be written"):
        engine.run(made / "s.toml", tmp_path / "file" / "run", console=Console(file=io.StringIO()))
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(AccordError, match=r"may not be written.\n.*" + str(tmp_path)):
        engine.run(made / "s.toml", tmp_path / "new" / "run", console=Console(file=io.StringIO()))


def test_this_machine(tmp_path, monkeypatch):
    assert disk.free_disk(tmp_path / "not" / "there") > 0 and disk.may_write(tmp_path / "not" / "there")
    assert machine.free_memory("cpu") > 0
    (tmp_path / "limit").write_text("1000\n")
    monkeypatch.setattr(machine, "_LIMIT", tmp_path / "limit")
    assert machine.free_memory("cpu") == 1000
    with pytest.raises(AccordError, match="no such device"):
        machine.free_memory("cuda:7")
