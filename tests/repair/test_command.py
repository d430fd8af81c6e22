"""The commands repair and merge, on a tiny model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accord import cli


def accord(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    words = ("ant", "ape", "bat", "bee", "cat", "cow")
    rows = [f"{a},{b},{'yes' if a[0] == b[0] else 'no'}" for a in words for b in words if a < b]
    (tmp_path / "pairs.csv").write_text("\n".join(["one,two,same", *rows]) + "\n")
    forms = 'generator = "{One} is a"\nvalidator = "Is {one} a {two}?"\nanswer = "two"\ngold = "same"\n'
    (tmp_path / "pairs.toml").write_text('data = "pairs.csv"\n' + forms)
    return tmp_path / "pairs.toml"


def test_repair_then_merge_then_measure(base: Path, task_file: Path, tmp_path: Path) -> None:
    words = ["repair", "--model", base, "--task", task_file, "--method", "rankalign", "--out", tmp_path / "repaired"]
    options = ["--steps", 2, "--set", "batch=4", "--set", "score=logodds", "--device", "cpu"]
    code, printed, err = accord(*words, *options)
    assert code == 0, err
    assert "repaired: written" in err
    assert "adapter on 100.0% of the weights in the model's blocks: mlp 100%, self_attn 100%" in printed
    described = json.loads((tmp_path / "repaired" / "repair.json").read_text())
    assert described["base"]["folder"] == "../base"
    assert described["about"]["repair"]["score"] == "logodds"
    assert described["about"]["task"]["split"] == "train"
    assert "up to date" in accord(*words, *options)[2]
    code, _, err = accord(*words, "--steps", 3)
    assert code == 1 and "other settings" in err
    assert accord("check", tmp_path / "repaired")[0] == 0

    code, printed, err = accord("merge", tmp_path / "repaired", "--out", tmp_path / "merged")
    assert code == 0, err
    assert "largest" in printed
    drift = printed
    for model in ("repaired", "merged"):
        code, printed, err = accord("gap", "--model", tmp_path / model, "--task", task_file, "--split", "all")
        assert code == 0 and printed.startswith(f"{model} "), err
    merged = (tmp_path / "merged/model.safetensors").stat()
    code, again, err = accord("merge", tmp_path / "repaired", "--out", tmp_path / "merged")
    assert code == 0 and again == drift and (tmp_path / "merged/model.safetensors").stat() == merged
    words = ["merge", tmp_path / "repaired", "--out", tmp_path / "merged", "--dtype", "float32"]
    code, _, err = accord(*words)
    assert code == 1 and "dtype (auto → float32)" in err and "--replace" in err and "--out" in err
    assert accord(*words, "--replace")[0] == 0 and accord(*words)[0] == 0
    code, _, err = accord("merge", tmp_path / "repaired", "--out", base)
    assert code == 1 and "did not write" in err
    code, _, err = accord("merge", base, "--out", tmp_path / "other")
    assert code == 1 and "no folder of an adapter" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "rankaling"], "did you mean 'rankalign'"),
        (["--method", "surgery"], "surgery is here 'direction' or 'concepts'"),
        (["--method", "sft", "--set", "from=joint"], "did you mean 'form'"),
        (["--method", "sft", "--set", "joint"], "KEY=VALUE"),
        (["--method", "dpo", "--lr", "-1"], "'lr' is wrong"),
        (["--method", "sft", "--layer", "2"], "Method concepts, and no other"),
    ],
)
def test_a_mistake_is_said_before_the_model_is_loaded(
    options: list[str], said: str, task_file: Path, tmp_path: Path
) -> None:
    code, _, err = accord("repair", "--model", "absent", "--task", task_file, "--out", tmp_path / "out", *options)
    assert code == 1 and said in err
    assert not (tmp_path / "out").exists()
