"""The command line: what it prints, and how it ends."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from accord import cli
from accord.errors import AccordError
from tests.lm.test_proofs import SMALL
from tests.tiny import random_model, tiny_model, tiny_tokenizer

COMMANDS = tuple(name for names in cli.PANELS.values() for name in names)


def accord(*words, **environment):
    result = CliRunner().invoke(cli.app, [str(word) for word in words], env=environment)
    return result.exit_code, result.stdout, result.stderr


def process(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "accord", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    code, out, _ = accord(command, "--help", COLUMNS="200")
    assert code == 0 and "Example" in out and f"accord {command}" in out


def test_every_command_has_its_place_in_the_help():
    assert sorted(COMMANDS) == sorted(typer.main.get_command(cli.app).commands)
    code, out, _ = accord("--help", COLUMNS="100")
    assert code == 0 and all(panel in out for panel in cli.PANELS) and "Other commands" not in out
    assert out.index(" gap ") < out.index(" run ") < out.index(" cache ") < out.index("Begin with: accord gap")


@pytest.mark.parametrize(
    "words", [["--help"], ["tasks"], ["models"], ["cache"], ["runs", "tests"], ["--version"], ["show", "hypernymy"]]
)
def test_torch_is_not_imported_for_what_needs_none(words):
    code = (
        f"import sys; from accord.cli import app; app({words!r}, standalone_mode=False);"
        "sys.exit(not {'torch', 'transformers', 'matplotlib', 'optuna', 'openai'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_lists_are_complete_in_any_width():
    done = process("tasks", COLUMNS="40", TERM="dumb")
    assert done.returncode == 0 and done.stderr == ""
    names = [line.partition(":")[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert names == [
        "hypernymy", "hypernymy-members", "substitution", "next-word", "trivia", "arithmetic-chains", "responses",
        "programs", "personas",
    ]  # fmt: skip
    assert "--validator yes-or-no   Yes or no: are {noun1} a kind of {noun2}? Answer:" in done.stdout
    code, out, _ = accord("models", COLUMNS="40")
    assert code == 0 and "smollm2-135m: SmolLM2 135M" in out and "30 layers, width 576" in out


def test_show_prints_both_prompts_filled_in():
    code, out, _ = accord("show", "hypernymy", "-n", 2, "--shots", "zero", "--generator", "plain")
    assert code == 0
    assert out.count("generator:") == out.count("validator:") == out.count("gold:") == 2
    assert out.count("  | Do you think ") == 2 and "{" not in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "hypernimy"], "did you mean 'hypernymy'?"),
        (["show", "hypernymy", "--data", "absent.tsv"], "absent.tsv"),
        (["gap", "--model", "smollm2", "--task", "hypernymy"], "did you mean 'smollm2-135m'?"),
        (["gap", "--model", "x", "--task", "hypernymy", "--device", "gpu"], "--device"),
        (["gap", "--model", "x", "--task", "hypernymy", "--layers"], "--out"),
        (["show", "hypernymy", "--chat"], "--model"),
        (["run", "absent.toml"], "accord init absent.toml"),
        (["check", "absent"], "no results"),
        (["report", "absent"], "absent"),
        (["runs", "absent"], "no such folder"),
        (["status", "absent"], "no run here"),
        (["open", "absent"], "absent"),
        (["rm", "absent"], "no run here"),
        (["cache", "--remove", "absent"], "no such thing"),
        (["diff", "absent", "gone"], "no results"),
    ],
)
def test_a_users_mistake_is_one_clear_message(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = accord(*words)
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and expected in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback():
    code, _, err = accord("--debug", "show", "hypernimy")
    assert code == 1 and "Traceback" in err and "did you mean" in err


def test_wrong_usage_is_exit_code_2():
    assert accord("gap")[0] == 2
    assert accord("gap", "--model", "m", "--task", "hypernymy", "--shots", "many")[0] == 2
    assert accord("nonsense")[0] == 2


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AccordError("wrong", got="x"), 1, ["error: wrong", "got:    x"]),
        (KeyboardInterrupt(), 130, ["interrupted; the same command goes on"]),
        (
            OSError(errno.ENOSPC, "No space left on device", "{tmp}/gap"),
            1,
            ["disk is full", "{tmp}", " free", "more than"],
        ),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            1,
            ["The disk is full", " free", "more than"],
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 1, ["Permission denied", "/root/x"]),
        (ZeroDivisionError("division by zero"), 1, ["a bug in accord", "ZeroDivisionError", "--debug"]),
    ],
)
def test_whatever_stops_a_command(error, code, words, tmp_path, monkeypatch):
    if isinstance(error, OSError):
        error.filename = error.filename.replace("{tmp}", str(tmp_path))

    def stop(file, replace):
        raise error

    monkeypatch.setattr("accord.study.write_template", stop)
    ended, out, err = accord("init")
    assert (ended, out) == (code, "")
    assert "Traceback" not in err
    for word in words:
        assert word.replace("{tmp}", str(tmp_path)) in err


def test_a_reader_that_leaves_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "accord", "tasks"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


def test_init_then_dry_run(tmp_path):
    path = tmp_path / "s.toml"
    assert accord("init", path)[0] == 0
    code, out, _ = accord("run", path, "--dry-run")
    assert code == 0 and "no problem" in out
    assert accord("init", path)[0] == 0  # the same
    path.write_text(path.read_text() + "# mine\n")
    code, _, err = accord("init", path)
    assert code == 1 and "--replace" in err and path.read_text().endswith("# mine\n")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a model, a task and a study that asks for the task twice."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [f"{a},{b},{'yes' if a[0] == b[0] else 'no'}" for a in ("ant", "bee", "cow") for b in ("ape", "bat", "cat")]
    (folder / "pairs.csv").write_text("\n".join(["one,two,same", *rows]) + "\n")
    task = (
        'data = "pairs.csv"\ngenerator = "{One} is a"\nvalidator = "Is {one} a {two}?"\nanswer = "two"\ngold = "same"\n'
    )
    (folder / "pairs.toml").write_text(task)
    section = '[[gap]]\ntask = "pairs.toml"\nsplit = "all"\n'
    study = f'name = "tiny"\nbackbone = {{ model = "model" }}\n{section}{section}name = "five"\nlimit = 5\n'
    (folder / "study.toml").write_text(study)
    return folder


def test_prove_prints_what_holds_and_refuses_what_does_not(tiny, tmp_path):
    code, table, err = accord("prove", tiny / "model", "--device", "cpu")
    assert code == 0, err
    assert all(name in table for name in ("lens", "layers", "causality", "batch", "cache", "precision"))
    assert "3 blocks of width 32" in table
    experts = random_model("qwen3_moe", **SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)
    larger = tiny_tokenizer()
    larger.add_tokens([*(f"<{i}>" for i in range(300)), "committee"])
    for folder, tokenizer, words in (("experts", tiny_tokenizer(), "beside float64"), ("larger", larger, "not tried")):
        experts.save_pretrained(tmp_path / folder)
        tokenizer.save_pretrained(tmp_path / folder)
        code, table, err = accord("prove", tmp_path / folder, "--device", "cpu")
        assert code == 0 and words in table, err
    model = random_model("gemma3_text", **SMALL, use_bidirectional_attention=True)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    code, _, err = accord("prove", tmp_path)
    assert code == 1 and "depend on what follows" in err


def test_the_table_says_why_a_measure_has_no_interval(tiny):
    words = ["gap", "--model", tiny / "model", "--task", tiny / "pairs.toml", "--split", "all", "--device", "cpu"]
    code, table, err = accord(*words, "--limit", 1, "--all")
    assert code == 0, err
    assert re.search(r"validator_accuracy +[01]\.000 +\n", table)  # a share, which is not certain as a count is
    assert re.search(r"No interval for .*validator_accuracy.*: 1 item: an interval takes 5\.", table)
    assert re.search(r" n +1 +\n", table)


def test_gap_into_a_folder(tiny, tmp_path):
    words = ["gap", "--model", tiny / "model", "--task", tiny / "pairs.toml", "--split", "all", "--device", "cpu"]
    out = tmp_path / "results"
    code, said, err = accord(*words, "--out", out)
    assert code == 0 and "written" in err, err
    assert said.startswith("model seldom answers yes or no when asked") and "pearson_all" not in said
    assert "Says it and denies it: " in said and "of 9 items; affirms it and would not say it: " in said
    assert f"Next: accord show {tiny / 'pairs.toml'} --model" in said
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n"]["value"] == 9
    assert (out / "scores.parquet").exists() and list((out / "figures").glob("*.svg"))
    assert [path.name for path in tmp_path.iterdir()] == ["results"]

    again = accord(*words, "--out", out)
    assert again[:2] == (0, said) and "up to date" in again[2]
    code, table, _ = accord(*words, "--out", out, "--all")
    assert table.startswith(said) and "pearson_all" in table
    assert "The generator's score is of the" in table and "Ranks are always of first tokens" in table
    code, _, err = accord(*words, "--limit", 5, "--out", out)
    assert code == 1 and "other settings" in err and "task.limit (None → 5)" in err and "--replace" in err
    assert json.loads((out / "metrics.json").read_text()) == metrics

    assert accord("check", out)[0] == 0
    (out / "metrics.json").write_text("{}")
    code, said, _ = accord("check", out)
    assert code == 1 and "metrics.json: changed" in said


def test_a_study_from_end_to_end(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = accord("run", tiny / "study.toml")
    assert code == 0, err
    assert out == "runs/tiny/report.html\n"
    assert "tiny: 2 of 2 stages to do" in err and "[2/2] gap/five: 0:0" in err
    written = (tmp_path / "runs" / "tiny" / "report.html").stat().st_mtime_ns
    monkeypatch.setattr("accord.lm.load", None)  # a rerun must not load weights
    code, _, err = accord("run", tiny / "study.toml")
    assert code == 0 and "all 2 stages are up to date" in err
    assert (tmp_path / "runs" / "tiny" / "report.html").stat().st_mtime_ns == written
    assert accord("report", "runs/tiny")[0] == 0
    assert accord("check", "runs/tiny")[0] == 0


def test_what_was_left_out_of_a_file_is_said(tiny, tmp_path):
    task = (tiny / "pairs.toml").read_text().replace("pairs.csv", "other.csv")
    (tmp_path / "pairs.toml").write_text(task)
    rows = (tiny / "pairs.csv").read_text().replace(",", ";")
    (tmp_path / "other.csv").write_text(rows + "dog;;no\nant;ape;yes\n", encoding="utf-16")
    warning = (
        "other.csv: cells are separated by ';'; 1 row left out: column 'two' is empty (other.csv:11); "
        "1 row left out: duplicates\n"
    )
    words = ["--split", "all"]
    code, _, err = accord("show", tmp_path / "pairs.toml", *words)
    assert (code, err) == (0, warning)
    code, _, err = accord("gap", "--model", tiny / "model", "--task", tmp_path / "pairs.toml", *words)
    assert code == 0 and warning in err
    study = (tiny / "study.toml").read_text().replace('model = "model"', f'model = "{tiny / "model"}"')
    (tmp_path / "study.toml").write_text(study)
    code, _, err = accord("run", tmp_path / "study.toml", "--dry-run")
    assert (code, err) == (0, warning)
    code, _, err = accord("run", tmp_path / "study.toml", "--out", tmp_path / "run")
    assert code == 0 and " ".join(warning.split()) in " ".join(err.split())
    assert "skipped_first" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "deep.toml"],
        ["run", "utf16.toml"],
        ["show", "deep.toml"],
        ["show", "hypernymy", "--data", "folder"],
        ["gap", "--model", "model", "--task", "hypernymy", "--data", "rows.jsonl"],
        ["generate", "--model", "model", "--prompt", "\ud800", "--device", "cpu"],
        ["generate", "--model", "model", "--tokens", "9" * 20, "--device", "cpu"],
        ["perplexity", "--model", "model", "--data", "folder", "--device", "cpu"],
        ["verdict", "--repaired", "broken", "--task", "hypernymy"],
        ["merge", "broken", "--out", "merged"],
        ["merge", "model", "--out", "file/below"],
        ["gap", "--model", "model", "--task", "pairs.toml", "--split", "all", "--out", "file"],
        ["gap", "--model", "model", "--task", "pairs.toml", "--split", "all", "--out", "file/below"],
        ["damage", "--repaired", "model", "--base", "model", "--texts", "pairs.csv", "--device", "cpu"],
    ],
)
def test_nothing_that_people_can_write_is_called_a_bug(words, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model", "pairs.csv", "pairs.toml"):
        (tmp_path / name).symlink_to(tiny / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 10_000)
    (tmp_path / "utf16.toml").write_text('name = "x"', encoding="utf-16")
    (tmp_path / "rows.jsonl").write_text("[" * 100_000)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "repair.json").write_text('{"format": "accord.repair"}')
    code, _, err = accord(*words)
    assert code == 1 and err.count("error: ") == 1
    assert "a bug in accord" not in err and "Traceback" not in err
