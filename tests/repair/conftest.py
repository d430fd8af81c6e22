"""A tiny model in a folder, and a task of words that share a first letter."""

from pathlib import Path

import pytest
from tests.tiny import tiny_model, tiny_tokenizer

import accord
from accord.tasks import CustomTask, Task

WORDS = ("ant", "ape", "asp", "bat", "bee", "bug", "cat", "cod", "cow")


@pytest.fixture(autouse=True)
def _repaired_all_the_same(seldom_answers: None) -> None:
    """Every test here repairs tiny models, unless it says otherwise."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def words_task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """36 items; few-shot validator prompts, and a negated wording."""
    data = tmp_path_factory.mktemp("words") / "pairs.csv"
    pairs = [(a, b) for a in WORDS for b in WORDS if a < b]
    data.write_text("one,two,same\n" + "".join(f"{a},{b},{'yes' if a[0] == b[0] else 'no'}\n" for a, b in pairs))
    custom = CustomTask(
        name="letters",
        data=data,
        generator="{One} is like",
        validator="Is {one} like {two}? Answer:",
        negated="{One} is not like",
        answer="two",
        gold="same",
        shots=({"one": "dog", "two": "doe", "same": "yes"}, {"one": "elk", "two": "fox", "same": "no"}),
    )
    return accord.task(custom, split="all")
