"""Damage as stages of a run: the base observed once, every repaired model beside it."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer

from accord.damage import observed
from accord.damage.config import DamageSection
from accord.damage.stage import DamageItems, damage_stage, observation_stage, other_tasks
from accord.embeddings.ordinary import ordinary_of
from accord.errors import AccordError
from accord.gap import measure_gap
from accord.lm import LanguageModel
from accord.loading import load
from accord.repair import save_edits
from accord.repair.config import section_of
from accord.repair.stage import RepairNode
from accord.steering import AddDirection
from accord.study import load as load_study
from accord.study.plan import Plan
from accord.study.stage import Stage
from accord.study.store import publish
from accord.study.work import Models, Work
from accord.tasks import Task
from accord.tasks import task as make_task
from accord.verdict.measure import NEAREST
from accord.verdict.result import Verdict

pytestmark = pytest.mark.usefixtures("seldom_answers")

ROWS = "".join(f"bee{i}s\tfood\t{'yes' if i % 2 else 'no'}\thigh\n" for i in range(24))
TEXTS = "".join(f"The bird number {i} is kind of yellow.\n" for i in range(20))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text(TEXTS)
    (tmp_path / "pairs.tsv").write_text(ROWS)
    (tmp_path / "study.toml").write_text('name = "s"\n[backbone]\nmodel = "model"\ndevice = "cpu"\n')
    for seed in (0, 1):
        vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
        made = tmp_path / f"made-{seed}"
        save_edits([AddDirection(2, vector)], made, base=str(tmp_path / "model"), about={})

        def fill(work: Work, made: Path = made) -> None:
            shutil.copytree(made, work.folder, dirs_exist_ok=True)

        make(tmp_path, Stage("repair", f"noise-s{seed}", fill, {}, seed, 1))
    return tmp_path


def plan_in(folder: Path) -> Plan:
    return Plan(load_study(folder / "study.toml"), fetch=True)


def items(folder: Path, own: Task | None, **keys: object) -> DamageItems:
    small = {"texts": str(folder / "texts.txt"), "facts": 1, "samples": 2, "new_tokens": 4, "resamples": 20}
    section = DamageSection.model_validate({**small, **keys})
    plan = plan_in(folder)
    judge = None if section.judge is None else plan.named(plan.model(section.judge))
    texts = ordinary_of(section, str(section.texts), 0)
    return DamageItems(section, texts, own, other_tasks(section, frozenset(), 0), judge, 0, {})


def own_task(folder: Path) -> Task:
    return make_task("hypernymy", data=folder / "pairs.tsv", validator_shots="zero")


def make(folder: Path, stage: Stage) -> bool:
    at = lambda other: folder / "run" / other.name  # noqa: E731
    return publish(stage, at(stage), at=at, models=Models(), replace=True)


def never(work: object) -> None:
    raise AssertionError("this is there already")


def repaired(folder: Path, own: Task, seed: int, version: int = 1) -> tuple[RepairNode, Stage]:
    """A repair that is there, and its verdict: what the repaired model scores on its own task."""
    stage = Stage("repair", f"noise-s{seed}", never, {}, seed, version)
    node = RepairNode(section_of("direction")(), seed, own, stage)  # type: ignore[call-arg]
    lm = load(folder / "run" / stage.name, device="cpu")
    after = {NEAREST: measure_gap(lm, own, resamples=0).scores}
    made = Stage("verdict", stage.label, lambda work: Verdict({}, {}, {}, after), {}, seed, 1, {"repair": stage})
    make(folder, made)
    return node, Stage("verdict", stage.label, never, {}, seed, 1, {"repair": stage})


def test_one_base_serves_many_repaired_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, own = plan_in(folder), own_task(folder)
    questions = items(folder, own, judge=str(folder / "model"))
    base = observation_stage(plan, questions, "hypernymy")
    assert base.name == "observation/hypernymy"
    assert make(folder, base) and not make(folder, base)
    models = []
    plain = observed._read_part

    def noted(*args: object, **keys: object) -> object:
        models.append(len(models))
        return plain(*args, **keys)  # type: ignore[arg-type]

    stages = [damage_stage(plan, questions, base, *repaired(folder, own, seed)) for seed in (0, 1)]
    monkeypatch.setattr(observed, "_read_part", noted)
    for stage in stages:
        assert make(folder, stage) and not make(folder, stage)
    assert len(models) == 2  # each repaired model read the texts once, the base not again
    assert [stage.name for stage in stages] == ["damage/noise-s0", "damage/noise-s1"]
    run = folder / "run"
    files = {path.name for path in (run / stages[0].name).iterdir()} - {"manifest.json"}
    assert files == {"damage.json", "damage.parquet", "texts.parquet", "relations.parquet", "generations.jsonl"}
    table = pd.read_parquet(run / stages[0].name / "damage.parquet")
    assert {"text", "relations", "relations: colour", "own task", "free text"} <= set(table["group"])
    texts = pd.read_parquet(run / stages[0].name / "texts.parquet")
    assert len(texts) == 4  # a fifth of twenty is held out


def test_known_scores_of_the_repaired_model_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the verdict measured is not measured again, and damage is the same as if it were."""
    from accord.damage import measure_damage

    plan, own = plan_in(folder), own_task(folder)
    questions = items(folder, own, facts=0, samples=0)
    base = observation_stage(plan, questions, "hypernymy")
    make(folder, base)
    stage = damage_stage(plan, questions, base, *repaired(folder, own, 0))
    measured = []
    plain = observed.measure_gap

    def noted(lm: LanguageModel, *args: object, **keys: object) -> object:
        measured.append(lm.name)
        return plain(lm, *args, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(observed, "measure_gap", noted)
    assert make(folder, stage)
    assert measured == [str(folder / "model")]  # the base's are read from its observation
    known = pd.read_parquet(folder / "run" / stage.name / "damage.parquet")
    first, second = (load(folder / name, device="cpu") for name in ("model", "run/repair/noise-s0"))
    texts = questions.questions().texts
    computed = measure_damage(first, second, texts=texts, own=own, facts=0, samples=0, resamples=20, seed=0)
    computed.write(folder / "computed")
    pd.testing.assert_frame_equal(known, pd.read_parquet(folder / "computed" / "damage.parquet"))
    other = damage_stage(plan, questions, base, *repaired(folder, own, 0, version=2))
    assert make(folder, other)


def test_what_changes_a_recipe(folder: Path) -> None:
    plan = plan_in(folder)

    def fingerprint(**keys: object) -> str:
        return observation_stage(plan, items(folder, None, **keys), "hypernymy").recipe.fingerprint

    usual = fingerprint()
    assert fingerprint(resamples=500) == usual  # intervals are no matter of the base
    assert fingerprint(facts=2) != usual != fingerprint(samples=3)
    (folder / "texts.txt").write_text(TEXTS + "One more text.\n")
    assert fingerprint() != usual
    with pytest.raises(AccordError, match="Unknown task"):
        items(folder, None, tasks=["nonsense"])
