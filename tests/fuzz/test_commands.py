"""Commands with names of any letters and length: each ends as commands do, and nothing they write is obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.ends_well import assert_told, broken_texts, examples
from tests.study.made_run import said


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))


COMMANDS = [
    *("show NAME", "gap NAME --model NAME", "run NAME --check", "run study.toml --out NAME --check", "check NAME"),
    *("diff NAME NAME", "runs NAME", "status NAME", "report NAME", "cache --remove NAME", "rm NAME --yes", "NAME"),
]


@examples(40)
@given(command=st.sampled_from(COMMANDS), name=broken_texts)
def test_a_command_with_any_name(command: str, name: str) -> None:
    assert_told(*said(*(name if word == "NAME" else word for word in command.split())))
