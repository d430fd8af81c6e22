"""`[names]` of a study and `accord names`: the same stage, whoever asks for it."""

import io
import json

import pandas as pd
import pytest
from rich.console import Console
from tests.names.server import ChatServer
from tests.study.said import stages_made
from tests.study.test_concept_study import STUDY, made  # noqa: F401
from typer.testing import CliRunner

from accord import cli
from accord.errors import AccordError
from accord.names.judges import ListJudge
from accord.study import engine, plan_study
from accord.study.config import load

BASE = STUDY.partition("[perplexity]")[0]
NAMES = "\n[names]\nlimit = 5\nheld_out = 3\n"


@pytest.fixture
def accord(made, tmp_path, monkeypatch):  # noqa: F811
    """The command line, below `tmp_path`, with the study of this text beside its model."""
    monkeypatch.chdir(tmp_path)

    def accord(*words, text=None):
        if text is not None:
            (made / "study.toml").write_text(text)
        result = CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "200"})
        return result.exit_code, result.stdout, result.stderr

    return accord


@pytest.fixture
def run(made, tmp_path, monkeypatch):  # noqa: F811
    """Run the study of this text beside its model, below `tmp_path`; what it said."""
    monkeypatch.chdir(tmp_path)

    def run(text):
        (made / "study.toml").write_text(text)
        shown = io.StringIO()
        engine.run(made / "study.toml", console=Console(file=shown, width=200))
        return shown.getvalue()

    return run


def test_a_study_names(run, tmp_path, monkeypatch):
    run(BASE + NAMES)
    folder = tmp_path / "runs" / "s" / "names"
    assert sorted(path.name for path in folder.iterdir()) == ["gates-L2-s0", "topk-s0"]  # the first seed's
    for name in ("gates-L2-s0", "topk-s0"):
        assert sorted(path.name for path in (folder / name).iterdir()) == [
            "answers.jsonl", "concepts.parquet", "examples.parquet", "failures.jsonl", "manifest.json", "metrics.json",
        ]  # fmt: skip
        metrics = json.loads((folder / name / "metrics.json").read_text())
        table = pd.read_parquet(folder / name / "concepts.parquet")
        assert metrics["live"] == len(table) and metrics["named"] == 5 == table["name"].notna().sum()
        assert {"detection", "fuzzing_auc_shuffled", "types", "promoted", "no_name"} <= set(table)
        assert metrics["fuzzing"]["n"] == table["fuzzing"].notna().sum() > 0
    monkeypatch.setattr("accord.lm.load", None)  # a rerun must not load weights
    assert "to do" not in run(BASE + NAMES)


def test_the_command_names_too(run, accord, made, tmp_path, monkeypatch):  # noqa: F811
    run(BASE + NAMES)
    monkeypatch.setattr("accord.lm.load", None)  # what is refused must not load weights
    code, out, err = accord("names", "runs/s")
    assert code == 0 and err.count("there already") == 2 and "5 asked" in out, err
    code, same, err = accord("names", "runs/s", "--limit", 5, "--backbone", made / "model")
    assert code == 0 and err.count("up to date") == 2 and same == out, err  # as the study asks
    code, out, err = accord("names", "runs/s", "--limit", 4, "--backbone", made / "model")
    assert code == 1 and "limit (5 → 4)" in err and "--replace" in err and "held_out" not in err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    words = ["names", "runs/s", "--limit", 4, "--concepts", "topk", "--backbone", made / "model"]
    code, out, err = accord(*words, "--replace")
    assert code == 0 and "4 asked, 4 named, 0 failed" in out and "detection_shuffled" in out, err
    assert "up to date" in accord(*words, "--replace")[2] and "up to date" in accord(*words)[2]
    assert accord("check", "runs/s")[0] == 0
    code, _, err = accord("names", "runs/s", "--limit", 3)  # the study's `model = "model"` is beside the study
    assert code == 1 and "no such model" in err
    code, _, err = accord("names", "runs/s", "--limit", 3, "--backbone", made / "judge")
    assert code == 1 and "another model" in err
    code, _, err = accord("names", "runs/s", "--concepts", "topq", "--backbone", made / "model")
    assert code == 1 and "topk-s0" in err
    code, _, err = accord("names", made)
    assert code == 1 and "no embeddings" in err


def test_a_server_names_and_judges(run, tmp_path, monkeypatch):
    """An interrupted stage goes on with what is missing, and another pace redoes nothing."""

    def stop(*_):
        raise KeyboardInterrupt

    def answer(prompt):
        return {"concept": "birds"} if "detector" in prompt else {"numbers": [1, 2]}

    def text(server, **over):
        keys = {"kind": "openai", "model": "m", "base_url": server.url, "first_wait": 0.0, **over}
        table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
        return BASE + NAMES + f'concepts = "topk"\nannotator = {{ {table} }}\n'

    with ChatServer(answer=answer) as server:
        monkeypatch.setattr(ListJudge, "judge", stop)
        with pytest.raises(KeyboardInterrupt):
            run(text(server))
        assert server.answered.total() == 5
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        server.faulty, server.faults = 0.2, ("busy", "schema")
        run(text(server, attempts=8))
        before = server.answered.copy()
        assert all(times == 1 for prompt, times in before.items() if "detector" in prompt) and before.total() > 5
        said = run(text(server, concurrency=1))
        assert server.answered == before and "names/topk-s0" not in stages_made(said)
    folder = tmp_path / "runs" / "s" / "names" / "topk-s0"
    keys = [json.loads(line)["key"] for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) and {key.partition(":")[0] for key in keys} == {
        "name", "detection", "detection-shuffled", "fuzzing", "fuzzing-shuffled",
    }  # fmt: skip
    assert set(pd.read_parquet(folder / "concepts.parquet")["name"].dropna()) == {"birds"}


def test_what_a_server_did_not_answer_is_asked_again_alone(run, accord, made, tmp_path):  # noqa: F811
    run(BASE)
    folder = tmp_path / "runs" / "s" / "names" / "topk-s0"

    def whole(body):
        if "detector" in body["messages"][0]["content"]:
            first.append(1)
            return bad if everything or len(first) == 2 else None
        return None

    def answer(prompt):
        return {"concept": "birds"} if "detector" in prompt else {"numbers": [1, 2]}

    bad, first, everything = (400, {"error": {"message": "no such thing"}}), [], True
    with ChatServer(answer=answer, whole=whole) as server:
        words = ["names", "runs/s", "--concepts", "topk", "--limit", 4, "--annotator", "openai", "--model", "m",
                 "--base-url", server.url, "--backbone", made / "model"]  # fmt: skip
        code, _, err = accord(*words)
        assert code == 1 and "No concept got a name" in err and "no such thing" in err and not folder.exists()
        everything, first, bad = False, [], (403, {})
        code, out, err = accord(*words)
        assert code == 0 and "3 named, 1 failed" in out and "the same command asks for that again" in err, err
        assert accord("check", "runs/s")[0] == 0
        before, times_before = (folder / "answers.jsonl").read_text(), server.answered.copy()
        code, out, err = accord(*words)
        assert code == 0 and "4 named, 0 failed" in out and "again" not in err, err
        assert (folder / "answers.jsonl").read_text().startswith(before)
        assert len(first) == 5  # four, then the one that failed
        again = [prompt for prompt, times in times_before.items() if server.answered[prompt] > times]
        assert len(again) == 1 and "detector" in again[0]
        assert not (folder / "dictionary").exists() and accord("check", "runs/s")[0] == 0
        code, _, err = accord(*words)
        assert code == 0 and "up to date" in err and len(first) == 5


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('annotator = { kind = "opnai" }', ["did you mean 'openai'?"]),
        ('annotator = { kind = "openai" }', ["key is missing", "model"]),
        ('annotator = { kind = "openai", model = "m" }', ["needs a key", "OPENAI_API_KEY is not set", "[names]"]),
        ('annotator = { kind = "openai", model = "m", base_url = "http://a:b@c/v1" }', ["written to disk"]),
        ('annotator = { kind = "openai", model = "m", base_url = "http://c/v1?key=a" }', ["written to disk"]),
        ('annotator = { kind = "transformers", model = "absent" }', ["no such model", "key model"]),
        ('concepts = "topj"', ["did you mean 'topk'?", "key concepts"]),
        ("limit = 0", ["key limit"]),
        ("example = 3", ["did you mean 'examples'?"]),
    ],
)
def test_mistakes_are_told_before_anything_is_done(made, monkeypatch, section, words):  # noqa: F811
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = made / "wrong.toml"
    path.write_text(BASE + "[names]\n" + section + "\n")
    with pytest.raises(AccordError) as caught:
        plan_study(load(path))
    for word in words:
        assert word in str(caught.value), str(caught.value)
