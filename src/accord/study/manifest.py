"""The manifest of a stage: what its folder holds and how that was made. Every reader of a stage goes through it.

It covers itself, its stage's files by their hashes, and the run's list covers it (see `accord.study.run_list`). So what
is read is what was written, or it is called damaged and not read at all.
"""

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt

from accord.cache import kept_hash
from accord.disk import aside, sha256
from accord.errors import AccordError
from accord.sealed import DIGEST, is_sealed
from accord.study.run_list import listed_as
from accord.study.stage import Recipe

MANIFEST = "manifest.json"
UNFINISHED = "unfinished"  # among the facts of a manifest: what is missing, in words
_KEPT = 2**20  # bytes: the hash of a larger file is kept in accord's cache until the file changes
_WORDS = (b'"stage"', b'"fingerprint"', b'"settings"', b'"sha256"')  # of which any manifest of ours has most


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts:
        raise ValueError("leads out of the folder")
    return name


class _Input(BaseModel):
    stage: str
    fingerprint: str


class _File(BaseModel):
    bytes: NonNegativeInt
    sha256: str


class _Span(BaseModel):
    """A session, see `accord.study.session`."""

    model_config = ConfigDict(strict=True, extra="allow")

    started: str
    finished: str = ""
    host: str = ""
    worker: str = ""
    peak_memory: NonNegativeInt | None = None


class _Machine(BaseModel):
    """The machine of the last session."""

    model_config = ConfigDict(strict=True, extra="allow")

    host: str = ""
    device: str = ""
    card: str = ""
    threads: int | None = None
    peak_memory: NonNegativeInt | None = None
    worker: str = ""


class _Shape(BaseModel):
    """What a manifest holds. Earlier versions of accord wrote no `digest`, no machine, and perhaps no `inputs`."""

    model_config = ConfigDict(strict=True, extra="allow")

    digest: str | None = None
    stage: str
    fingerprint: str
    files: dict[Annotated[str, AfterValidator(_inside)], _File]
    name: str = ""
    version: int = 0
    settings: dict[str, Any] = {}
    seed: int | None = None
    inputs: dict[str, _Input] = {}
    facts: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    command: str = ""
    machine: _Machine | None = None
    spans: list[_Span] = []
    started: str = ""
    finished: str = ""
    seconds: float = 0.0


def open_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stage folder.

    Raises AccordError, whose `got` says what is wrong in a few words, if there is none, it is not as it was written, or
    the run that the folder is in lists another.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        what = "missing" if isinstance(error, FileNotFoundError | NotADirectoryError) else str(error.strerror)
        raise damaged(folder, f"{MANIFEST}: {what}") from None
    try:
        manifest = json.loads(data)
        shape = _Shape.model_validate(manifest)
    except (ValueError, RecursionError):  # pydantic's own is a ValueError
        raise damaged(folder, f"{MANIFEST}: changed, so that it cannot be read") from None
    ours = is_sealed(data, shape.digest) if DIGEST in manifest else not shape.model_extra
    if not ours:
        raise damaged(folder, f"{MANIFEST}: changed")
    listed = listed_as(folder)
    if listed is not None and sha256(path) != listed and not is_cut(folder, listed):
        own = manifest.get("name", "")
        of = "" if folder.absolute().as_posix().endswith(f"/{own}") else f", but that of {own}"
        raise damaged(folder, f"{MANIFEST}: not the one that this run wrote{of}")
    opened: dict[str, Any] = manifest
    return opened


def read_manifest(folder: Path, recipe: Recipe | None = None) -> dict[str, Any] | None:
    """The manifest of a stage folder; None if there is none to be trusted (or, with a recipe, if it is another's)."""
    try:
        manifest = open_manifest(folder)
    except AccordError:
        return None
    return manifest if recipe is None or manifest["fingerprint"] == recipe.fingerprint else None


def is_stage(folder: Path) -> bool:
    """Whether accord made a folder as a stage, however damaged its manifest is."""
    if listed_as(folder) is not None:
        return True
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError:
        return False
    return sum(word in data for word in _WORDS) > len(_WORDS) // 2


def faults(folder: Path, manifest: Mapping[str, Any], *, anew: bool = False) -> Iterator[tuple[str, str]]:
    """The files of a stage that are not as its manifest says, each with what is wrong.

    Args:
        anew: read every file; else that of a large one counts which did not change since its hash was taken last, by
            its size, times and inode.
    """
    for name, file in manifest["files"].items():
        try:
            found = (folder / name).stat()
            if not stat.S_ISREG(found.st_mode):
                yield name, "no longer a file"
            elif found.st_size != file["bytes"]:
                yield name, f"changed: {found.st_size:,} bytes, not {file['bytes']:,}"
            elif not _has_hash(folder / name, file["sha256"], kept=not anew and found.st_size > _KEPT):
                yield name, "changed"
        except (FileNotFoundError, NotADirectoryError):
            yield name, "missing"
        except OSError as error:
            yield name, f"cannot be read: {error.strerror}"


def fault(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """The first file of a stage that is not as its manifest says, and what is wrong with it; None if all are."""
    return next((f"{name}: {what}" for name, what in faults(folder, manifest)), None)


def checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stage folder, whose files are as it says. Raises AccordError if they are not."""
    manifest = open_manifest(folder)
    if (what := fault(folder, manifest)) is not None:
        raise damaged(folder, what)
    return manifest


def check_if_stage(folder: Path) -> None:
    """AccordError if a folder is a stage's and not as it was written; one that no run made may hold anything."""
    if (folder / MANIFEST).is_file() or listed_as(folder) is not None:
        checked_manifest(folder)


def damaged(folder: Path, what: str) -> AccordError:
    """The error for a stage that is not as it was written: nothing of it is read."""
    fix = "see what else is damaged with accord check; the command that made it makes it again"
    return AccordError("This stage is damaged.", where=folder, got=what, fix=fix)


def missing(folder: Path) -> str | None:
    """What an unfinished stage lacks, in words; None for others."""
    manifest = read_manifest(folder)
    return None if manifest is None else manifest.get("facts", {}).get(UNFINISHED)


def _has_hash(path: Path, wanted: str, *, kept: bool) -> bool:
    # A kept hash is a file of its own and may be damaged as well: only the file itself can say that it was changed.
    return (kept and kept_hash(path) == wanted) or sha256(path) == wanted


def is_cut(folder: Path, listed: str) -> bool:
    """Whether what is listed waits beside the folder: a process was killed before it put it in place."""
    waiting = aside(folder, "partial") / MANIFEST
    return waiting.is_file() and sha256(waiting) == listed
