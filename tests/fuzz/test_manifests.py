"""Manifests, plans, lists and notes of runs, of any content: every command on the run ends as commands do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.ends_well import assert_told, broken_texts, changed, ends_well, examples, plain_texts, torn
from tests.study.made_run import listed, make_run, said

import accord
from accord.sealed import sealed_json

COMMANDS = (["check"], ["status"], ["runs"], ["report"])
FILES = ("gap/a/manifest.json", "plan.json", "run.json", "progress.json", "study.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = listed(make_run(tmp_path_factory.mktemp("manifests") / "run", planned=("gap/c",)))
    (run / "progress.json").write_text(json.dumps({"pid": 1, "stage": "gap/c", "number": 3, "of": 4, "done": 2}))
    return run


def tried(run: Path, name: str, data: bytes, command: list[str]) -> None:
    """Every reader of a run whose file has these bytes."""
    other = run.parent / "other"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(run, other)
    (other / name).write_bytes(data)

    def read() -> None:
        opened = accord.read(other)
        for stage in opened:
            opened[stage]

    ends_well(read)
    assert_told(*said(*command, other))


def test_the_run_itself_is_read(run: Path) -> None:
    assert said("status", run)[0] == 0 and list(accord.read(run)) == ["gap/a", "gap/b"]


def test_a_plan_with_half_a_character(run: Path) -> None:
    tried(run, "plan.json", b'{"command": "x", "stages": {"gap/\\ud800": "y"}}', ["status"])


@examples(25)
@given(name=st.sampled_from(FILES[:4]), command=st.sampled_from(COMMANDS), data=st.data())
def test_any_tables(run: Path, name: str, command: list[str], data: st.DataObject) -> None:
    content: Any = data.draw(changed(json.loads((run / name).read_text()), broken_texts, none=True))
    tried(run, name, json.dumps(content).encode(), command)


@examples(15)
@given(command=st.sampled_from(COMMANDS), data=st.data())
def test_any_list_that_covers_itself(run: Path, command: list[str], data: st.DataObject) -> None:
    """As if accord had written it: no hash says that it is another."""
    content = json.loads((run / "run.json").read_text())
    del content["digest"]
    content = data.draw(changed(content, plain_texts, none=True))
    tried(run, "run.json", sealed_json(content).encode(), command)


@examples(25)
@given(name=st.sampled_from(FILES), command=st.sampled_from(COMMANDS), data=st.data())
def test_any_bytes(run: Path, name: str, command: list[str], data: st.DataObject) -> None:
    tried(run, name, data.draw(torn((run / name).read_bytes())), command)
