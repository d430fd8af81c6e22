"""What a worker prints while it makes a stage, kept in the run folder where the stage could not be made.

All that goes to standard output and standard error is written to the file at once, that of libraries in C too, so that
it is there after whatever ends the process.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path

LOGS = "logs"  # in the run folder


def log_of(folder: Path, stage: str) -> Path:
    """The file that holds what was printed while a stage of a run folder was made.

    >>> log_of(Path("runs/demo"), "gap/hypernymy").as_posix()
    'runs/demo/logs/gap/hypernymy.log'
    """
    return folder / LOGS / f"{stage}.log"


def logs_of(folder: Path, stage: str) -> list[Path]:
    """The logs of a stage that are there: that of `log_of`, and those of the other ranks that trained it."""
    path = log_of(folder, stage)
    ranks = path.parent.glob(f"{escape(path.name.removesuffix('.log'))}.rank*.log")
    return [*([path] if path.exists() else []), *sorted(ranks)]


@contextmanager
def logged(path: Path, who: str) -> Iterator[None]:
    """Write into a file what is printed inside, behind what is there; unless that fails, it is taken out again.

    Args:
        who: makes the stage: a line of its own at the beginning.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before, fails = path.stat().st_size if path.exists() else 0, True
    try:
        with path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {who}\n")
            with _sent_to(log.fileno()), redirect_stdout(log), redirect_stderr(log):
                yield
        fails = False
    except KeyboardInterrupt:  # it is left, and gone on with later
        fails = False
        raise
    finally:
        if not fails:
            with suppress(OSError):  # it tells more than it must, no less
                os.truncate(path, before)
                if not before:
                    path.unlink()  # its folder stays: another worker may be about to write there


@contextmanager
def _sent_to(file: int) -> Iterator[None]:
    """Standard output and error of this process, and of what it starts, go to an open file."""
    _flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        for stream in kept:
            os.dup2(file, stream)
        yield
    finally:
        _flush()
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
