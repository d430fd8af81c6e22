"""`accord verdict`: the same numbers as the library's, and what it refuses."""

import json

import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

import accord
from accord import cli
from accord.gap import Forms
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
def made(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    rows = [f"thing{i},{'food' if i % 3 else 'bird'},{'yes' if i % 2 else 'no'}" for i in range(48)]
    (tmp_path / "pairs.csv").write_text("a,b,right\n" + "\n".join(rows))
    (tmp_path / "pairs.toml").write_text(TASK)
    lm = accord.load(tmp_path / "base")
    forms = Forms.of(lm)
    shift = Readout((lm.n_layers,), torch.zeros(lm.d_model), 2.0, forms.yes, forms.no)
    save_edits([shift], tmp_path / "repaired", base=str(tmp_path / "base"), about={})
    return tmp_path


def test_the_command_says_what_the_library_does(made) -> None:
    words = ["verdict", "--repaired", made / "repaired", "--task", made / "pairs.toml", "--out", made / "out"]
    said = CliRunner().invoke(cli.app, list(map(str, words)))
    assert said.exit_code == 0, said.output
    assert "test items" in said.output and "pearson_all" in said.output
    changes = json.loads((made / "out/verdict.json").read_text())["tests"]["test"]["changes"]
    task = accord.task(made / "pairs.toml", split="test", limit=200)
    for when, model in (("before", "base"), ("after", "repaired")):
        found = accord.measure_gap(accord.load(made / model), task).metrics
        assert changes["validator_accuracy"][when]["value"] == pytest.approx(found["validator_accuracy"]["value"])


def test_a_folder_that_is_no_repair(made) -> None:
    said = CliRunner().invoke(cli.app, ["verdict", "--repaired", str(made / "base"), "--task", "hypernymy"])
    assert said.exit_code == 1 and "repair" in said.output
