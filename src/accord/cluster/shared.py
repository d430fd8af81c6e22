"""Is a run folder the same one on every machine, and does it keep two processes apart there? Tried, not believed.

The driver leaves a file of a random name in it; each worker looks for it, for the driver's lock, and renames a file.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accord.cluster.log import LOGS
from accord.disk import is_locked, write_whole

MARK = ".seen-"  # how the name of the file begins
_SEEN = 30.0  # seconds until a file of another machine is seen: network file systems remember that there was none


@contextmanager
def left_a_mark(folder: Path) -> Iterator[str]:
    """While workers may look for it: the name of a file in a run folder that is there nowhere else.

    Files beside it whose names begin with this one are removed with it.

    The lock of the folder is held by this process.
    """
    logs = folder / LOGS
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.glob(f"{MARK}*"):
        old.unlink(missing_ok=True)  # of a driver that was killed
    mark = logs / f"{MARK}{secrets.token_hex(8)}"
    write_whole(mark, "")
    try:
        yield mark.name
    finally:
        for own in logs.glob(f"{mark.name}*"):
            own.unlink(missing_ok=True)
        for path, _, _ in os.walk(logs, topdown=False):
            with suppress(OSError):  # a log is in it
                Path(path).rmdir()


def what_is_wrong(folder: Path, mark: str, patience: float = _SEEN) -> str:
    """Why a worker cannot work in a run folder; empty if it can.

    Args:
        mark: see `left_a_mark`.
        patience: seconds that it looks for the mark.
    """
    logs, until = folder / LOGS, time.monotonic() + patience
    while mark not in _names(logs):
        if time.monotonic() >= until:
            return "it does not see there what the driver has written"
        time.sleep(0.2)
    if not is_locked(folder.resolve()):
        return "a lock that the driver holds there does not keep it out (of NFS, mount it without nolock)"
    own = logs / f"{mark}-{secrets.token_hex(8)}"
    try:
        write_whole(own, "")  # it is written under another name, and renamed
        own.unlink()
    except OSError as error:
        return f"it cannot write and rename files there: {error.strerror}"
    return ""


def _names(folder: Path) -> set[str]:
    """What is in a folder; asked of the machine that has it, as nothing is remembered of a folder that is opened."""
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()
