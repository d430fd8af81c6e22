"""What a run tells of itself: in a terminal, in a log, and to other processes."""

import io
import json

import pytest
from rich.console import Console

from accord import progress
from accord.arguments import checked
from accord.progress import Display, Progress, bar, clock


class Clock:
    """Time that passes when told."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def time(monkeypatch):
    return Clock(monkeypatch)


def log():
    return Console(file=io.StringIO(), width=200)


def terminal(width=80):
    return Console(file=io.StringIO(), width=width, height=24, force_terminal=True, color_system=None)


def text(console):
    return console.file.getvalue()


def test_a_log_has_a_line_when_a_step_begins_and_one_when_it_ends(time):
    console = log()
    with Display("demo", {"gap/a": 60.0, "repair/b": 30.0}, console=console) as display:
        with display.step("gap/a", lambda: "r 0.10") as told:
            time.passes(48)
            told(1, 1)
        with display.step("repair/b"):
            time.passes(3)
    assert text(console).splitlines() == [
        "[1/2] gap/a, about 1:00",
        "[1/2] gap/a: 0:48   r 0.10",
        "[2/2] repair/b, about 0:30",
        "[2/2] repair/b: 0:03",
    ]


def test_a_log_has_a_line_while_a_step_goes_on(monkeypatch):
    monkeypatch.setattr(progress, "_LINES", 0.0)
    console = log()
    with Display("demo", {"gap/a": 60.0, "gap/b": 10.0}, console=console) as display, display.step("gap/a") as told:
        told(45, 100)
        while len(text(console).splitlines()) < 2:
            pass
    line = text(console).splitlines()[1]
    assert line.startswith("[1/2] gap/a: 45 %, 0:00 gone; 0:00 gone of all, about ")
    assert "\r" not in text(console)


def test_what_takes_a_while_before_the_first_share_is_told(monkeypatch):
    monkeypatch.setattr(progress, "_LINES", 0.0)
    console = log()
    with Display("gap", console=console) as display, display.step("gap/a"):
        display.doing("loading tiny")
        while "loading tiny" not in text(console):
            pass


def test_the_rest_is_expected_from_what_was_measured(time):
    display = Display("demo", {"a": 10.0, "b": 20.0, "c": 40.0}, console=log())
    assert display.left() == 70
    with display.step("a"):
        time.passes(20)  # twice as slow as expected
    assert display.left() == 120
    with display.step("b") as told:
        time.passes(10)
        assert display.left() == pytest.approx(30 + 80)  # no share is known: twice 20, less what is gone
        time.passes(40)
        told(1, 2)
        assert display.left() == pytest.approx(50 + 80)  # half of it took 50
        time.passes(500)
        told(0, 0)
        assert display.left() == pytest.approx(80)  # never less than nothing


def test_a_step_that_goes_over_its_items_again_says_so(time):
    display = Display("demo", {"a": 60.0}, console=log())
    with display.step("a") as told:
        time.passes(10)
        told(1, 2)
        assert display._far() == "50 %" and display.left() == 50  # what was expected is more than what the share tells
        told(2, 2)
        told(0, 4)
        told(1, 4)
        assert display._far() == "25 % of pass 2"
        time.passes(70)
        assert display.left() == pytest.approx(80 * 3 / 2)  # this pass began half way at the latest


def test_a_step_that_nobody_expected_is_shown_and_not_counted(time):
    console = log()
    with Display("search", console=console) as display:
        with display.step("gap/a"):
            time.passes(2)
        assert display.left() is None
    assert text(console).splitlines() == ["gap/a", "gap/a: 0:02"]


def test_a_terminal_shows_the_whole_and_the_step_under_way():
    console = terminal(60)
    display = Display("demo", {"gap/a": 60.0, "repair/b": 30.0}, console=console)
    with display.step("gap/a") as told:
        told(1, 4)
        console.print(display)
    whole, step, *_ = text(console).splitlines()
    assert whole.startswith("demo · stage 1 of 2 · 0:00 gone · about 1:")
    assert step.startswith("gap/a ") and "25 %" in step
    assert all(len(line) <= 60 for line in text(console).splitlines())


def test_names_of_others_move_no_cursor_and_are_no_markup():
    for console in (log(), terminal()):
        display = Display("[/b]\x1b[2J", {"gap/\x1b[31m[red]a\r": 1.0}, console=console)
        with display, display.step("gap/\x1b[31m[red]a\r", lambda: "[/red]\x07"):
            pass
        assert "\x1b[31m" not in text(console) and "\x1b[2J" not in text(console) and "\x07" not in text(console)
        assert "[red]a" in text(console) and "[/red]" in text(console)


def test_other_processes_can_read_how_far_it_is(tmp_path):
    note = tmp_path / "progress.json"
    with Display("demo", {"gap/a": 60.0, "repair/b": 30.0}, console=log(), note=note) as display:
        with display.step("gap/a"):
            told = json.loads(note.read_text())
        with display.step("repair/b") as move:
            move(1, 2)
            display._write_note(force=True)
            later = json.loads(note.read_text())
    assert (told["stage"], told["number"], told["of"]) == ("gap/a", 1, 2)
    assert (later["stage"], later["number"], later["done"], later["total"]) == ("repair/b", 2, 1, 2)
    assert not list(tmp_path.iterdir())


def test_the_note_goes_when_a_step_fails(tmp_path):
    note = tmp_path / "progress.json"
    display = Display("demo", {"a": 1.0}, console=log(), note=note)
    with pytest.raises(ZeroDivisionError), display, display.step("a"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_functions_take_true_for_a_bar(capsys):
    @checked
    def count(n: int, *, progress: Progress | None = None) -> bool:
        if progress is None:
            return False
        progress(n, n)
        return True

    assert count(3, progress=True)
    assert "count" in capsys.readouterr().err
    assert not count(3, progress=False) and not count(3)
    told = []
    assert count(3, progress=lambda done, total: told.append((done, total))) and told == [(3, 3)]
    assert capsys.readouterr().err == ""


def test_one_piece_of_work():
    console = log()
    with bar("counting", console) as told:
        told(1, 3)
    assert text(console).splitlines() == ["counting", "counting: 0:00"]


def test_clock():
    assert [clock(s) for s in (0, 59.9, 60, 3600, -1)] == ["0:00", "0:59", "1:00", "1:00:00", "0:00"]
