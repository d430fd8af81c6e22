"""Task files and data files of any content: a task, or one error that names the file."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.ends_well import broken_texts, changed, ends_well, examples, torn

from accord.tasks import task

FILE = """\
name = "capitals"
data = "capitals.csv"
generator = "The capital of {country} is"
validator = "Is {city} the capital of {Country}? Answer:"
negated = "The capital of {country} is not"
answer = "the city {city}"
gold = "correct"
yes = ["Ja"]
no = "Nein"
group = "continent"
split = "side"
chat_options = { date = "today" }
shots = [
  { country = "Doland", city = "Dburg", correct = "yes" },
  { country = "Doland", city = "Aburg", correct = "no" },
]
"""
ROWS = [
    {
        "country": f"{a}land",
        "city": f"{b}burg",
        "correct": a == b,
        "continent": a,
        "side": "train" if a < "D" else "test",
    }
    for a in "ABCDEF"
    for b in "ABC"
]
TABLE = "\n".join([",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)])
LINES = "\n".join(json.dumps(row) for row in ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "capitals.csv").write_text(TABLE)
    (folder / "capitals.toml").write_text(FILE)
    return folder


def made(file: Path, data: Path, *names: str) -> str | None:
    return ends_well(lambda: task(file, data=data, split="train").prompts, *names)


def test_the_task_itself_is_sound(folder: Path) -> None:
    assert made(folder / "capitals.toml", folder / "capitals.csv") is None


@examples(40)
@given(content=changed(tomllib.loads(FILE)))
def test_any_keys(folder: Path, content: Any) -> None:
    (folder / "keys.toml").write_bytes(tomlkit.dumps(content).encode())
    made(folder / "keys.toml", folder / "capitals.csv")


@examples(40)
@given(data=torn(FILE.encode()))
def test_a_task_file_of_any_bytes(folder: Path, data: bytes) -> None:
    (folder / "bytes.toml").write_bytes(data)
    made(folder / "bytes.toml", folder / "capitals.csv")


@examples(40)
@given(rows=changed(ROWS, broken_texts, none=True))
def test_a_data_file_of_any_objects(folder: Path, rows: Any) -> None:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made(folder / "capitals.toml", folder / "rows.jsonl")


@examples(30)
@pytest.mark.parametrize(("name", "text"), [("d.csv", TABLE), ("d.tsv", TABLE.replace(",", "\t")), ("d.jsonl", LINES)])
@given(data=st.data())
def test_a_data_file_of_any_bytes(folder: Path, name: str, text: str, data: st.DataObject) -> None:
    (folder / name).write_bytes(data.draw(torn(text.encode())))
    made(folder / "capitals.toml", folder / name)
