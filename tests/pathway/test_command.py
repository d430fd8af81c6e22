"""The command, and the stage it makes: a folder that is whole, up to date, and of other settings when they change."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

import accord
from accord import cli, concepts, loading
from accord.errors import AccordError
from accord.lm import LanguageModel
from accord.lm.config import BackboneSection
from accord.pathway import Pathway
from accord.pathway.config import PathwaySection
from accord.pathway.stage import items_of, pair_stage
from accord.repair import save_edits
from accord.steering import AddDirection
from accord.study import publish
from accord.study.work import Models
from accord.tasks import Task, task

pytestmark = pytest.mark.usefixtures("seldom_answers")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def _repair(base: Path, folder: Path) -> Path:
    vector = 2 * torch.randn(32, generator=torch.Generator().manual_seed(2))
    save_edits([AddDirection(2, vector)], folder, base=str(base), about={})
    return folder


def _make(**keys: Any) -> Task:
    return task("hypernymy", validator_shots="zero", **keys)


def test_the_command_prints_a_row_a_layer_and_fills_the_folder(base: Path, tmp_path: Path) -> None:
    repaired, model = _repair(base, tmp_path / "repaired"), tmp_path / "concepts"
    made = concepts.build(concepts.read_config({"kind": "topk", "size": 20, "k": 4}), d=32, seed=0)
    concepts.save(made, model)
    words = ["pathway", "--base", base, "--repaired", repaired, "--task", "hypernymy", "--shots", "zero", "--limit", 8]
    words += ["--train-limit", 24, "--patch-items", 4, "--draws", 1, "--out", tmp_path / "out"]
    words += ["--concepts", model, "--layer", 2]
    first = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert first.exit_code == 0, first.output
    sentences, _, table = first.stdout.partition("\n\n")
    assert "of 20 concepts changed for certain" in sentences
    lines = table.splitlines()
    assert lines[0].split()[0] == "layer" and [line.split()[0] for line in lines[1:5]] == ["0", "1", "2", "3"]
    assert "into base" in lines[0]
    result = Pathway.read(tmp_path / "out")
    assert result.concepts is not None and set(result.about["n"]) == {
        "train",
        "test",
        "test-unseen-hypernyms",
        "test-unseen-both",
    }
    assert f"{result.concepts['change'].iloc[0]:.3f}" in first.stdout
    again = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert again.stdout == first.stdout and "up to date" in again.stderr


def test_a_concept_model_needs_its_layer(base: Path, tmp_path: Path) -> None:
    words = ["pathway", "--base", base, "--repaired", base, "--task", "hypernymy", "--concepts", tmp_path]
    for more, message in (([], "belong together"), (["--layer", 1], "no concept model")):
        done = CliRunner().invoke(cli.app, [str(word) for word in [*words, *more]])
        assert done.exit_code == 1 and message in done.stderr


def test_questions_are_divided_as_a_repairs_are() -> None:
    items = items_of(PathwaySection(limit=10, train_limit=20), _make)
    assert items.train.items == _make(split="train", split_kind="nested", limit=20).items
    assert list(items.tests) == ["test", "test-unseen-hypernyms", "test-unseen-both"]
    known = {item.group for item in items.train.items}
    assert not known & {item.group for item in items.tests["test-unseen-hypernyms"].items}


def test_the_stage_follows_the_repairs_folder(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    plain = loading.load

    def load(model: str, **keys: Any) -> LanguageModel:
        loaded.append(model)
        return plain(model, **keys)

    monkeypatch.setattr("accord.loading.load", load)
    repaired = BackboneSection(model=str(_repair(base, tmp_path / "repaired")))
    section = PathwaySection(limit=6, train_limit=16, patch_items=4, draws=1, resamples=10)
    stage = pair_stage(section, items_of(section, _make), BackboneSection(model=str(base)), repaired, 3)
    assert (stage.name, stage.kind, stage.recipe.seed) == ("pathway", "pathway", 3)
    out = tmp_path / "out"
    assert publish(stage, out, models=Models())
    needed = len(loaded)
    assert needed and not publish(stage, out, models=Models()) and len(loaded) == needed
    assert not list(out.glob("parts*"))
    table = pd.read_parquet(out / "patching.parquet")
    top = table[(table["layer"] == 3) & (table["what"] == "states")]
    assert top["value"].tolist() == pytest.approx([1, 1], abs=1e-3)
    assert json.loads((out / "pathway.json").read_text())["entry"]["repaired into base"]["top"] > 0.99


def test_another_repair_is_another_recipe(base: Path, tmp_path: Path) -> None:
    section, before, stages = PathwaySection(), BackboneSection(model=str(base)), []
    items = items_of(section, _make)
    for about in ({"kind": "a"}, {"kind": "b"}):
        save_edits([], tmp_path / about["kind"], base=str(base), about=about)
        repaired = BackboneSection(model=str(tmp_path / about["kind"]))
        stages.append(pair_stage(section, items, before, repaired, 0))
    stages.append(pair_stage(section.model_copy(update={"draws": 5}), items, before, repaired, 0))
    (tmp_path / "weights.safetensors").write_bytes(b"other concepts")
    stages.append(pair_stage(section, items, before, repaired, 0, (tmp_path, 2)))
    assert len({stage.recipe.fingerprint for stage in stages}) == 4


def test_shapes_that_do_not_fit_are_said_before_anything_is_computed(base: Path) -> None:
    other = accord.lm.Backbone(tiny_model(num_hidden_layers=2), tiny_tokenizer())
    with pytest.raises(AccordError, match="same shape"):
        accord.pathway.measure_pathway(accord.load(base), other, _make(limit=8), {"test": _make(limit=4)})
