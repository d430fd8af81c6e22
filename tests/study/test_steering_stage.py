"""The stage of steering: what it writes, when it is up to date, and what it refuses before anything is made."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError
from rich.console import Console
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

from accord import cli
from accord.concepts.stage import first_seed
from accord.embeddings.config import TextSection
from accord.errors import AccordError
from accord.steering import measure
from accord.steering.config import SteeringSection
from accord.steering.stage import checked_steering, steering_stage
from accord.study import engine, load, store
from accord.study.plan import Plan
from accord.study.stage import Stage
from accord.study.work import Models, Progress

STUDY = """\
name = "s"
[backbone]
model = "{model}"
device = "cpu"
[text]
source = "{texts}"
label = "mood"
held_out = 0.4
[[concepts]]
kind = "topk"
size = 24
k = 4
training = {{ steps = 12, batch = 64 }}
[[concepts]]
kind = "lcblm"
concepts = 6
width = 3
prior = 0.3
layers = [2]
training = {{ steps = 12, batch = 64 }}
[[heads]]
kind = "new"
reads = "latents"
concepts = "topk"
training = {{ steps = 4, batch = 32 }}
"""
SMALL = {
    "number": 3,
    "promoted": 4,
    "places": 10,
    "texts": 5,
    "factors": [0.0],
    "strengths": [2.0],
    "added": [],
    "samples": 2,
}
SMALL |= {"max_new_tokens": 4, "prompts": ["A bee is", "No"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with embeddings, concepts and heads of a tiny model."""
    folder = tmp_path_factory.mktemp("steering")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    words = ["food", "bird", "kind", "of", "are", "yes", "no"]
    texts = [" ".join(words[(i * j + i) % 7] for j in range(1, 4 + i % 5)) for i in range(40)]
    rows = [{"text": text, "mood": len(text) % 5, "class": "long" if len(text) > 20 else "short"} for text in texts]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = STUDY.format(model=folder / "model", texts=folder / "texts.jsonl")
    (folder / "study.toml").write_text(text)
    engine.run(folder / "study.toml", folder / "run", console=Console(quiet=True), only=["concepts", "heads"])
    return folder / "run"


def stage(run: Path, section: SteeringSection, name: str = "topk", judge: bool = False) -> Stage:
    plan = Plan(load(run.parent / "study.toml"), fetch=True)
    [node] = [node for node in first_seed(plan) if node.title == name]
    return steering_stage(plan, section, node, plan.named(plan.backbone) if judge else None)


def publish(run: Path, stage: Stage, folder: Path, progress: Progress | None = None) -> bool:
    at = lambda other: run / other.name  # noqa: E731
    return store.publish(stage, folder, at=at, models=Models(), progress=progress, replace=True)


@pytest.mark.parametrize("by", ["tokens", "strength"])
def test_a_stage_writes_what_it_says(run: Path, by: str) -> None:
    section = SteeringSection(**SMALL, written=1, by=by)  # type: ignore[arg-type]
    made = stage(run, section, judge=True)
    assert made.name == "steering/topk-s0" and made.kind == "steering"
    folder = run / made.name
    assert publish(run, made, folder) and not publish(run, made, folder)
    table = pd.read_parquet(folder / "effects.parquet")
    assert set(table["measure"]) == {"promoted", "label", "wanted", "judge_nll", "distinct_2", "repeated_4"}
    assert table[table["measure"] == "promoted"]["concept"].nunique() == 3
    said = json.loads((folder / "effects.json").read_text())
    assert said["by"] == by and len(said["written"]) == 1 and len(said["written"][0]["promoted"]) == 4
    assert len(said["promoted"]) == 3 and all(len(own) == 4 for own in said["promoted"].values())
    assert len(pd.read_parquet(folder / "typical.parquet")) == 24
    lines = (folder / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 4 * (1 + 2 * 3)
    assert {path.name for path in folder.iterdir()} == {
        *("effects.parquet", "doses.parquet", "samples.jsonl", "effects.json", "typical.parquet"),
        store.MANIFEST,
    }


def test_a_killed_stage_goes_on_from_its_parts(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage(run, SteeringSection(**SMALL, written=2))  # type: ignore[arg-type]
    publish(run, made, tmp_path / "whole")
    seen: list[tuple[int, int]] = []

    def kill(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 4:  # three concepts' tokens, and the first one's texts
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(run, made, tmp_path / "killed", kill)
    calls: list[str] = []
    for name in ("promoted_effects", "written_effects"):
        real = getattr(measure, name)
        monkeypatch.setattr(
            measure, name, lambda *args, _real=real, _name=name, **kw: calls.append(_name) or _real(*args, **kw)
        )
    publish(run, made, tmp_path / "killed")
    assert calls == ["written_effects"]
    for name in ("samples.jsonl", "effects.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    a, b = (pd.read_parquet(tmp_path / folder / "effects.parquet") for folder in ("killed", "whole"))
    pd.testing.assert_frame_equal(a, b)
    assert not (tmp_path / "killed" / "parts").exists()


def test_an_inner_layer_and_a_classifier(run: Path, tmp_path: Path) -> None:
    section = SteeringSection(**SMALL, written=1, by="strength", scorer="classifier")  # type: ignore[arg-type]
    publish(run, stage(run, section, "lcblm"), tmp_path / "made")
    said = json.loads((tmp_path / "made" / "effects.json").read_text())
    assert said["layer"] == 2
    assert said["label"] == "label" and 0 <= said["scorer_accuracy"] <= 1 and said["floats_per_concept"] == 3
    again = stage(run, section.model_copy(update={"places": 9}))
    assert again.recipe.fingerprint != stage(run, section).recipe.fingerprint


def test_sections_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="factor of 1"):
        SteeringSection(factors=[1.0])
    with pytest.raises(ValidationError, match="name a dose"):
        SteeringSection(factors=[], strengths=[], added=[])
    with pytest.raises(ValidationError, match="list of names"):
        SteeringSection(concepts=[])
    with pytest.raises(AccordError, match="the texts have none"):
        checked_steering(SteeringSection(written=3), TextSection(source="x.txt"))
    assert checked_steering(SteeringSection(written=0), TextSection(source="x.txt")).written == 0
    for label, written in ((None, 0), ("mood", 3)):
        assert checked_steering(SteeringSection(), TextSection(source="x.txt", label=label)).written == written


def steer(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["steer", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_writes_both_texts(run: Path) -> None:
    options = ["--tokens", 5, "-n", 2, "--prompt", "A bee is", "--prompt", "No", "--device", "cpu"]
    code, out, err = steer(run, "--concepts", "topk", "--concept", 3, "--factor", 1, *options)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["prompt", "without", "with"] and "A bee is" in out
    for edits in (
        ["--set", "3=40"],
        ["--typical", "3=30"],
        ["--added", "3=90"],
        ["--off", 1, "--off", 2, "--set", "3=40"],
    ):
        code, changed, err = steer(run, "--concepts", "topk-s0", *edits, *options, "--positions", "generated")
        assert code == 0, err
        assert changed != out and changed.splitlines()[0].split() == ["prompt", "without", "with"]
    code, _, err = steer(run, "--model", "topk-latents-new", "--off", 3, *options)
    assert code == 0, err
    code, _, err = steer(run / "heads" / "topk-latents-new-s0", "--set", "3=2", *options)
    assert code == 0, err


def test_a_head_in_a_run_finds_its_embeddings_and_one_elsewhere_is_refused_first(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = run / "heads" / "topk-latents-new-s0"
    options = ["--tokens", 3, "-n", 1, "--prompt", "A bee is", "--device", "cpu"]
    code, out, err = steer(head, "--added", "3=90", "--typical", "4=2", *options)
    assert code == 0 and "A bee is" in out, err
    monkeypatch.chdir(head.parent)
    code, out, err = steer(head.name, "--added", "3=90", *options)
    assert code == 0 and "A bee is" in out, err
    monkeypatch.setattr("accord.steering.open.load", lambda *_, **__: pytest.fail("loaded before the check"))
    shutil.copytree(head, tmp_path / "heads" / "alone")
    for folder in (tmp_path / "heads" / "alone", tmp_path):
        code, _, err = steer(folder, "--typical", "3=2", *options)
        assert code == 1 and "There are no embeddings here" in err, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to steer"),
        (["--concept", 3], "needs a --factor"),
        (["--off", 3, "--set", "3=2"], "named twice"),
        (["--set", "3"], "a concept, =, and a number"),
        (["--off", 3], "Which of the concepts?"),
        (["--off", 3, "--concepts", "topk", "--model", "x"], "not both"),
        (["--off", 3, "--concepts", "tpok"], "did you mean 'topk-s0'"),
        (["--off", 99, "--concepts", "topk"], "no such concept"),
        (["--added", "3=-1", "--concepts", "topk"], "no dose"),
    ],
)
def test_the_command_refuses(run: Path, words: list[object], said: str) -> None:
    code, _, err = steer(run, *words, "--device", "cpu")
    assert code == 1 and said in err, err
