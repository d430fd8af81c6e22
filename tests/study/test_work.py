"""In which precision a stage's model is loaded: what is measured in the one asked for, what is made in a faster one."""

import pytest
from tests.tiny import tiny_hub_folder

from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.lm.tail import Unsupported
from accord.study.work import Models, Work, load, to_make


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("accord.on_cpu.multiplies_bfloat16", lambda: True)


def work(tmp_path):
    (tmp_path / "stage").mkdir()
    return Work(tmp_path / "stage", lambda stage: tmp_path, Models())


@pytest.fixture
def section(tmp_path):
    tiny_hub_folder(tmp_path / "model")
    return BackboneSection(model=str(tmp_path / "model"), device="cpu")


def test_what_is_made_is_made_in_bfloat16_where_the_cpu_multiplies_that_faster(fast, section, tmp_path):
    making = work(tmp_path)
    assert str(making.load_to_make(section).dtype) == "torch.bfloat16"
    assert making.facts == {"device": "cpu", "dtype": "bfloat16"}
    assert str(making.models.load(section).dtype) == "torch.float32"  # what is measured


def test_a_precision_that_is_asked_for_is_kept(fast, section):
    for dtype in ("float32", "float16"):
        asked = section.model_copy(update={"dtype": dtype})
        assert to_make(asked) == asked


def test_other_cpus_and_other_devices_make_it_as_they_measure_it(section, monkeypatch):
    assert to_make(section) == section
    monkeypatch.setattr("accord.on_cpu.multiplies_bfloat16", lambda: True)
    monkeypatch.setattr("accord.lm.devices.pick_device", lambda device: type("device", (), {"type": "cuda"}))
    assert to_make(section.model_copy(update={"device": "cuda"})).dtype == "auto"


def test_a_model_that_fails_its_proofs_in_bfloat16_is_used_in_float32(fast, section, tmp_path, monkeypatch):
    def refuses(section):
        if section.dtype == "bfloat16":
            raise AccordError("does not fit") from Unsupported("its blocks run otherwise")
        return load(section)

    monkeypatch.setattr("accord.study.work.load", refuses)
    making = work(tmp_path)
    assert str(making.load_to_make(section).dtype) == "torch.float32"
    assert making.facts["dtype"] == "float32"


def test_what_takes_a_while_is_said(section, tmp_path):
    said = []
    models = Models(said.append)
    models.load(section), models.load(section)
    assert said == ["loading model"]


def test_a_worker_keeps_the_models_that_it_used_last(section):
    said = []
    sections = [section.model_copy(update={"dtype": dtype}) for dtype in ("float32", "float16", "bfloat16")]
    models = Models(said.append, most=2)
    first = models.load(sections[0])
    models.load(sections[1])
    assert models.load(sections[0]) is first
    models.load(sections[2])  # for which the second is dropped
    assert models.load(sections[0]) is first and len(said) == 3
    models.load(sections[1])
    assert len(said) == 4
