"""What lies in accord's cache, and in the hub's of what accord can use: sizes, licences, and how to remove it.

>>> [entry.name for entry in cached.entries()]  # doctest: +SKIP
['smollm2-135m', 'vadersentiment', 'bookkeeping']
>>> cached.remove("smollm2-135m")  # doctest: +SKIP
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from accord.arguments import checked
from accord.cache import CHECKS, COSTS, cache_root, is_whole
from accord.disk import disk_use, is_locked, lock
from accord.errors import AccordError, nearest
from accord.lm.catalog import CATALOG
from accord.text import catalog as texts

__all__ = ["Cached", "Download", "cache_root", "download_of", "entries", "remove"]

BOOKKEEPING = "bookkeeping"
_HASHES = "hashes"
_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Download:
    """Something that is fetched before it is used.

    Attributes:
        bytes: that are fetched; None where only the hub knows.
        stored: bytes that it takes afterwards.
    """

    name: str
    what: str
    bytes: int | None = None
    stored: int | None = None


@dataclass(frozen=True)
class Cached:
    """Something that was fetched, or made of what was fetched.

    Attributes:
        name: by which `remove` takes it.
        what: what it is, in words.
        licence: its own, where that is known.
        used: when it was last read, to the day, where the disk notes that.
        place: accord's own cache, or the hub's, which other programs use too.
        also: other names of it, such as those of several sources of texts in one package.
    """

    name: str
    what: str
    licence: str
    bytes: int
    used: datetime | None
    folder: Path
    place: Literal["accord", "hub"] = "accord"
    also: tuple[str, ...] = ()


def download_of(name: str, what: str) -> Download:
    """What fetching a model, texts or a dictionary of this name takes."""
    if (entry := CATALOG.get(name)) is not None:
        return Download(name, what, entry.download, entry.converted)
    if name in texts.TEXTS:
        return Download(name, what, texts.DOWNLOAD, texts.CONVERTED)
    return Download(name, what)


def entries() -> list[Cached]:
    """What is there: accord's models and texts, what cut fetches left, bookkeeping; then what the hub's cache has."""
    return [*_own(), *_of_hub()]


@checked
def remove(name: str) -> Cached:
    """Remove what has this name; what was removed. It is fetched again when it is needed.

    Raises AccordError if there is no such thing, or a process fetches or makes it now.
    """
    entry = find(name)
    if entry.place == "hub":  # not by the hash of its revisions, as the hub's library does: copies of it share that
        shutil.rmtree(entry.folder)
    elif entry.name == BOOKKEEPING:
        for folder in (_HASHES, CHECKS):
            shutil.rmtree(cache_root() / folder, ignore_errors=True)
        (cache_root() / COSTS).unlink(missing_ok=True)
    else:
        with lock(_made_in(entry.folder)):
            shutil.rmtree(entry.folder)
    return entry


def find(name: str) -> Cached:
    """What has this name. Raises AccordError if nothing has."""
    there = entries()
    for entry in there:
        if name in (entry.name, *entry.also):
            return entry
    names = [entry.name for entry in there]
    raise AccordError("There is no such thing in the cache.", where=cache_root(), got=repr(name),
                      wanted=nearest(name, names) if names else "nothing is there")  # fmt: skip


def _own() -> Iterator[Cached]:
    root = cache_root()
    for kind, tell in (("models", _model), ("texts", _texts)):
        for folder in sorted(_folders(root / kind)):
            yield _left_behind(folder) if folder.name.endswith(".partial") else tell(folder)
    hashes = root / _HASHES
    if (size := disk_use(hashes)) or hashes.is_dir():
        number = sum(1 for _ in hashes.iterdir())
        what = f"hashes of {number:,} files, so that they need not be read again"
        yield Cached(BOOKKEEPING, what, "", size, None, hashes)


def _folders(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink() and (path.name[0] != "." or path.name.endswith(".partial")):
            yield path


def _model(folder: Path) -> Cached:
    entry = next((entry for entry in CATALOG.values() if entry.folder == folder), None)
    if entry is not None:
        return _described(folder, entry.name, entry.description, entry.license)
    return _described(folder, folder.name, "model: converted from a .gguf file", "")


def _texts(folder: Path) -> Cached:
    names, licence = tuple(texts.TEXTS), next(iter(texts.TEXTS.values())).license
    if folder != texts.folder():
        return _described(folder, folder.name, "texts of another version of accord", "")
    return _described(folder, folder.name.rpartition("-")[0], f"texts: {', '.join(names)}", licence, names)


def _described(folder: Path, name: str, what: str, licence: str, also: tuple[str, ...] = ()) -> Cached:
    what += "" if is_whole(folder) else " (not whole: made again when it is used)"
    return Cached(name, what, licence, disk_use(folder), _last_read(folder), folder, also=also)


def _left_behind(folder: Path) -> Cached:
    busy = is_locked(_made_in(folder))
    what = "being fetched now" if busy else "left by a fetch that was cut short: of no use"
    return Cached(folder.name, what, "", disk_use(folder), None, folder)


def _made_in(folder: Path) -> Path:
    """The folder that a partial becomes, whose lock is held meanwhile; any other folder itself."""
    name = folder.name
    return folder.with_name(name[1 : -len(".partial")]) if name.endswith(".partial") else folder


def _last_read(folder: Path) -> datetime | None:
    """When a file of a folder was last read; None where the disk does not note it."""
    flags: Callable[[Path], Any] | None = getattr(os, "statvfs", None)
    if flags is None or flags(folder).f_flag & getattr(os, "ST_NOATIME", 0):
        return None
    times = [path.stat().st_atime for path in folder.iterdir() if path.is_file()]
    return datetime.fromtimestamp(max(times)).astimezone() if times else None


def _of_hub() -> Iterator[Cached]:
    """What of the hub's own cache accord can use: models with safetensors, and data sets."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        files = [file for revision in repo.revisions for file in revision.files]
        usable = any(file.file_name.endswith(".safetensors") for file in files)
        if repo.repo_type == "dataset" or (repo.repo_type == "model" and usable):
            what = f"{'texts' if repo.repo_type == 'dataset' else 'model'} of the hub"
            cards = [file.file_path for file in files if file.file_name == "README.md"]
            used = datetime.fromtimestamp(repo.last_accessed).astimezone() if repo.last_accessed else None
            yield Cached(repo.repo_id, what, _licence(cards), repo.size_on_disk, used, repo.repo_path, "hub")


def _licence(cards: list[Path]) -> str:
    """What a card says of the licence, in the table at its beginning."""
    for card in cards:
        try:
            text = card.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        head = text.split("\n---", 1)[0] if text.startswith("---") else ""
        if said := _LICENCE.search(head):
            return said[1]
    return ""
