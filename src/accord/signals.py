"""Ctrl-C, SIGTERM and SIGHUP stop a command whenever they come: with a message, without a traceback, never unheard.

While a command works, the first one raises KeyboardInterrupt, so that what is under way is left in order; where a
library swallows that, it is raised again. The next one ends the process at once, as does any before the work begins or
after it. What accord keeps is whole or not there, so nothing is lost by that.

A batch system sends SIGTERM when a job's time is up, and kills the job some seconds later: the exit code is then 143.
Slurm requeues no job for its exit code alone; a script that catches 143 runs `scontrol requeue`. Kubernetes counts 143
as a failure that `restartPolicy` and `backoffLimit` act on. Either way the same command goes on from what is there.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

_PATIENCE = 5.0  # seconds from one KeyboardInterrupt to the next, while nothing has come of it
_SOON = 0.05

_received: int | None = None  # the first signal that came
_working = False
_command: Callable[[], str] | None = None


def install(command: Callable[[], str] | None = None) -> None:
    """Be told of signals from here on; those that are ignored, as under nohup, stay so.

    Args:
        command: gives the command line that goes on, to be told.
    """
    global _command
    _command = command
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _again)
    sys.unraisablehook = _unraisable


def received() -> int | None:
    """The first signal that came, if one did: whatever ends the work from then on, this is why."""
    return _received


def heard() -> None:
    """What came is how this work ends, as a server's does: it is no interruption, and nothing is left undone."""
    global _received
    _received = None
    _raise_in(0.0)


@contextmanager
def working() -> Iterator[None]:
    """While a command works; KeyboardInterrupt at its end, if a signal came and was swallowed."""
    global _working
    _working = True
    try:
        yield
        if _received is not None:
            raise KeyboardInterrupt
    finally:
        _working = False
        _raise_in(0.0)


def message() -> str:
    """What to tell who stopped a command."""
    told = "interrupted; the same command goes on from what is done"
    return told if _command is None else f"{told}:\n  {_command()}"


def exit_code() -> int:
    """As shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (_received or signal.SIGINT)


def leave() -> NoReturn:
    """Tell who stopped the command what goes on, and end the process, before another signal can disturb its end."""
    show_cursor = "\x1b[?25h" if os.isatty(2) else ""
    with suppress(OSError):  # the terminal may be gone
        os.write(2, f"{show_cursor}\n{message()}\n".encode(errors="replace"))
    os._exit(exit_code())


def _stop(number: int, frame: Any) -> None:
    global _received
    is_first, _received = _received is None, _received or number
    if not (is_first and _working):
        leave()
    _raise_in(_PATIENCE)
    raise KeyboardInterrupt


def _again(number: int, frame: Any) -> None:
    if _working and _received is not None:
        raise KeyboardInterrupt


def _unraisable(raised: "sys.UnraisableHookArgs") -> None:
    """An interrupt where Python can raise none, as while an object is deleted, comes again a moment later."""
    if isinstance(raised.exc_value, KeyboardInterrupt) and _working:
        _raise_in(_SOON)
    else:
        sys.__unraisablehook__(raised)


def _raise_in(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds, _PATIENCE if seconds else 0.0)
