"""Commands on a run folder by itself: names, explain and steer take the concepts that a study left in it."""

import json
from pathlib import Path

import pytest
from tests.tiny import tiny_hub_folder, tiny_model, tiny_texts, tiny_tokenizer
from typer.testing import CliRunner

from accord import cli

STUDY = """\
name = "s"

[backbone]
model = "model"
device = "cpu"

[text]
source = "texts.txt"
max_tokens = 250
held_out_tokens = 120

[[concepts]]
kind = "topk"
size = 24
k = 4
training = { steps = 12, batch = 64, evaluate_every = 6 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a study, and the run of it."""
    folder = tmp_path_factory.mktemp("study")
    tiny_hub_folder(folder / "model")
    tiny_model(num_hidden_layers=2).save_pretrained(folder / "judge")
    tiny_tokenizer().save_pretrained(folder / "judge")
    (folder / "texts.txt").write_text("\n".join(tiny_texts()))
    (folder / "study.toml").write_text(STUDY)
    code, said, err = accord("train", folder / "study.toml", "--out", folder / "run")
    assert code == 0 and said.strip() == str(folder / "run"), err
    return folder


def accord(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("command", ["names", "explain"])
def test_what_is_no_run_or_of_another_model_is_refused(command: str, made: Path) -> None:
    run, model = made / "run", made / "model"
    code, _, err = accord(command, run)  # the study's `model = "model"` is beside the study
    assert code == 1 and "no such model" in err
    code, _, err = accord(command, run, "--backbone", made / "judge")
    assert code == 1 and "another model" in err and "--backbone MODEL" in err
    code, _, err = accord(command, run, "--concepts", "topq", "--backbone", model)
    assert code == 1 and "topk-s0" in err
    code, _, err = accord(command, made)
    assert code == 1 and "no embeddings" in err


def test_names(made: Path) -> None:
    words = ["names", made / "run", "--limit", 4, "--held-out", 3, "--backbone", made / "model"]
    code, said, err = accord(*words)
    assert code == 0 and "4 asked, 4 named, 0 failed" in said and "detection_shuffled" in said, err
    assert "names/topk-s0: written" in err
    exported = accord(*words, "--neuronpedia", made / "exports")
    place = made / "exports" / "model" / "2-accord-topk-s0"
    assert exported[0] == 0 and exported[1].splitlines()[-1] == str(place) and (place / "source.jsonl").exists()
    again = accord(*words)
    assert again[1] == said and "names/topk-s0: up to date" in again[2]
    code, _, err = accord(*words, "--no-scores")
    assert code == 1 and "other settings" in err and "scores (True → False)" in err and "--replace" in err
    code, said, err = accord(*words, "--no-scores", "--replace", "--concepts", "topk")
    assert code == 0 and "written" in err and "detection" not in said
    assert accord("check", made / "run")[0] == 0

    # What is not asked for otherwise is what is there, for which no model is needed.
    for more in ([], ["--limit", 4, "--no-scores"]):
        code, there, err = accord("names", made / "run", *more, *(["--backbone", made / "model"] if more else []))
        assert code == 0 and there == said and "names/topk-s0: there already" in err, err
    code, _, err = accord("names", made / "run", "--scores", "--backbone", made / "model")  # though it is the default
    assert code == 1 and "scores (False → True)" in err
    (made / "run/names/topk-s0/metrics.json").write_text("{}")  # damaged: made again, as the study has it
    code, _, err = accord("names", made / "run", "--backbone", made / "model", "--concepts", "topk-s0")
    assert code == 1 and "held_out (3 → 10)" in err


def test_an_annotator_takes_its_own_options(made: Path) -> None:
    words = ["names", made / "run", "--backbone", made / "model", "--replace"]
    for more, problem in (
        (["--model", "m"], "--annotator tokens takes no --model"),
        (["--annotator", "transformers"], "needs a --model"),
        (["--annotator", "transformers", "--model", "m", "--base-url", "http://x/v1"], "takes no --base-url"),
        (["--annotator", "openai", "--model", "m"], "needs a key"),
        (["--annotator", "openai", "--model", "m", "--base-url", "ftp://x"], "begins with http://"),
        (["--annotator", "transformers", "--model", "absent"], "no such model"),
    ):
        code, _, err = accord(*words, *more)
        assert code == 1 and problem in err, err


def test_explain(made: Path) -> None:
    words = ["explain", made / "run", "--limit", 20, "--backbone", made / "model", "--chosen", 2, "--draws", 3]
    code, said, err = accord(*words, "--candidates", 8)
    assert code == 0 and "largest" in said, err
    assert accord(*words, "--candidates", 8)[1] == said
    code, _, err = accord(*words, "--candidates", 6)
    assert code == 1 and "other settings" in err and "candidates (8 → 6)" in err
    code, _, err = accord(*words, "--candidates", 6, "--replace")
    assert code == 0, err
    assert json.loads((made / "run/explain/topk-s0/explain.json").read_text())["candidates"] == 6
    code, there, err = accord("explain", made / "run")
    assert code == 0 and "there already" in err and "largest" in there
    code, _, err = accord("explain", made / "run", "--task", "trivia", "--backbone", made / "model")
    assert code == 1 and "task" in err


def test_steer(made: Path) -> None:
    words = ["steer", made / "run", "--tokens", 5, "-n", 2, "--prompt", "A bee is", "--device", "cpu"]
    code, same, err = accord(*words, "--concept", 3, "--factor", 1)
    assert code == 0, err
    assert same.splitlines()[0].split() == ["prompt", "without", "with"] and "A bee is" in same
    code, changed, err = accord(*words, "--off", 1, "--set", "3=40", "--concepts", "topk-s0")
    assert code == 0 and changed != same, err
    code, _, err = accord(*words)
    assert code == 1 and "nothing to steer" in err
