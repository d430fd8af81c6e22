"""What folders of results need of the disk: whole writes, locks, hashes."""

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from accord.errors import AccordError

_AGAIN = "make it again, or take it from a copy"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def read_object(path: Path, *needs: str) -> dict[str, Any]:
    """The JSON object in a file that accord wrote.

    Raises:
        AccordError: the file is gone or damaged, or lacks a key of `needs`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AccordError("The file cannot be read", where=path, got=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise AccordError("This file is damaged: it is not JSON", where=path, got=error, fix=_AGAIN) from None
    lacking = [key for key in needs if not isinstance(content, dict) or key not in content]
    if lacking or not isinstance(content, dict):
        raise AccordError("This file is damaged", where=path, wanted=f"an object with {', '.join(needs)}", fix=_AGAIN)
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


def aside(folder: Path, what: str) -> Path:
    """A hidden neighbour of a folder.

    >>> aside(Path("runs/tiny"), "lock").as_posix()
    'runs/.tiny.lock'
    """
    return folder.with_name(f".{folder.name}.{what}")


@contextmanager
def lock(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of `folder`; an AccordError if another is in there, or `wait` until it has left.

    The error of a full disk, which often names no file, is made to name the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = aside(folder, "lock")
    file_lock = FileLock(path)
    try:
        file_lock.acquire(blocking=wait)
    except Timeout:
        raise AccordError(
            "Another accord process is working on this folder.",
            where=folder,
            fix="Wait for it, or name another.",
        ) from None
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            error.filename = error.filename or str(folder)
        raise
    finally:
        with suppress(OSError):  # while it is held: whoever waits sees that the file is gone and makes another
            path.unlink()
        file_lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process works on `folder` now, so that `lock` would refuse it; leaves no file where there was none."""
    path = aside(folder, "lock")
    if not path.exists():
        return False
    file_lock = FileLock(path)
    try:
        file_lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:  # not ours to open: nobody can tell
        return False
    file_lock.release()
    return False


def disk_use(folder: Path) -> int:
    """Bytes of all files in a folder and below; links are not followed, and what cannot be read counts as nothing."""
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
def whole(path: Path) -> Iterator[Path]:
    """A neighbour of a file to write instead of it; it is brought to the disk, then put in place."""
    beside = path.with_name(path.name + ".tmp")
    try:
        yield beside
        sync(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
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
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a file whole: aside, to the disk, then in place."""
    with whole(path) as beside:
        beside.write_bytes(text.encode())


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
    """Write a JSON object; numbers that are not finite become null, which every reader of JSON takes."""
    write_whole(path, json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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
