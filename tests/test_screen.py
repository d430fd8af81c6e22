"""What anybody wrote is shown as it stands: no text is markup, and none moves a cursor or turns the text around it."""

import io
import json
import random
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

import accord
from accord import terminal
from accord.errors import AccordError
from accord.lm.catalog import say_on_stderr
from accord.progress import Display
from accord.screen import Screen, tell, visible
from accord.study.trials import SearchTrial
from tests.study.made_run import STUDY, change, make_run, progress, said

HOSTILE = "[/INST] [bold]x[/nobody] :bug: a\x1b[31mb\x1b]8;;http://x\x07c\x9bd\re\x08\u202ef\u2066\u2028g\udc80\u200e"
SHOWN = r"[/INST] [bold]x[/nobody] :bug: a\x1b[31mb\x1b]8;;http://x\x07c\x9bd\re\x08\u202ef\u2066\u2028g\udc80\u200e"
PIECES = (*HOSTILE, "[/]", "[link=x]", "\x1b[2J", "\x1b]0;t\x07", "[red]", ":smile:", "word", "\u200d", "é", "日", "\\")


def unseen(text: str) -> set[str]:
    """The characters of a text that do something rather than show, but for ends of lines and tabs."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {c for c in text if unicodedata.category(c) in kinds and c not in "\n\t\u200c\u200d"}


def test_of_all_characters_only_those_that_show_are_left():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    text = visible(every)
    assert not unseen(text) and visible(text) == text
    assert not set(every) - set(text) - unseen(every)
    assert visible(HOSTILE) == SHOWN and visible("two\n\tlines") == "two\n\tlines"


@pytest.mark.parametrize("in_terminal", [False, True])
def test_whatever_prints_shows_text_as_it_stands(monkeypatch, capsys, in_terminal):
    """For random texts of pieces of markup, escape sequences and words."""
    made, keys = Screen.__init__, {"width": 4000, "force_terminal": in_terminal, "color_system": None}
    monkeypatch.setattr(Screen, "__init__", lambda self, **own: made(self, **{**own, **keys}))
    draw = random.Random(0)
    for text in (HOSTILE, *("".join(draw.choices(PIECES, k=draw.randint(1, 12))) for _ in range(40))):
        tell(text)
        tell(text, err=True)
        say_on_stderr(text)
        terminal.print_text(text, 4000)
        terminal.print_table((text, "b"), [[text, "c"]], title=text)
        terminal.print_listing((text, "b"), [[text, Text(text)]])
        terminal.print_record(text, text, {text: text})
        terminal.screen().print(Table(text, title=text), Text(text), text)
        shown = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", part) if in_terminal else part for part in capsys.readouterr()]
        assert not unseen("".join(shown))
        words = visible(text).split()
        assert all(part.split()[: len(words)] == words for part in shown)


@pytest.mark.parametrize("in_terminal", [False, True])
def test_progress_shows_names_as_they_stand(in_terminal):
    """Whatever console it is given."""
    console = Console(file=io.StringIO(), width=4000, force_terminal=in_terminal, color_system=None)
    with Display(HOSTILE, {HOSTILE: 2.0, "b": 1.0}, console=console) as display:
        with display.step(HOSTILE, lambda: HOSTILE) as progress:
            display.doing(HOSTILE)
            progress(1, 2)
        display.say(HOSTILE)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    own = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", text) if in_terminal else text
    assert not unseen(own) and SHOWN in own


@pytest.mark.parametrize(
    "error", [AccordError(HOSTILE, where=HOSTILE, got=HOSTILE), OSError(2, HOSTILE, HOSTILE), ValueError(HOSTILE)]
)
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_errors_quote_as_it_stands(monkeypatch, error, debug):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("accord.study.check.check", fail)
    code, text = said(*debug, "check", "run")
    assert code == 1 and not unseen(text) and SHOWN.split(r"\re")[0] in text


@pytest.mark.parametrize("words", [["check", HOSTILE[:-1]], [HOSTILE], ["gap", "--limit", HOSTILE], ["gap", HOSTILE]])
def test_what_was_typed_is_quoted_as_it_stands(words):
    code, text = said(*words, COLUMNS="400")
    assert code and not unseen(text) and "bug in accord" not in text


def test_commands_about_runs_show_what_is_in_their_files_as_it_stands(tmp_path):
    """Names of folders, settings, facts, findings and plans: in a terminal of some width, and without one."""
    name = HOSTILE.replace("/", "|").replace("\udc80", "")
    for number, run in enumerate((name, f"{name}2")):
        stages, study = ["gap/a", f"damage/{name}"], STUDY.replace("demo", f"d{number}")
        folder = make_run(tmp_path / run, stages, planned=[f"gap/{name}"], study=study)
        for manifest in folder.rglob("manifest.json"):
            settings = {"model": name, name: number}
            change(manifest, settings=settings, command=name, facts={name: name}, versions={name: str(number)})
        (folder / "report.html").write_text(f'<meta name="description" content="{name}">')
        change(folder / "plan.json", command=name)
        progress(folder, pid=1, host=name, stage=name, started=name, updated=name)
    run = tmp_path / name
    commands = (["runs", tmp_path], ["status", run], ["check", run], ["diff", run, tmp_path / f"{name}2"])
    for words in (*commands, ["rm", run, f"damage/{name}"], ["report", run]):
        for width in ({}, {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "60"}):
            _, text = said(*words, **width)
            assert not unseen(re.sub(r"\x1b\[[\d;]*m", "", text)), words
            assert "MarkupError" not in text and "bug in accord" not in text, (words, text)


def test_tasks_studies_and_trials_are_shown_as_they_stand(tmp_path, monkeypatch):
    text = HOSTILE.replace("\udc80", "")
    rows = "\n".join(json.dumps({"a": f"w{i}", "b": text, "c": i % 2}) for i in range(8))
    (tmp_path / "t.jsonl").write_text(rows)
    quoted = json.dumps(text)
    keys = ('data = "t.jsonl"', f'generator = {quoted[:-1]} {{a}}"', f'validator = {quoted[:-1]} {{a}}?"')
    (tmp_path / "t.toml").write_text("\n".join([*keys, 'answer = "b"', 'gold = "c"']))
    study = f'name = "s"\n{quoted} = 1\n[backbone]\nmodel = {quoted}\n[[gap]]\ntask = {quoted}\n'
    (tmp_path / "s.toml").write_text(study)
    sought = 'objective = "gap/a:validator_auc"\ndirection = "maximize"'
    (tmp_path / "search.toml").write_text(f'{STUDY}[search]\n{sought}\n[[gap]]\ntask = {{ choices = ["a", "b"] }}\n')
    trials = [SearchTrial(0, {text: text}, 0.5, None), SearchTrial(1, {text: 1}, None, text)]
    monkeypatch.setattr("accord.study.search.search", lambda *_, **__: (trials, tmp_path))
    for words in (
        ["show", tmp_path / "t.toml"],
        ["run", tmp_path / "s.toml", "--check"],
        ["search", tmp_path / "search.toml", "--trials", 2],
    ):
        _, out = said(*words)
        assert not unseen(out) and "[/INST] [bold]" in out and "bug in accord" not in out, words


def test_nothing_else_writes_to_a_terminal():
    """A new command cannot forget it: only accord.screen prints, and makes consoles."""
    calls = r"(?<![\w.])(print|Console)\(|typer\.s?echo|rich\.print|sys\.std(out|err)\.write|print_exc\("
    writes = re.compile(rf"^(?!\s*>>>).*({calls})", re.MULTILINE)
    files = [path for path in Path(accord.__file__).parent.rglob("*.py") if path.name != "screen.py"]
    assert len(files) > 100
    assert [(path, found[0]) for path in files if (found := writes.search(path.read_text(encoding="utf-8")))] == []
