"""A study that asks in a chat: its keys reach the template, and what the template writes is part of the recipe."""

import io
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

from accord import cli
from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.study import engine, load, plan_study
from accord.study.graph import why

DATED = (
    "{{ strftime_now('%d %b %Y') if date_string is not defined else date_string }}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
)
STUDY = """
name = "s"
backbone.model = "model"
[[gap]]
task = "animals"
name = "own"
chat = true
[[gap]]
task = "animals"
chat = true
system = "Be brief."
chat_options = { date_string = "26 Jul 2026" }
chat_turns = false
[tasks.animals]
data = "rows.csv"
generator = "{one} is like"
validator = "Is {one} like {two}?"
answer = "two"
gold = "same"
yes = ["yes"]
no = ["no"]
"""


class Later(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime(2031, 5, 6, tzinfo=tz)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = DATED
    tiny_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [f"{a},{b},{'yes' if a[0] == b[0] else 'no'}\n" for a in ("ant", "ape", "bee") for b in ("asp", "bat")]
    (tmp_path / "rows.csv").write_text("one,two,same\n" + "".join(rows))
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path


def test_another_day_is_another_recipe_unless_the_date_is_fixed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.report.write_report", lambda run: (run / "report.html").write_text("report"))

    def run(replace: bool = False) -> dict[str, str]:
        stages = plan_study(load(folder / "s.toml"), fetch=True).stages
        reasons = {stage.name: why(stage, folder / "run" / stage.name) for stage in stages}
        engine.run(folder / "s.toml", folder / "run", console=Console(file=io.StringIO()), replace=replace)
        return reasons

    section = engine.load(folder / "s.toml").study.gap[1]
    fixed = f"gap/{section.folder}"
    assert run() == {"gap/own": "to do", fixed: "to do"}
    assert run() == {"gap/own": "up to date", fixed: "up to date"}
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Later)
    with pytest.raises(AccordError, match=r"got: +gap/own: what the chat template writes \(a date\?") as caught:
        run()
    assert fixed not in str(caught.value)
    again = run(replace=True)
    assert again[fixed] == "up to date" and again["gap/own"].startswith("what the chat template writes (a date?")
    assert run()["gap/own"] == "up to date"


def test_folders_of_questions_that_differ_in_the_conversation_differ() -> None:
    keys = [{}, {"system": "Be brief."}, {"system": "Be long."}, {"chat_options": {"a": 1}}, {"chat_turns": False}]
    sections = [GapSection.model_validate({"task": "hypernymy", "chat": True, **table}) for table in keys]
    assert len({section.folder for section in sections}) == len(keys) and sections[0].folder == "hypernymy-chat"


def test_commands_take_a_system_message_and_options(folder: Path) -> None:
    table = STUDY.split("[tasks.animals]")[1]
    (folder / "animals.toml").write_text(table)
    words = ["gap", "--model", folder / "model", "--task", folder / "animals.toml", "--split", "all", "--chat"]

    def accord(*more: object) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, [str(word) for word in (*words, *more)])
        return result.exit_code, result.stderr

    fixed = ["--system", "Be brief.", "--chat-option", "date_string=now"]
    assert accord(*fixed, "--out", folder / "out")[0] == 0
    assert len(pd.read_parquet(folder / "out" / "scores.parquet")) == 6
    code, said = accord("--chat-option", "day=now")
    assert code == 1 and "reads no option 'day'" in said and "date_string" in said
    (folder / "model" / "chat_template.jinja").write_text("{{ raise_exception('a system message is needed') }}")
    code, said = accord()
    assert code == 1 and "a system message is needed" in said and "bug" not in said
