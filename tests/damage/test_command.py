"""`accord damage`: what it prints is what it writes."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from accord import cli
from accord.repair import save_edits
from accord.steering import AddDirection
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.usefixtures("seldom_answers")

ROWS = "".join(f"bee{i}s\tfood\t{'yes' if i % 2 else 'no'}\thigh\n" for i in range(24))
TEXTS = "".join(f"The bird number {i} is kind of yellow.\n" for i in range(20))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text(TEXTS)
    (tmp_path / "pairs.tsv").write_text(ROWS)
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    save_edits([AddDirection(2, vector)], tmp_path / "repaired", base=str(tmp_path / "model"), about={})
    return tmp_path


def damage(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, ["damage", *(str(word) for word in words)])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_and_writes(folder: Path) -> None:
    words = ["--repaired", folder / "repaired", "--texts", folder / "texts.txt", "--facts", 1, "--samples", 2]
    words += ["--device", "cpu", "--task", "hypernymy", "--data", folder / "pairs.tsv"]
    code, printed, err = damage(*words)
    assert code == 0, err
    assert "perplexity_per_text" in printed and "Distance from the base" in printed
    out = folder / "out"
    code, written, err = damage(*words, "--out", out)
    assert code == 0 and written == printed and "written" in err
    sentence = json.loads((out / "damage.json").read_text(encoding="utf-8"))["sentence"]
    assert sentence in written and not list(out.glob("parts*"))
    code, again, err = damage(*words, "--out", out)
    assert again == written and "up to date" in err
    code, _, err = damage(*words, "--resamples", 20, "--out", out)
    assert code == 1 and "other settings" in err
    code, _, err = damage("--repaired", folder / "model")
    assert code == 1 and "--base MODEL" in err
