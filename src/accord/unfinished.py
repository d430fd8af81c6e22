"""Parts of a piece of work on disk, each whole or not there: a killed run goes on from them, workers share them.

What a part held when it was written is noted as a hash: in a note beside a file or a folder (`kept`), within a record
of JSON (`with_check`). A part that is not so any more is thrown away, with a word, and made again. What carries no hash
is of an earlier version, and taken as it is.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from accord.disk import aside, is_locked, path_of, read_object, sha256, whole, whole_folder, write_whole
from accord.errors import AccordError
from accord.spread import NothingFree, at_work_on, is_helper, wait_or_leave

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

RECORD = "partial.json"  # in a stage that is being made: the recipe that it is made by
_OWNER = "made-for.json"  # among parts: which piece of work they belong to
_NOTE = ".note"  # after the name of a part
_CHECK = "check"  # in a record
_log = logging.getLogger("accord")  # to standard error, unless a program that uses accord says otherwise


@contextmanager
def kept(path: Path, *, note: Path | None = None, folder: bool = False) -> Iterator[Path]:
    """A neighbour of a part to fill instead of it; it is brought to the disk, noted, and put in place.

    Args:
        note: the file of its size and hash, if that is not the one that `is_intact` looks for by itself.
        folder: whether the part is a folder, with files in it.
    """
    with (whole_folder if folder else whole)(path) as beside:
        yield beside
        # First the note: a kill between the two leaves a note of nothing, never a part that nothing vouches for.
        write_whole(note or _beside(path), json.dumps(_measured(beside)))


def is_intact(path: Path, note: Path | None = None) -> bool:
    """Whether a part is there, and as it was when it was written."""
    note = note or _beside(path)
    if not path.exists():
        return False
    try:
        return not note.exists() or bool(json.loads(note.read_text(encoding="utf-8")) == _measured(path))
    except (OSError, ValueError, RecursionError):
        return False


def discard(path: Path, why: object = "not as it was written") -> None:
    """Throw a part away that cannot be used, and say so; nothing, where there is none."""
    if path.exists():
        _log.warning("%s is damaged (%s): it is made again", path, why)
    remove(path)


def remove(path: Path) -> None:
    """Remove a part, if it is there, and its note."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def check_finished(folder: Path | str) -> None:
    """AccordError if nothing is in a folder yet, and what makes it is at work or was stopped: with what goes on."""
    folder = path_of(folder).absolute()
    if not folder.name:
        return
    partial = aside(folder, "partial")
    try:
        there = folder.exists() and (folder.is_file() or any(folder.iterdir()))
        if there or not (partial / RECORD).is_file():
            return
    except OSError:  # whoever asks for it tells what is wrong with the place
        return
    if is_locked(folder.resolve()):
        raise AccordError("This is not finished: another process is making it.", where=folder, fix="wait for it")
    fix = "run what makes it again: it goes on from there"
    with suppress(AccordError):  # of an earlier version, which did not note the command
        fix = f"go on with it: {read_object(partial / RECORD, 'command')['command']}"
    raise AccordError(
        "This is not finished: what makes it was stopped.", where=folder, got=f"unfinished work in {partial}", fix=fix
    )


def with_check(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of JSON with a hash of what it says in it.

    >>> record = with_check({"answer": "birds"})
    >>> passes_check(record), passes_check({**record, "answer": "words"})
    (True, False)
    """
    return {**record, _CHECK: _hash(record)}


def passes_check(record: Mapping[str, Any]) -> bool:
    """Whether a record still says what it was checked for; one without a hash is taken as it is."""
    return _CHECK not in record or record[_CHECK] == _hash(without_check(record))


def without_check(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without its hash."""
    return {key: value for key, value in record.items() if key != _CHECK}


def once(parts: Path | None, name: str, make: Callable[[], T]) -> T:
    """What `make` gives, or gave at the first call: a part of some work, kept in a folder.

    >>> once(None, "sum.json", lambda: 1 + 1)
    2

    Args:
        parts: the folder, for a single piece of work on a device in a precision; None to keep nothing.
        name: of the file: NAME.parquet for a table, NAME.safetensors for named tensors, NAME.json for what JSON holds.
    """
    if parts is None:
        return make()
    path = parts / name
    _, read = _KINDS[path.suffix]
    part: T
    if is_intact(path):
        try:
            part = read(path)
            return part
        except Exception as error:  # of any reader beneath
            if _beside(path).exists():  # it is as it was written: something else is wrong
                raise
            discard(path, error)
    _put(path, make)
    part = read(path)
    return part


def each(
    parts: Path | None, makes: Mapping[str, Callable[[], T]], there: Callable[[int], None] = lambda number: None
) -> Iterator[T]:
    """What `once` gives for each of a series of parts, in their order. All are made before the first is given.

    Parts that other workers are at are passed over and come back to, see `accord.spread`.

    >>> list(each(None, {"one.json": lambda: 1, "two.json": lambda: 2}))
    [1, 2]

    Args:
        makes: name -> what makes it. No part needs another one.
        there: called with the number of each part, from 1, that this finds or puts in place.
    """
    elsewhere = False
    for number, (name, make) in enumerate(makes.items(), 1):
        if parts is None:
            yield make()
            there(number)
            continue
        try:
            if not is_intact(parts / name):
                _put(parts / name, make, wait=False)
            there(number)
        except NothingFree:
            elsewhere = True
    if parts is None:
        return
    if elsewhere:
        wait_or_leave()
    for name, make in makes.items():
        yield once(parts, name, make)


def _put(path: Path, make: Callable[[], T], *, wait: bool = True) -> None:
    """Put a part in place, unless another worker has done so meanwhile; see `at_work_on`."""
    write, _ = _KINDS[path.suffix]
    with at_work_on(path, wait=wait):
        if is_intact(path):
            return
        discard(path)
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with kept(path) as beside:
            write(value, beside)


def belongs(parts: Path | None, to: Mapping[str, Any]) -> None:
    """Note which piece of work a folder of parts belongs to; AccordError if it belongs to another.

    Args:
        to: what fixes the parts, as JSON.
    """
    if parts is None:
        return
    digest = hashlib.sha256(json.dumps(to, sort_keys=True, default=str).encode()).hexdigest()
    if (parts / _OWNER).exists() and not is_intact(parts / _OWNER):  # nobody knows what they are parts of
        if is_helper():
            raise NothingFree
        for part in [path for path in parts.rglob("*") if _beside(path).exists()]:
            discard(part, f"nothing tells what it is a part of: {_OWNER} is not as it was written")
    if once(parts, _OWNER, lambda: {"sha256": digest})["sha256"] != digest:
        raise AccordError(
            "This folder holds parts of other work: of another model, or of other questions.",
            where=parts,
            fix="name another folder, or remove this one",
        )


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _NOTE)


def _measured(path: Path) -> dict[str, Any]:
    """Size and hash of a file; of a folder, those of all files in it together."""
    if not path.is_dir():
        return {"bytes": path.stat().st_size, "sha256": sha256(path)}
    files = {file.relative_to(path).as_posix(): _measured(file) for file in path.rglob("*") if not file.is_dir()}
    return {"bytes": sum(file["bytes"] for file in files.values()), "sha256": _hash(files)}


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_table(table: "pd.DataFrame", path: Path) -> None:
    table.to_parquet(path, index=False)


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_parquet(path)


def _write_tensors(tensors: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _read_tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(path)
    return tensors


def _write_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


_KINDS: dict[str, tuple[Callable[[Any, Path], None], Callable[[Path], Any]]] = {
    ".parquet": (_write_table, _read_table),
    ".safetensors": (_write_tensors, _read_tensors),
    ".json": (_write_json, _read_json),
}
