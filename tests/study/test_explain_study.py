"""A study that explains and steers: the stages, and the same explanation by command."""

import io
import json

import pandas as pd
import pytest
from rich.console import Console
from tests.tiny import tiny_hub_folder, tiny_texts
from typer.testing import CliRunner

from accord import cli
from accord.errors import AccordError
from accord.study import engine, plan_study
from accord.study.config import load

STUDY = """\
name = "s"

[backbone]
model = "model"
device = "cpu"

[[gap]]
task = "hypernymy"
validator_shots = "zero"
limit = 24

[text]
source = "texts.csv"
label = "mood"
max_tokens = 250
held_out_tokens = 120

[[concepts]]
kind = "topk"
size = 24
k = 4
training = { steps = 12, batch = 64, evaluate_every = 6 }

[steering]
number = 3
places = 6
texts = 6
factors = [0.0]
strengths = []
added = [2.0]
written = 1
samples = 1
max_new_tokens = 3

[explain]
limit = 20
candidates = 8
chosen = 2
draws = 3
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, labelled texts and a study."""
    folder = tmp_path_factory.mktemp("study")
    tiny_hub_folder(folder / "model")
    rows = [f"{text},{(i % 7) - 3}" for i, text in enumerate(tiny_texts())]
    (folder / "texts.csv").write_text("text,mood\n" + "\n".join(rows))
    (folder / "study.toml").write_text(STUDY)
    return folder


def test_a_study_explains_and_steers(made) -> None:
    engine.run(made / "study.toml", made / "run", console=Console(file=io.StringIO()))
    explanation = json.loads((made / "run/explain/topk-s0/explain.json").read_text())
    assert explanation["items"] == 20 and explanation["layer"] == 3
    gap = pd.read_parquet(made / "run/gap/hypernymy-validator-zero/scores.parquet").head(20)
    explained = pd.read_parquet(made / "run/explain/topk-s0/scores.parquet")
    assert list(explained["validator_prompt"]) == list(gap["validator_prompt"])
    assert explained["validator_logodds"].to_numpy() == pytest.approx(gap["validator_logodds"].to_numpy(), abs=2e-3)
    assert (made / "run/steering/topk-s0/effects.parquet").is_file()


def test_the_command_explains_too(made, monkeypatch) -> None:
    engine.run(made / "study.toml", made / "run", console=Console(file=io.StringIO()))
    monkeypatch.chdir(made)
    words = ["explain", "run", "--limit", "20", "--candidates", "6", "--backbone", str(made / "model")]
    runner = CliRunner()
    there = runner.invoke(cli.app, ["explain", "run"])
    assert there.exit_code == 0 and "there already" in there.stderr and "largest" in there.stdout
    named = runner.invoke(cli.app, ["explain", "run", "--task", "hypernymy", "--limit", "20", *words[-2:]])
    assert named.exit_code == 0 and named.stdout == there.stdout, named.output
    refused = runner.invoke(cli.app, words)
    assert refused.exit_code == 1 and "other settings" in refused.output and "candidates (" in refused.output
    assert "task" not in refused.output.partition("got:")[2]  # the questions are the study's own
    again = runner.invoke(cli.app, [*words, "--replace"])
    assert again.exit_code == 0, again.output
    assert "largest" in again.output
    assert json.loads((made / "run/explain/topk-s0/explain.json").read_text())["candidates"] == 6


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[explain]", '[explain]\ngap = "hypernomy"', "No such gap to explain"),
        ('label = "mood"\n', "", "the texts have none"),
        ("[steering]", '[steering]\nconcepts = ["topq"]', "topk"),
        ("limit = 20\ncandidates", "limit = 5\ncandidates", "20"),
    ],
)
def test_what_cannot_be_is_said_first(made, old, new, problem) -> None:
    assert old in STUDY
    (made / "wrong.toml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(AccordError, match=problem):
        plan_study(load(made / "wrong.toml"))
