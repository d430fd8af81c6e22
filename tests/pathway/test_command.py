"""The command and the stage of a study: the same folder, whole, up to date, and gone on with."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from accord.study.pathway_stages import pathway_stage, questions
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

import accord
from accord import cli, concepts
from accord.errors import AccordError
from accord.lm import LanguageModel
from accord.pathway import Pathway
from accord.pathway.config import PathwaySection
from accord.repair import save_edits
from accord.steering import AddDirection
from accord.study import BackboneSection, Recipe, Stage, from_options, publish
from accord.study.stage import Run
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
    lines = first.stdout.splitlines()
    assert lines[0].split()[0] == "layer" and [line.split()[0] for line in lines[1:5]] == ["0", "1", "2", "3"]
    assert "into base" in lines[0] and "of 20 concepts changed for certain" in lines[-1]
    found = Pathway.read(tmp_path / "out")
    assert found.concepts is not None and set(found.about["n"]) == {
        "train",
        "test",
        "test-unseen-hypernyms",
        "test-unseen-both",
    }
    assert f"{found.concepts['change'].iloc[0]:.3f}" in first.stdout
    again = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert again.stdout == first.stdout and "up to date" in again.stderr


def test_a_concept_model_needs_its_layer(base: Path, tmp_path: Path) -> None:
    words = ["pathway", "--base", base, "--repaired", base, "--task", "hypernymy", "--concepts", tmp_path]
    for more, said in (([], "belong together"), (["--layer", 1], "no concept model")):
        done = CliRunner().invoke(cli.app, [str(word) for word in [*words, *more]])
        assert done.exit_code == 1 and said in done.stderr


def test_questions_are_divided_as_a_repairs_are() -> None:
    asked = questions(PathwaySection(limit=10, train_limit=20), _make)
    assert asked.train.items == _make(split="train", split_kind="nested", limit=20).items
    assert list(asked.tests) == ["test", "test-unseen-hypernyms", "test-unseen-both"]
    known = {item.group for item in asked.train.items}
    assert not known & {item.group for item in asked.tests["test-unseen-hypernyms"].items}


def test_the_stage_follows_the_repairs_folder(base: Path, tmp_path: Path) -> None:
    backbone = from_options(BackboneSection, {"model": str(base)})
    loaded: list[LanguageModel] = []

    def weights() -> LanguageModel:
        loaded.append(accord.load(base))
        return loaded[-1]

    run = Run(tmp_path, backbone, lambda _: weights)
    _repair(base, tmp_path / "repair" / "steer-s3")
    repair = Stage("repair/steer-s3", Recipe("repair", 1, {"about": {}}, 3), lambda work, progress: {})
    section = PathwaySection(limit=6, train_limit=16, patch_items=4, draws=1, resamples=10)
    stage = pathway_stage(run, section, questions(section, _make), repair)
    assert (stage.name, stage.kind, stage.recipe.seed) == ("pathway/steer-s3", "pathway", 3)

    def build(work: Path) -> Any:
        return stage.build(work, lambda done, total: None)

    assert publish(tmp_path / stage.name, stage.recipe, build) and len(loaded) == 1
    assert not publish(tmp_path / stage.name, stage.recipe, build) and len(loaded) == 1
    assert not list((tmp_path / stage.name).glob("parts-*"))
    table = pd.read_parquet(tmp_path / stage.name / "patching.parquet")
    top = table[(table["layer"] == 3) & (table["what"] == "states")]
    assert top["value"].tolist() == pytest.approx([1, 1], abs=1e-3)
    assert json.loads((tmp_path / stage.name / "pathway.json").read_text())["entry"]["repaired into base"]["top"] > 0.99


def test_another_repair_is_another_recipe(base: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, from_options(BackboneSection, {"model": str(base)}), lambda: accord.load(base))
    section, stages = PathwaySection(), []
    asked = questions(section, _make)
    for about in ({"kind": "a"}, {"kind": "b"}):
        repair = Stage("repair/x-s0", Recipe("repair", 1, about, 0), lambda work, progress: {})
        stages.append(pathway_stage(run, section, asked, repair))
    more = pathway_stage(run, section.model_copy(update={"draws": 5}), asked, repair)
    assert len({stage.recipe.fingerprint for stage in [*stages, more]}) == 3


def test_shapes_that_do_not_fit_are_said_before_anything_is_computed(base: Path) -> None:
    other = accord.lm.Backbone(tiny_model(num_hidden_layers=2), tiny_tokenizer())
    with pytest.raises(AccordError, match="same shape"):
        accord.pathway.measure_pathway(accord.load(base), other, _make(limit=8), {"test": _make(limit=4)})
