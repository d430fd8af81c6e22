"""`accord verdict`: the same numbers as the library's, and what it refuses."""

import json

import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer, yes_no
from typer.testing import CliRunner

import accord
from accord import cli
from accord.lm.edited import Readout
from accord.repair import save_edits

TASK = """\
name = "pairs"
data = "pairs.csv"
generator = "{a} are a kind of"
validator = "Are {a} a kind of {b}?"
answer = "{b}"
gold = "right"
"""


@pytest.fixture
def folder(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    rows = [f"thing{i},{'food' if i % 3 else 'bird'},{'yes' if i % 2 else 'no'}" for i in range(48)]
    (tmp_path / "pairs.csv").write_text("a,b,right\n" + "\n".join(rows))
    (tmp_path / "pairs.toml").write_text(TASK)
    lm = accord.load(tmp_path / "base")
    shift = Readout((lm.n_layers,), torch.zeros(lm.d_model), 2.0, *yes_no(lm.tokenizer))
    save_edits([shift], tmp_path / "repaired", base=str(tmp_path / "base"), about={})
    return tmp_path


def test_the_command_says_what_the_library_does(folder) -> None:
    words = ["verdict", "--repaired", folder / "repaired", "--task", folder / "pairs.toml", "--out", folder / "out"]
    words += ["--dtype", "float32"]
    run = CliRunner().invoke(cli.app, list(map(str, words)))
    assert run.exit_code == 0, run.output
    assert "test items" in run.output and "pearson_all" in run.output
    changes = json.loads((folder / "out/verdict.json").read_text())["tests"]["test"]["changes"]
    task = accord.task(folder / "pairs.toml", split="test", limit=200)
    for when, model in (("before", "base"), ("after", "repaired")):
        metrics = accord.measure_gap(accord.load(folder / model), task).metrics
        assert changes["validator_accuracy"][when]["value"] == pytest.approx(metrics["validator_accuracy"]["value"])


def test_other_tasks_a_warning_and_a_folder_that_is_whole(folder) -> None:
    (folder / "more.toml").write_text(
        TASK.replace("Are {a} a kind of {b}?", "Are {a} of {b}?").replace("pairs", "more")
    )
    (folder / "more.csv").write_text((folder / "pairs.csv").read_text().replace("thing", "other"))
    words = ["verdict", "--repaired", folder / "repaired", "--task", folder / "pairs.toml", "--device", "cpu"]
    words += ["--other", folder / "more.toml", "--out", folder / "out"]
    run = CliRunner().invoke(cli.app, list(map(str, words)))
    assert run.exit_code == 0 and "written" in run.stderr, run.output
    assert "before, " in run.stderr and "after, " in run.stderr and "the validator's score means little" in run.stderr
    tests = json.loads((folder / "out/verdict.json").read_text())["tests"]
    scores = accord.measure_gap(accord.load(folder / "repaired"), accord.task(folder / "more.toml", split="test"))
    mass = tests["task-more"]["changes"]["yes_no_mass"]["after"]["value"]
    assert mass == pytest.approx(scores.metrics["yes_no_mass"]["value"], rel=1e-4)
    assert "up to date" in CliRunner().invoke(cli.app, list(map(str, words))).stderr


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (["--out", "full"], "something that accord did not write"),
        (["--out", "full/note.txt"], "a file where the results should go"),
        (["--other", "pairs.toml"], "tried already"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_scored(folder, monkeypatch, wrong, problem) -> None:
    (folder / "full").mkdir()
    (folder / "full/note.txt").write_text("mine")
    monkeypatch.setattr("accord.verdict.stage.score_trials", None)
    words = ["verdict", "--repaired", folder / "repaired", "--task", folder / "pairs.toml", wrong[0], folder / wrong[1]]
    run = CliRunner().invoke(cli.app, list(map(str, words)))
    assert run.exit_code == 1 and problem in run.output
    assert (folder / "full/note.txt").read_text() == "mine"


def test_a_folder_that_is_no_repair(folder) -> None:
    run = CliRunner().invoke(cli.app, ["verdict", "--repaired", str(folder / "base"), "--task", "hypernymy"])
    assert run.exit_code == 1 and "repair" in run.output
