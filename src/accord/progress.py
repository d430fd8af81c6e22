"""How far work has come: told to a function, shown by a bar in a terminal, in plain lines anywhere else."""

import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from accord.screen import Screen, visible

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""

_LINES = 30.0  # seconds from one line of a log to the next
_NOTES = 2.0  # seconds from one note for other processes to the next
_TELLING = 0.1  # of a step: from here on, how far it is says more of its end than what such steps took before


class Display:
    """Tells how a series of steps goes on, and how long the rest will take.

    In a terminal two lines stay at the bottom: the whole, and the step that is under way. Elsewhere a line is written
    when a step begins, every 30 seconds, and when it ends.

    >>> with Display("tea", {"boil": 1.0, "brew": 2.0}) as display:  # doctest: +SKIP
    ...     with display.step("boil") as progress:
    ...         progress(1, 2)

    Args:
        title: of the whole.
        expected: the steps to come, in their order, with the seconds that each is expected to take. Others may be
            taken; they are not counted.
        console: where; standard error by default.
        note: a JSON file for other processes to read, which is removed at the end.
    """

    def __init__(
        self,
        title: str,
        expected: Mapping[str, float] | None = None,
        *,
        console: Console | None = None,
        note: Path | None = None,
    ) -> None:
        self.title = title
        self._expected = dict(expected or {})
        self._console = console or Screen(stderr=True)
        self._note = note
        self._begun = time.monotonic()
        self._started = _now()
        self._taken: dict[str, float] = {}  # step -> seconds, of those that ended
        self._name, self._since, self._doing = "", self._begun, ""
        self._done, self._total, self._pass = 0, 0, 1
        self._line = self._noted = self._begun
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._live = Live(self, console=self._console, refresh_per_second=4, transient=True)

    # What is told

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(Text(visible(line)), soft_wrap=not self._console.is_terminal)

    def doing(self, what: str) -> None:
        """Something that takes a while within a step, such as loading a model; it is told until the step moves on."""
        self._doing = what

    @contextmanager
    def step(self, name: str, result: Callable[[], str] | None = None) -> Iterator[Progress]:
        """A step while it goes on; takes how far it is.

        Args:
            result: gives what came of it, in a few words, when it has ended.
        """
        self._name, self._since, self._doing = name, time.monotonic(), ""
        self._done, self._total, self._pass = 0, 0, 1
        self._line = self._since
        if not self._console.is_terminal and name:
            expected = self._expected.get(name, 0.0)
            self.say(f"{self._place()}{name}" + (f", about {clock(expected)}" if expected >= 1 else ""))
        self._write_note(force=True)
        try:
            yield self._move
            seconds = time.monotonic() - self._since
            self._taken[name] = seconds
            found = result() if result is not None else ""
            self.say(f"{self._place(ended=True)}{name}: {clock(seconds)}" + (f"   {found}" if found else ""))
        finally:
            self._name = ""

    def _move(self, done: int, total: int) -> None:
        before = self._share() or 0.0
        self._done, self._total, self._doing = done, total, ""
        if (self._share() or 0.0) < before:  # some steps go over their items more than once
            self._pass += 1

    # What is known

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def left(self) -> float | None:
        """Seconds that the rest is expected to take; None where nothing tells."""
        if not self._expected:
            return None
        ended = [name for name in self._taken if name in self._expected]
        pace = 1.0
        if before := sum(self._expected[name] for name in ended):
            pace = min(4.0, max(0.25, sum(self._taken[name] for name in ended) / before))
        to_come = [name for name in self._expected if name not in self._taken and name != self._name]
        return self._step_left(pace) + pace * sum(self._expected[name] for name in to_come)

    def _step_left(self, pace: float) -> float:
        if not self._name:
            return 0.0
        gone = time.monotonic() - self._since
        share = self._share()
        rest = max(0.0, pace * self._expected.get(self._name, 0.0) - gone)
        if share is not None and share >= _TELLING and gone > 1:
            told = gone * (1 - share) / share
            return told if self._pass == 1 and not rest else max(rest, told / self._pass)
        return rest

    def _share(self) -> float | None:
        return min(1.0, self._done / self._total) if self._total else None

    def _far(self) -> str:
        """How far the step is, in words."""
        share = self._share()
        again = f" of pass {self._pass}" if self._pass > 1 else ""
        return "" if share is None else f"{100 * share:.0f} %{again}"

    def _place(self, *, ended: bool = False) -> str:
        """Which step this is, of how many."""
        if self._name not in self._expected or len(self._expected) < 2:
            return ""
        number = len([name for name in self._taken if name in self._expected]) + (not ended)
        return f"[{number:>{len(str(len(self._expected)))}}/{len(self._expected)}] "

    def _whole(self) -> str:
        """The line of the whole."""
        parts = [self.title]
        if len(self._expected) > 1:
            number = min(len(self._taken) + 1, len(self._expected))
            parts.append(f"stage {number} of {len(self._expected)}")
        parts.append(f"{clock(self.elapsed)} gone")
        if (left := self.left()) is not None:
            parts.append(f"about {clock(left)} left")
        return " · ".join(parts)

    # How it is shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(_line(self._whole()), style="bold", no_wrap=True, overflow="ellipsis")
        grid = Table.grid(padding=(0, 1))
        for justify in ("left", "left", "right", "left"):
            grid.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
        share = self._share()
        known = share is not None
        bar = ProgressBar(1.0 if known else None, share or 0.0, width=24, pulse=not known, complete_style="cyan")
        told = self._doing or self._far()
        name = Text(_line(self._name or "…"))
        grid.add_row(name, bar, Text(clock(time.monotonic() - self._since)), Text(_line(told)))
        yield grid

    def _beat(self) -> None:
        """Lines of a log, and notes for other processes, while the step itself is busy."""
        while not self._over.wait(0.5):
            if not self._console.is_terminal and self._name and time.monotonic() - self._line >= _LINES:
                self._line = time.monotonic()
                self.say(self._log_line())
            self._write_note()

    def _log_line(self) -> str:
        gone, far = clock(time.monotonic() - self._since), self._doing or self._far()
        far += ", " if far else ""
        left = self.left()
        rest = f"; {clock(self.elapsed)} gone of all" + (f", about {clock(left)} left" if left is not None else "")
        return f"{self._place()}{self._name}: {far}{gone} gone" + (rest if len(self._expected) > 1 else "")

    def _write_note(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self._note is None or not (force or now - self._noted >= _NOTES):
            return
        self._noted = now
        beside = self._note.with_name(f".{self._note.name}.tmp")
        with suppress(OSError):  # nothing depends on it
            beside.write_text(json.dumps(self._state(), ensure_ascii=False), encoding="utf-8")
            beside.replace(self._note)

    def _state(self) -> dict[str, Any]:
        left = self.left()
        return {
            "pid": os.getpid(),
            "host": platform.node(),
            "started": self._started,
            "stage": self._name,
            "number": len(self._taken) + bool(self._name),
            "of": len(self._expected),
            "done": self._done,
            "total": self._total,
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
