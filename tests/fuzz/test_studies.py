"""Study files of any content: a plan, or one error that names the file."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import example, given
from tests.fuzz.ends_well import changed, ends_well, examples, torn
from tests.tiny import tiny_hub_folder, tiny_texts

from accord.study import load, plan_study
from accord.study.toml_lines import value_at

STUDY = """\
name = "s"
seeds = [0, 1]

[backbone]
model = "model"
device = "cpu"

[tasks.own]
data = "capitals.csv"
generator = "The capital of {country} is"
validator = "Is {city} the capital of {country}? Answer:"
answer = "city"
gold = "correct"
shots = [
  { country = "Doland", city = "Dburg", correct = "yes" },
  { country = "Doland", city = "Aburg", correct = "no" },
]

[[gap]]
task = "own"
layers = true
limit = 40

[[repair]]
kind = "readout"
task = "own"

[[repair]]
kind = "rankalign"
task = "own"
steps = 2

[verdict]
limit = 4

[damage]
limit = 4

[pathway]
limit = 4

[text]
source = "texts.txt"
max_tokens = 200
held_out_tokens = 80

[[concepts]]
kind = "topk"
size = 16
k = 4
training = { steps = 4, batch = 32 }

[[concepts]]
kind = "lcblm"
concepts = 8
width = 4
layers = [1, "last"]

[[heads]]
kind = "new"
reads = "latents"
training = { steps = 4, batch = 32 }

[perplexity]
judge = "model"

[names]
limit = 4

[steering]
number = 2
factors = [0.0]

[explain]
limit = 20
candidates = 8
"""
PAIRS = [(a, b) for a in "ABEFGHIJKLMN" for b in "ABEFGHIJKLMN"]
DATA = "country,city,correct\n" + "".join(f"{a}land,{b}burg,{'yes' if a == b else 'no'}\n" for a, b in PAIRS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in folders of its own: paths that lead out of it lead to nothing."""
    folder = tmp_path_factory.mktemp("studies") / "a" / "b" / "c"
    tiny_hub_folder(folder / "model")
    (folder / "texts.txt").write_text("\n".join(tiny_texts()))
    (folder / "capitals.csv").write_text(DATA)
    return folder / "s.toml"


def planned(file: Path, data: bytes) -> str | None:
    """What is said against a study; every stage of a sound one has a folder of its own that every system can have."""

    def plan() -> None:
        for stage in plan_study(load(file)).stages:
            assert re.fullmatch(r"[a-z]+(/[A-Za-z0-9][A-Za-z0-9._-]{0,199})?", stage.name), stage.name

    file.write_bytes(data)
    return ends_well(plan, file)


def test_the_study_itself_is_sound(file: Path) -> None:
    assert planned(file, STUDY.encode()) is None


def with_value(value: Any, *place: str | int) -> Any:
    content = tomllib.loads(STUDY)
    value_at(content, place[:-1])[place[-1]] = value
    return content


@examples(40)
@example(with_value("x" * 5_000, "backbone", "model"))
@example(with_value("~0", "backbone", "model"))
@example(with_value("a/" * 3_000, "text", "source"))
@example(with_value("x" * 5_000, "perplexity", "judge"))
@example(with_value([""], "verdict", "tasks"))
@example(with_value("x" * 300, "name"))
@given(content=changed(tomllib.loads(STUDY)))
def test_any_tables(file: Path, content: Any) -> None:
    planned(file, tomlkit.dumps(content).encode())


@examples(40)
@given(data=torn(STUDY.encode()))
def test_any_bytes(file: Path, data: bytes) -> None:
    planned(file, data)
