"""Names of any letters and length, wherever a name is taken: what it names, or one error; never a folder elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from tests.fuzz.ends_well import broken_texts, ends_well, examples, plain_texts

import accord
from accord import concepts
from accord.gap.config import GapSection
from accord.lm.catalog import resolve
from accord.study.check import check
from accord.study.config import from_options, load
from accord.study.run_status import status
from accord.tasks import task
from accord.text.sources import is_here

TAKES_NAMES: dict[str, Callable[[str], Any]] = {
    "model": lambda name: resolve(name, fetch=False),
    "task": lambda name: task(name).prompts,
    "data": lambda name: task("hypernymy", data=name, limit=1).prompts,
    "texts": is_here,
    "study": lambda name: load(Path(name)),
    "run": lambda name: accord.read(name)[name],
    "check": check,
    "status": status,
    "concepts": concepts.load,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with nothing in it, two folders below one with nothing in it."""
    folder = tmp_path_factory.mktemp("names") / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("kind", TAKES_NAMES)
@examples(40)
@example("~0")  # of a user who has no home
@example("x" * 5_000)
@given(name=broken_texts)
def test_any_name(kind: str, name: str) -> None:
    ends_well(lambda: TAKES_NAMES[kind](name))


@examples(40)
@example("manifest.json", "manifest.json.toml")
@example("x" * 300, "日本")
@given(name=plain_texts, task=plain_texts)
def test_a_folder_is_named_by_what_every_system_takes(name: str, task: str) -> None:
    ends_well(lambda: from_options(GapSection, {"task": "own", "name": name}), "--name")
    folder = GapSection.model_construct(task=task).folder
    assert GapSection(task="own", name=folder).folder == folder
