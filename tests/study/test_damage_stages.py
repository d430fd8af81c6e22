"""Damage as stages of a run and as a command: the base observed once, every repaired model beside it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from accord.study.damage_stages import BASE, Asked, base_stage, damage_stage
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

from accord import cli
from accord.damage import observed
from accord.damage.config import DamageSection
from accord.errors import AccordError
from accord.gap import measure_gap
from accord.gap.config import GapSection
from accord.loading import load
from accord.repair import save_edits
from accord.steering import AddDirection
from accord.study import BackboneSection, Recipe, Stage, publish, task_of
from accord.study.stage import Run, load_once
from accord.tasks import Task

pytestmark = pytest.mark.usefixtures("seldom_answers")

ROWS = "".join(f"bee{i}s\tfood\t{'yes' if i % 2 else 'no'}\thigh\n" for i in range(24))
TEXTS = "".join(f"The bird number {i} is kind of yellow.\n" for i in range(20))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text(TEXTS)
    (tmp_path / "pairs.tsv").write_text(ROWS)
    for seed in (0, 1):
        vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
        save_edits(
            [AddDirection(2, vector)], tmp_path / f"run/repair/noise-s{seed}", base=str(tmp_path / "model"), about={}
        )
    return tmp_path


def section(folder: Path, **keys: object) -> DamageSection:
    small = {"texts": str(folder / "texts.txt"), "facts": 1, "samples": 2, "new_tokens": 4, "resamples": 20}
    return DamageSection.model_validate({**small, **keys})


def own_task(folder: Path) -> Task:
    return task_of(GapSection(task="hypernymy", validator_shots="zero"), "hypernymy", folder / "pairs.tsv", 0)


def make(run: Run, stage: Stage) -> bool:
    return publish(run.folder / stage.name, stage.recipe, lambda work: stage.build(work, lambda done, total: None))


def test_one_base_serves_many_repaired_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BackboneSection(model=str(folder / "model"), device="cpu")
    run = Run(folder / "run", backbone, load_once())
    asked = Asked.of(section(folder, judge=str(folder / "model")), own_task(folder), backbone, 0)
    base = base_stage(run, asked)
    assert make(run, base) and not make(run, base)
    repaired = [Stage(f"repair/noise-s{seed}", Recipe("repair", 1, {}, seed), lambda *_: {}) for seed in (0, 1)]
    models = []
    plain = observed.tokenize

    def noted(*args: object, **keys: object) -> object:
        models.append(len(models))
        return plain(*args, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(observed, "tokenize", noted)
    stages = [damage_stage(run, asked, base, one) for one in repaired]
    for stage in stages:
        assert make(run, stage) and not make(run, stage)
    assert len(models) == 2  # each repaired model read the texts once, the base not again
    assert [stage.name for stage in stages] == ["damage/noise-s0", "damage/noise-s1"]
    files = {path.name for path in (run.folder / stages[0].name).iterdir()} - {"manifest.json"}
    assert files == {"damage.json", "damage.parquet", "texts.parquet", "relations.parquet", "generations.jsonl"}
    table = pd.read_parquet(run.folder / stages[0].name / "damage.parquet")
    assert {"text", "relations", "relations: plural", "own task", "free text"} <= set(table["group"])
    texts = pd.read_parquet(run.folder / stages[0].name / "texts.parquet")
    assert len(texts) == 4  # a fifth of twenty is held out


def test_known_scores_of_the_repaired_model_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BackboneSection(model=str(folder / "model"), device="cpu")
    run = Run(folder / "run", backbone, load_once())
    asked = Asked.of(section(folder, facts=0, samples=0), own_task(folder), backbone, 0)
    base, one = base_stage(run, asked), Stage("repair/noise-s0", Recipe("repair", 1, {}, 0), lambda *_: {})
    make(run, base)
    scores = measure_gap(load(folder / "run/repair/noise-s0", device="cpu"), asked.own, resamples=0).scores
    make(run, damage_stage(run, asked, base, one))
    computed = pd.read_parquet(run.folder / "damage/noise-s0/damage.parquet")
    other = Stage("repair/noise-s0", Recipe("repair", 2, {}, 0), lambda *_: {})
    stage = damage_stage(run, asked, base, other, scores=lambda: scores)
    assert make(run, stage)
    pd.testing.assert_frame_equal(pd.read_parquet(run.folder / stage.name / "damage.parquet"), computed)


def test_what_changes_a_recipe(folder: Path) -> None:
    backbone = BackboneSection(model=str(folder / "model"), device="cpu")
    run = Run(folder / "run", backbone, load_once())

    def fingerprint(**keys: object) -> str:
        return base_stage(run, Asked.of(section(folder, **keys), None, backbone, 0)).recipe.fingerprint

    usual = fingerprint()
    assert base_stage(run, Asked.of(section(folder), None, backbone, 0)).name == BASE
    assert fingerprint(resamples=500) == usual  # intervals are no matter of the base
    assert fingerprint(facts=2) != usual != fingerprint(samples=3)
    (folder / "texts.txt").write_text(TEXTS + "One more text.\n")
    assert fingerprint() != usual
    with pytest.raises(AccordError, match="Unknown task"):
        Asked.of(section(folder, tasks=["nonsense"]), None, backbone, 0)


def test_the_command_prints_and_writes(folder: Path) -> None:
    words = ["damage", "--repaired", str(folder / "run/repair/noise-s0"), "--texts", str(folder / "texts.txt")]
    words += [
        "--facts",
        "1",
        "--samples",
        "2",
        "--device",
        "cpu",
        "--task",
        "hypernymy",
        "--data",
        str(folder / "pairs.tsv"),
    ]
    printed = CliRunner().invoke(cli.app, words)
    assert printed.exit_code == 0, printed.output
    assert "perplexity_per_text" in printed.stdout and "Distance from the base" in printed.stdout
    out = folder / "out"
    written = CliRunner().invoke(cli.app, [*words, "--out", str(out)])
    assert written.exit_code == 0 and written.stdout == printed.stdout and "written" in written.stderr
    told = json.loads((out / "damage.json").read_text(encoding="utf-8"))["sentence"]
    assert told in written.stdout and not list(out.glob("parts*"))
    again = CliRunner().invoke(cli.app, [*words, "--out", str(out)])
    assert again.stdout == written.stdout and "up to date" in again.stderr
    unknown = CliRunner().invoke(cli.app, ["damage", "--repaired", str(folder / "model")])
    assert unknown.exit_code == 1 and "--base MODEL" in unknown.stderr
