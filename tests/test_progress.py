"""What a run tells of itself: in a terminal, in a log, and to other processes."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

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
        assert (
            display._steps()[0].far == "50 %" and display.left() == 50
        )  # what was expected is more than what the share tells
        told(2, 2)
        told(0, 4)
        told(1, 4)
        assert display._steps()[0].far == "25 % of pass 2"
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


def test_several_steps_are_under_way_at_once(time):
    console = log()
    expected = {"gap/a": 60.0, "gap/b": 60.0, "repair/c": 30.0, "repair/d": 30.0}
    with Display("demo", expected, console=console, workers=2) as display, ExitStack() as first, ExitStack() as second:
        one = first.enter_context(display.step("gap/a", lambda: "r 0.10", "worker 1 on node7"))
        two = second.enter_context(display.step("gap/b", at="worker 2 on node9"))
        time.passes(30)
        one(1, 2)
        two(1, 4)
        display.doing("loading tiny", "gap/a")
        assert [(step.share, step.doing) for step in display._steps()] == [(0.5, "loading tiny"), (0.25, "")]
        first.close()
        one = first.enter_context(display.step("repair/c", at="worker 1 on node7"))
        time.passes(60)
        second.close()
    assert text(console).splitlines() == [
        "[1/4] gap/a (worker 1 on node7), about 1:00",
        "[2/4] gap/b (worker 2 on node9), about 1:00",
        "[1/4] gap/a (worker 1 on node7): 0:30   r 0.10",
        "[3/4] repair/c (worker 1 on node7), about 0:30",
        "[2/4] gap/b (worker 2 on node9): 1:30",
        "[3/4] repair/c (worker 1 on node7): 1:00",
    ]


def test_the_work_that_is_left_is_divided_among_the_workers(time):
    display = Display("demo", {"a": 40.0, "b": 40.0, "c": 40.0, "d": 60.0}, console=log(), workers=2)
    assert display.left() == 90
    with display.step("a"), display.step("b"), display.step("c"):  # more than are said to be there
        assert display.left() == 60
        display.workers = 8
        assert display.left() == 60  # no step is divided
        display.workers = 1
        time.passes(10)
        assert display.left() == pytest.approx(60)


def test_a_step_that_fails_leaves_the_others_as_they_are(time):
    console = log()
    display = Display("demo", {"a": 1.0, "b": 1.0}, console=console)
    with display, display.step("a", at="worker 1"):
        with pytest.raises(ZeroDivisionError), display.step("b", at="worker 2"):
            raise ZeroDivisionError
        assert [step.name for step in display._steps()] == ["a"]
    assert "[1/2] a (worker 1): 0:00" in text(console) and "b (worker 2):" not in text(console)


def test_a_log_has_a_handful_of_lines_of_many_steps(monkeypatch):
    monkeypatch.setattr(progress, "_LINES", 0.0)
    console = log()
    names = [f"gap/{i}" for i in range(40)]
    with Display("demo", dict.fromkeys(names, 9.0), console=console, workers=40) as display, ExitStack() as stack:
        told = [stack.enter_context(display.step(name, at=f"worker {i}")) for i, name in enumerate(names)]
        told[0](1, 2)
        while text(console).count("more under way") < 2:
            pass
    lines = text(console).splitlines()[40:]
    whole = lines.index(next(line for line in lines if line.startswith("demo · 0 of 40 done, 40 under way · ")))
    assert lines[whole + 1].startswith("[ 1/40] gap/0 (worker 0): 50 %, 0:00 gone")
    assert lines[whole + 6] == "and 35 more under way"


def test_a_terminal_has_a_line_for_each_worker_as_far_as_they_fit():
    names = [f"gap/{i}" for i in range(40)]
    for n in (3, 40):
        console = terminal(80)
        display = Display("demo", dict.fromkeys(names, 9.0), console=console, workers=n)
        with ExitStack() as stack:
            for i, name in reversed(list(enumerate(names[:n]))):
                stack.enter_context(display.step(name, at=f"worker {i} on node{i % 2}"))(i, 40)
            console.print(display)
            whole, *lines = text(console).splitlines()
        assert whole.startswith(f"demo · 0 of 40 done, {n} under way · 0:00 gone · about ")
        for i, line in enumerate(lines[: min(n, 20)]):  # worker 2 stands before worker 10
            assert line.startswith(f"gap/{i} ") and line.rstrip().endswith(f"worker {i} on node{i % 2}"), line
            assert f"{100 * i / 40:.0f} %" in line
        assert lines[20:] == (["and 20 more"] if n == 40 else [])
        assert len(lines) + 1 <= 22 and all(len(line) <= 80 for line in lines)


def test_any_thread_may_begin_move_and_end_steps(tmp_path):
    """Without the lock, lists change while they are walked."""
    console, note = terminal(), tmp_path / "progress.json"
    names = [f"stage {i}" for i in range(40)]
    with Display("demo", dict.fromkeys(names, 1.0), console=console, note=note, workers=8) as display:

        def work(name):
            with display.step(name, at=name) as told:
                for i in range(5):
                    told(i, 5)
                    assert display.left() is not None
                    display._write_note(force=True)
                    json.loads(note.read_text())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, names))
        assert display._steps() == [] and display.left() == 0
    assert text(console).count("[") >= 40


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
    assert later["ended"] == 1
    assert later["running"] == [{"stage": "repair/b", "at": "", "done": 1, "total": 2, "elapsed": 0}]
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


def test_words_stand_beside_how_far_a_step_is_in_a_log_and_in_a_terminal(monkeypatch):
    monkeypatch.setattr(progress, "_LINES", 0.0)
    console = log()
    with Display("train", console=console) as display, display.step("repair/a") as told:
        progress.tell(told, "loss 0.31")
        told(45, 100)
        while "loss" not in text(console):
            pass
    assert text(console).splitlines()[1].startswith("repair/a: 45 %, loss 0.31, 0:00 gone")
    console = terminal()
    with Display("train", console=console) as display, display.step("repair/a") as told:
        told(1, 2)
        progress.tell(told, "loss\x1b[31m 2")
        display._live.refresh()
    assert "50 %, loss\\x1b[31m 2" in text(console)


def test_who_listens_to_how_far_it_is_alone_is_told_nothing_else():
    moved = []
    progress.tell(lambda *far: moved.append(far), "loss 0.31")
    progress.tell(None, "loss 0.31")
    assert moved == []
