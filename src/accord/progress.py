"""How far work has come: told to a function, shown by a bar in a terminal, in plain lines anywhere else."""

import json
import math
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from accord.screen import Screen, visible
from accord.steps import OpenStep, time_left

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on. What has a place for words beside that has a method `tell`, see `tell`."""

_LINES = 30.0  # seconds from one line of a log to the next
_NOTES = 2.0  # seconds from one note for other processes to the next
_ROWS = 24  # of a terminal, at most: the lines of the steps leave some of them to what was said before
_SHORT = 12  # characters: a bar beside which there is more to tell
_HANDFUL = 5  # of the steps that are under way, as many as have a line in a log each time


def tell(progress: Progress | None, words: str) -> None:
    """Words that stand beside how far some work is, such as "loss 0.31", until there are others.

    Whoever gives none of his own may have no place for them: then nothing happens.
    """
    take = getattr(progress, "tell", None)
    if take is not None:
        take(words)


class Display:
    """Tells how a series of steps goes on, and how long the rest will take.

    In a terminal lines stay at the bottom: one of the whole, and one of each step that is under way, as many as fit.
    Elsewhere a line is written when a step begins, every 30 seconds, and when it ends; of many steps at once, every 30
    seconds one of the whole and of the five that have taken longest.

    Several steps may be under way at once, begun, moved and ended in any order and by any thread. How long the rest
    will take is then the work that is left divided by the workers, and never less than the longest step that is left:
    see `accord.steps.time_left`.

    >>> with Display("tea", {"boil": 1.0, "brew": 2.0}) as display:  # doctest: +SKIP
    ...     with display.step("boil") as progress:
    ...         progress(1, 2)

    Args:
        title: of the whole.
        expected: the steps to come, in their order, with the seconds that each is expected to take. Others may be
            taken; they are not counted.
        console: where; standard error by default.
        note: a JSON file for other processes to read, which is removed at the end.
        workers: how many steps may be under way at once; it may be changed as workers come and go.
    """

    def __init__(
        self,
        title: str,
        expected: Mapping[str, float] | None = None,
        *,
        console: Console | None = None,
        note: Path | None = None,
        workers: int = 1,
    ) -> None:
        self.title, self.workers = title, workers
        self._expected = dict(expected or {})
        self._console = console or Screen(stderr=True)
        self._note = note
        self._begun = time.monotonic()
        self._started = _now()
        self._taken: dict[str, float] = {}  # step -> seconds, of those that ended
        self._ended = 0  # how many of those were expected
        self._under_way: list[OpenStep] = []  # the one begun first is first
        self._known = threading.RLock()  # around both; nothing is shown while it is held, as rich has locks of its own
        self._line = self._noted = self._begun
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._live = Live(self, console=self._console, refresh_per_second=4, transient=True)

    # What is told

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(Text(visible(line)), soft_wrap=not self._console.is_terminal)

    def doing(self, what: str, step: str = "") -> None:
        """Something that takes a while within a step, such as loading a model; it is told until the step moves on.

        Args:
            step: its name; the one begun last by default.
        """
        with self._known:
            for one in [one for one in self._under_way if one.name == step or not step][-1:]:
                one.doing = what

    @contextmanager
    def step(self, name: str, result: Callable[[], str] | None = None, at: str = "") -> Iterator[Progress]:
        """A step while it goes on; takes how far it is.

        Args:
            result: gives what came of it, in a few words, when it has ended.
            at: by whom and where it is done, "worker 2 on node7", where several are at work.
        """
        with self._known:
            expected = self._expected.get(name)
            number = 0 if expected is None else self._ended + len(self._under_way) + 1
            step = OpenStep(name, at, number=number, expected=expected or 0.0)
            self._under_way.append(step)
            if alone := len(self._under_way) == 1:
                self._line = step.since
        if not self._console.is_terminal and name:
            self.say(f"{self._called(step)}" + (f", about {clock(step.expected)}" if step.expected >= 1 else ""))
        self._write_note(force=alone)
        try:
            yield step
            with self._known:
                self._ended += name in self._expected and name not in self._taken
                self._taken[name] = seconds = step.seconds
                step.number = step.number and self._ended
            found = result() if result is not None else ""
            self.say(f"{self._called(step)}: {clock(seconds)}" + (f"   {found}" if found else ""))
        finally:
            with self._known:
                self._under_way.remove(step)

    # What is known

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def left(self) -> float | None:
        """Seconds that the rest is expected to take; None where nothing tells."""
        with self._known:
            running = [step for step in self._under_way if step.name not in self._taken]
            return time_left(self._expected, self._taken, running, max(self.workers, len(running)))

    def _steps(self) -> list[OpenStep]:
        """Those under way, the one begun first is first."""
        with self._known:
            return list(self._under_way)

    def _called(self, step: OpenStep) -> str:
        """A step as a log has it: which one it is, of how many, and where it is done."""
        of = len(self._expected)
        place = f"[{step.number:>{len(str(of))}}/{of}] " if step.number and of > 1 else ""
        return f"{place}{step.name}" + (f" ({step.at})" if step.at else "")

    def _whole(self) -> str:
        """The line of the whole."""
        parts, of, running = [self.title], len(self._expected), len(self._steps())
        if self.workers > 1 or running > 1:
            parts.append((f"{self._ended} of {of} done, " if of else "") + f"{running} under way")
        elif of > 1:
            parts.append(f"stage {min(len(self._taken) + 1, of)} of {of}")
        parts.append(f"{clock(self.elapsed)} gone")
        if (left := self.left()) is not None:
            parts.append(f"about {clock(left)} left")
        return " · ".join(parts)

    # How it is shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(_line(self._whole()), style="bold", no_wrap=True, overflow="ellipsis")
        steps = self._steps() or [OpenStep("…")]
        if len(steps) == 1 and not steps[0].at:
            told = steps[0].doing or steps[0].far
            yield _grid([[Text(_line(steps[0].name)), _bar(steps[0], 24), *map(Text, (_clock(steps[0]), _line(told)))]])
            return
        steps.sort(key=lambda step: _natural(step.at))
        room = max(1, min(_ROWS, console.height) - 4)  # for the whole, what is left out, and what was said before
        yield _grid_of_several(steps[:room], options.max_width)
        if len(steps) > room:
            yield Text(f"and {len(steps) - room} more", style="dim")

    def _beat(self) -> None:
        """Lines of a log, and notes for other processes, while the step itself is busy."""
        while not self._over.wait(0.5):
            due = not self._console.is_terminal and time.monotonic() - self._line >= _LINES
            if due and (steps := [step for step in self._steps() if step.name]):
                self._line = time.monotonic()
                for line in self._log_lines(steps):
                    self.say(line)
            self._write_note()

    def _log_lines(self, steps: Sequence[OpenStep]) -> Iterator[str]:
        several = len(steps) > 1
        if several:
            yield self._whole()
        for step in steps[:_HANDFUL]:
            far = f"{told}, " if (told := step.doing or step.far) else ""
            left = self.left()
            rest = f"; {clock(self.elapsed)} gone of all" + (f", about {clock(left)} left" if left is not None else "")
            all_of_it = "" if several or len(self._expected) < 2 else rest
            yield f"{self._called(step)}: {far}{clock(step.seconds)} gone{all_of_it}"
        if len(steps) > _HANDFUL:
            yield f"and {len(steps) - _HANDFUL} more under way"

    def _write_note(self, *, force: bool = False) -> None:
        with self._known:  # one thread at a time, as all write the same file
            now = time.monotonic()
            if self._note is None or not (force or now - self._noted >= _NOTES):
                return
            self._noted = now
            beside = self._note.with_name(f".{self._note.name}.tmp")
            with suppress(OSError):  # nothing depends on it
                beside.write_text(json.dumps(self._state(), ensure_ascii=False), encoding="utf-8")
                beside.replace(self._note)

    def _state(self) -> dict[str, Any]:
        left, steps = self.left(), self._steps()
        ended = self._ended if self._expected else len(self._taken)
        running = [
            {"stage": step.name, "at": step.at, "done": step.done, "total": step.total, "elapsed": round(step.seconds)}
            for step in steps
        ]
        first = running[0] if running else {"stage": "", "done": 0, "total": 0}
        return {
            "pid": os.getpid(),
            "host": platform.node(),
            "started": self._started,
            **{key: first[key] for key in ("stage", "done", "total")},  # as earlier versions of accord read it
            "number": ended + bool(steps),
            "ended": ended,
            "of": len(self._expected),
            "running": running,
            "elapsed": round(self.elapsed, 1),
            "left": None if left is None else round(left, 1),
            "updated": _now(),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._console.is_terminal:
            self._live.stop()
        if self._note is not None:
            with suppress(OSError):
                self._note.unlink(missing_ok=True)


@contextmanager
def bar(name: str, console: Console | None = None) -> Iterator[Progress]:
    """A bar while one piece of work goes on; without a terminal plain lines.

    >>> with bar("counting") as progress:  # doctest: +SKIP
    ...     progress(1, 3)
    """
    with Display(name, console=console) as display, display.step(name) as progress:
        yield progress


def _grid(rows: Sequence[Sequence[RenderableType]], widest: Sequence[int | None] = (None,) * 4) -> Table:
    """A line a step: what it is, a bar, its time, and what is told of it, each column as wide as may be."""
    grid = Table.grid(padding=(0, 1))
    for i, most in enumerate(widest):
        grid.add_column(justify="right" if i == 2 else "left", max_width=most, no_wrap=True, overflow="ellipsis")
    for row in rows:
        grid.add_row(*row)
    return grid


def _grid_of_several(steps: Sequence[OpenStep], width: int) -> Table:
    """Steps and where they are done: where there is too little room, names and places are cut, and no number is."""
    names, fars = [_line(step.name) for step in steps], [step.far for step in steps]
    places = [_line(": ".join(filter(None, (step.at, step.doing)))) for step in steps]
    times = [_clock(step) for step in steps]
    room = width - _SHORT - 4 - max(map(len, times)) - max(map(len, fars))
    most = max(room // 2, room - max(map(len, places)))
    name = max(1, min(most, max(map(len, names))))
    columns = zip(names, (_bar(step, _SHORT) for step in steps), times, fars, places, strict=True)
    rows = [[Text(part) if isinstance(part, str) else part for part in row] for row in columns]
    return _grid(rows, (name, None, None, None, max(1, room - name)))


def _bar(step: OpenStep, width: int) -> ProgressBar:
    known = (share := step.share) is not None
    return ProgressBar(1.0 if known else None, share or 0.0, width=width, pulse=not known, complete_style="cyan")


def _clock(step: OpenStep) -> str:
    return clock(step.seconds)


def clock(seconds: float) -> str:
    """Seconds as people read them.

    >>> clock(48), clock(3725), clock(0.4)
    ('0:48', '1:02:05', '0:00')
    """
    minutes, rest = divmod(math.floor(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _line(text: str) -> str:
    """Text that takes one line."""
    return visible(" ".join(text.split()))


def _natural(text: str) -> list[str | int]:
    """To sort names by the numbers in them: worker 2 before worker 10."""
    return [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", text)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
