"""What folders of results need of the disk: whole writes, locks, hashes, and words for one that is full."""

import _thread
import errno
import hashlib
import json
import logging
import math
import os
import platform
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from accord.amounts import in_bytes
from accord.errors import AccordError

_AGAIN = "make it again, or take it from a copy"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_SAY_FULL = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
_NO_ROOM = 2**16  # bytes: with so little left, it is the disk that a library's nameless error is about
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)  # of a file system that has none
_SILENT, _BEAT = 600.0, 10.0  # seconds without a sign of life that a lock without the system is held; between two
_TRIES = 0.2  # seconds
_log = logging.getLogger("accord")

stop: Callable[[], None] | None = None
"""Stops this process when it has lost a lock, where an interrupt of its main thread would not, as in workers of Ray."""


class DiskFull(OSError):
    """No space was left while something was written.

    Attributes:
        needed: bytes that it takes, at the least; 0 where nothing is known.
    """

    def __init__(self, where: Path, needed: int = 0) -> None:
        super().__init__(errno.ENOSPC, "No space left on device", str(where))
        self.needed = needed


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk, or a quota, is behind an error: libraries have errors of their own for it.

    >>> is_full(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))
    True
    """
    return any(
        (isinstance(each, OSError) and each.errno in DISK_FULL) or any(words in str(each) for words in _SAY_FULL)
        for each in _behind(error)
    )


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it came of, whether or not whoever raised it said so."""
    left, seen = [error], set[int]()
    while left:
        error = left.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            left += [error.__context__, error.__cause__]


def say_full(error: BaseException, place: Path | None = None, fix: str | None = None) -> AccordError:
    """What to tell of an error that a full disk is behind: which place, what it needs, what is free.

    Args:
        place: that is told instead of the file that was written.
        fix: what to do instead of naming another folder.
    """
    named = error.filename if isinstance(error, OSError) else None
    place = place or Path(os.fsdecode(named) if isinstance(named, str | bytes) else ".").absolute()
    free = free_disk(place)
    needed = max(free, error.needed if isinstance(error, DiskFull) else 0)
    return AccordError(
        "The disk is full.",
        where=place,
        got=f"{in_bytes(free)} free",
        wanted=f"more than {in_bytes(needed)}",
        fix=fix or "free some, or name a folder on another disk; then run again to go on",
    )


def ran_out(error: BaseException, folder: Path) -> bool:
    """Whether a full disk stopped what was written into a folder, while what was written is still there."""
    if is_full(error):
        return True
    unknown = isinstance(error, OSError) and error.errno is None  # as image encoders have it
    with suppress(OSError):
        return unknown and shutil.disk_usage(folder).free < _NO_ROOM
    return False


def read_object(path: Path, *needs: str, fix: str = _AGAIN) -> dict[str, Any]:
    """The JSON object in a file that accord, or another program, wrote.

    Raises:
        AccordError: the file is gone or damaged, or lacks a key of `needs`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AccordError("The file cannot be read", where=path, got=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise AccordError("This file is damaged: it is not JSON", where=path, got=error, fix=fix) from None
    lacking = [key for key in needs if not isinstance(content, dict) or key not in content]
    if lacking or not isinstance(content, dict):
        wanted = " with ".join(["an object", *([", ".join(needs)] if needs else [])])
        raise AccordError("This file is damaged", where=path, wanted=wanted, fix=fix)
    return content


def path_of(name: str | Path) -> Path:
    """The path that a user names; whether there is anything may be asked of it.

    Raises AccordError for what no path can be on this machine, or what cannot be looked at.
    """
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # too long; of a user without a home; in a folder that is not ours to see
        got, problem = str(name), getattr(error, "strerror", None) or error
        shown = got if len(got) <= 200 else f"{got[:200]}…"
        raise AccordError("This path cannot be looked at.", where=shown, got=problem, fix="check the path") from None
    return path


def free_disk(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(standing(folder)).free


def may_write(folder: Path) -> bool:
    """Whether a folder, which need not be there yet, may be written into, or made."""
    there = standing(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def standing(folder: Path) -> Path:
    """The folder, or the nearest around it that is there.

    >>> standing(Path("/no/such/folder")).as_posix()
    '/'
    """
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def aside(folder: Path, what: str) -> Path:
    """A hidden neighbour of a folder.

    >>> aside(Path("runs/tiny"), "lock").as_posix()
    'runs/.tiny.lock'
    """
    return folder.with_name(f".{folder.name}.{what}")


@contextmanager
def lock(folder: Path, *, wait: bool = False, waits: Callable[[], None] | None = None) -> Iterator[None]:
    """Keep other processes out of `folder`; an AccordError if another is in there, or `wait` until it has left.

    The system holds the lock, and opens it when the process dies, however it dies. Where the file system has no locks,
    a file stands for it that names its owner, who touches it all the time: that of a process of this machine that is
    gone counts no longer, nor, for one that waits, that of any that gave no sign of life for ten minutes.

    An error of the disk that names no file, as that of a full one often does, is made to name the folder.

    Args:
        waits: called before it waits.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = _acquired(folder, wait=False)
    except Timeout:
        if not wait:
            raise _busy(folder) from None
        if waits is not None:
            waits()
        held = _acquired(folder, wait=True)
    try:
        yield
    except AccordError:
        raise
    except Exception as error:
        if not isinstance(error, DiskFull) and ran_out(error, folder.parent):
            raise DiskFull(folder) from error
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = error.filename or str(folder)
        raise
    finally:
        if not isinstance(held, SoftFileLease):  # which removes its own
            with suppress(OSError):  # while it is held: whoever waits sees that the file is gone and makes another
                aside(folder, "lock").unlink()
        held.release()


def is_locked(folder: Path) -> bool:
    """Whether a process works on `folder` now, so that `lock` would refuse it; leaves no file where there was none."""
    if not any(aside(folder, name).exists() for name in ("lock", "held.lock")):
        return False
    try:
        _acquired(folder, wait=False, looks=True).release()
    except Timeout:
        return True
    except OSError:  # not ours to open: nobody can tell
        return False
    return False


def _acquired(folder: Path, *, wait: bool, looks: bool = False) -> BaseFileLock:
    """The lock of a folder, held; Timeout if another process holds it.

    Args:
        looks: only to see whether it is held. Who wants it for work tries a little longer than such a look takes.
    """
    path = aside(folder, "lock")
    held: BaseFileLock = FileLock(path, fallback_to_soft=False)
    try:
        held.acquire(timeout=-1 if wait else 0 if looks else _TRIES, poll_interval=_TRIES / 10)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        path.unlink(missing_ok=True)  # it holds nobody off
        held = lease(aside(folder, "held.lock"))
        held.acquire(timeout=-1 if wait else _TRIES, poll_interval=_TRIES / 4)  # one is to find that its owner is gone
        return held
    with suppress(OSError):
        if not looks:
            path.write_text(f"{os.getpid()}\n{platform.node()}\n", encoding="utf-8")  # for `_busy`
    return held


def lease(path: Path) -> SoftFileLease:
    """What stands for a lock where the file system has none; it may be let go in another thread."""
    return SoftFileLease(
        path, lease_duration=_SILENT, heartbeat_interval=_BEAT, on_compromise=_lost, thread_local=False
    )


def _lost(lost: Any) -> None:
    """Stop this process, which can no longer keep others out: its lock was removed, or taken over."""
    _log.error("The lock %s is no longer this process's own: it stops here.", lost.lock_file)
    if stop is not None:
        stop()
    elif signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a command that a script put into the background
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        _thread.interrupt_main()


def _busy(folder: Path) -> AccordError:
    """The error for a folder that another process holds: which, where, and what to do if that cannot be."""
    fix, who = "Wait for it, or name another.", None
    path = aside(folder, "held.lock")
    with suppress(OSError, ValueError, IndexError):
        if (owner := SoftFileLease(path, lease_duration=_SILENT).owner) is not None:
            silent = max(0.0, time.time() - path.stat().st_mtime)
            who = f"process {owner.pid} on {owner.hostname}, with a sign of life {silent:.0f} s ago"
            fix = f"Wait for it, or name another. If that process is gone: rm {path}"
        else:
            pid, host = aside(folder, "lock").read_text(encoding="utf-8").splitlines()
            who = f"process {int(pid)} on {host}"
    return AccordError("Another accord process is working on this folder.", where=folder, got=who, fix=fix)


def disk_use(folder: Path) -> int:
    """Bytes of a file, or of all files in a folder and below; links are not followed, and what cannot be read counts as
    nothing.
    """
    if folder.is_file():
        return folder.stat().st_size
    total, folders = 0, [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):  # gone meanwhile, as in a folder that is being filled
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


@contextmanager
def whole(path: Path, *, expected: int = 0) -> Iterator[Path]:
    """A neighbour of a file to write instead of it; it is brought to the disk, then put in place.

    Args:
        expected: bytes that the file will have, where that is known: for the error if there is no room.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        yield beside
        sync(beside)
        beside.replace(path)
    except BaseException as error:
        full, written = ran_out(error, beside.parent), disk_use(beside)
        beside.unlink(missing_ok=True)
        if full and not isinstance(error, AccordError):
            raise DiskFull(path, max(written, expected)) from error
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden neighbour of a folder to fill instead of it, empty; it is brought to the disk, then put in place.

    What is in the folder is removed only then. What a killed process left in the neighbour is removed first.
    """
    beside = aside(folder, "partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        for path in [*beside.rglob("*"), beside]:
            sync(path)
        old = aside(folder, "old")
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        beside.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        full, written = ran_out(error, beside.parent), disk_use(beside)
        shutil.rmtree(beside, ignore_errors=True)
        if full and not isinstance(error, AccordError):
            raise DiskFull(folder, written) from error
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a file whole: aside, to the disk, then in place."""
    data = text.encode()
    with whole(path, expected=len(data)) as beside:
        beside.write_bytes(data)


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    # Windows flushes only what was opened for writing.
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, see `as_json`."""
    write_whole(path, as_json(content))


def as_json(content: Mapping[str, Any]) -> str:
    """A JSON object as a text; numbers that are not finite become null, which every reader of JSON takes."""
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def finite(content: Any) -> Any:
    """The same with None for every number that is not finite.

    >>> finite({"values": (1.0, float("nan"))})
    {'values': [1.0, None]}
    """
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
