"""Parts of a stage that several workers compute at once: who is at which one, and what a helper leaves alone.

The worker that makes a stage, its *owner*, opens its folder to helpers; a helper runs the same code in that folder.
Each part is computed by who holds its claim, a file that the system locks for as long as its process lives. An owner
comes back to the parts that others were at, and waits for them; a helper leaves where nothing is free. What one of them
computes, the other would have computed alike.

A folder is closed before anything in it but a part is changed: new claims are refused, and the last ones waited for.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import Timeout, lock_descriptor

from accord.disk import NO_LOCKS, lease, read_object, write_json, write_whole
from accord.errors import AccordError
from accord.progress import Progress

T = TypeVar("T")

HELPERS = "helpers"  # beside the parts: who computed how many of them, but for the owner
CLAIMS = "claims"  # in the folder of a stage that is being made
_LOOK = 0.02  # seconds between two looks at the claim of another
_OPEN = "open"  # among the claims: a word that is another each time the folder is opened


class NothingFree(Exception):
    """Others are at all parts that are left: a worker that only helps has nothing to do here now."""


@dataclass
class Hands:
    """A worker in the folder of a stage.

    Attributes:
        word: of the folder, as a helper found it open; None for the owner.
        waits: whether it waits for parts that others are at.
        who: what a helper says of itself.
        parts: how many parts it was at.
    """

    folder: Path
    word: str | None
    waits: bool
    who: dict[str, str] = field(default_factory=dict)
    parts: int = 0
    name: str = field(default_factory=lambda: uuid.uuid4().hex)


_HANDS: ContextVar[Hands | None] = ContextVar("hands", default=None)


@contextmanager
def owning(folder: Path) -> Iterator[None]:
    """What runs inside makes the stage of a folder, and lets others help as soon as `open_to_helpers` is called."""
    with _at(Hands(folder, None, waits=True)):
        yield


@contextmanager
def helping(folder: Path, word: str, who: Mapping[str, str] | None = None) -> Iterator[Hands]:
    """What runs inside computes parts of a stage that another worker makes; NothingFree where none is free.

    Args:
        word: what `word_of` gave, before it was seen what the folder is for.
        who: what the owner is told of this helper, see `helpers`.
    """
    with _at(Hands(folder, word, waits=False, who=dict(who or {}))) as hands:
        yield hands


@contextmanager
def _at(hands: Hands) -> Iterator[Hands]:
    before = _HANDS.set(hands)
    try:
        yield hands
    finally:
        _HANDS.reset(before)


def is_helper() -> bool:
    """Whether this runs to help another worker, and may write nothing but parts."""
    hands = _HANDS.get()
    return hands is not None and hands.word is not None


def helps_with(card: str) -> None:
    """Have the owner told on which card, or processor, this helper computes."""
    if (hands := _HANDS.get()) is not None:
        hands.who["card"] = card


def wait_or_leave() -> None:
    """NothingFree for who does not wait for parts that others are at."""
    if (hands := _HANDS.get()) is not None and not hands.waits:
        raise NothingFree


def open_to_helpers() -> None:
    """Let helpers in from now on; where no stage is made that may be shared, nothing."""
    if (hands := _HANDS.get()) is not None and word_of(hands.folder) is None:
        (hands.folder / CLAIMS).mkdir(exist_ok=True)
        write_whole(hands.folder / CLAIMS / _OPEN, uuid.uuid4().hex)


def word_of(folder: Path) -> str | None:
    """The word of a folder that is open to helpers; another one is there when it was closed meanwhile."""
    try:
        return (folder / CLAIMS / _OPEN).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def close(folder: Path) -> None:
    """Let nobody begin another part in a folder, and wait until nobody is at one."""
    claims = folder / CLAIMS
    while claims.exists():
        # First: who holds a claim and still finds this file is waited for below, who does not leaves.
        (claims / _OPEN).unlink(missing_ok=True)
        for path in list(claims.iterdir()):
            with suppress(FileNotFoundError), claimed(claims / path.name.partition(".")[0], wait=True):
                pass
        shutil.rmtree(claims, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove the folder of a stage that is not gone on with, when nobody is at a part of it any more."""
    close(folder)
    shutil.rmtree(folder)


def helpers(folder: Path) -> list[dict[str, Any]]:
    """Those who helped with a stage, as they said who they are, each with its number of `parts`."""
    parts: dict[tuple[tuple[str, str], ...], int] = {}
    for path in sorted((folder / HELPERS).glob("*.json")):
        with suppress(AccordError, TypeError, ValueError):  # a note that a kill cut, or that is another's
            note = read_object(path, "parts")
            number = int(note.pop("parts"))
            who = tuple((key, str(value)) for key, value in sorted(note.items()))
            parts[who] = parts.get(who, 0) + number
    return [{**dict(who), "parts": number} for who, number in sorted(parts.items())]


@contextmanager
def at_work_on(part: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other workers off a part while it is computed and put in place. It may be there when this is entered.

    Raises NothingFree if another is at it and this does not wait, or if a helper is no longer wanted.

    Args:
        wait: whether an owner waits for it; a helper never does.
    """
    hands = _HANDS.get()
    if hands is None:
        yield
        return
    inside = part.is_relative_to(hands.folder)
    if hands.word is None and not (inside and (hands.folder / CLAIMS).exists()):  # where no helper comes
        yield
        return
    if not inside:  # of another stage, which a helper of this one leaves alone
        raise NothingFree
    name = hashlib.sha256(part.relative_to(hands.folder).as_posix().encode()).hexdigest()[:16]
    try:
        claim = claimed(hands.folder / CLAIMS / name, wait=wait and hands.waits)
        with claim as own:
            if not own or hands.word not in (None, word_of(hands.folder)):
                raise NothingFree
            yield
            hands.parts += 1
            if hands.word is not None:  # within the claim: the owner waits for it before it reads these
                (hands.folder / HELPERS).mkdir(exist_ok=True)
                write_json(hands.folder / HELPERS / f"{hands.name}.json", {**hands.who, "parts": hands.parts})
    except FileNotFoundError:
        if hands.word is None or word_of(hands.folder) == hands.word:
            raise
        raise NothingFree from None  # the stage was finished, or removed, meanwhile


@contextmanager
def claimed(place: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether a place is this process's own inside; False, or with `wait` later, if it is another's.

    As `lock`, for work of seconds: no file but that of the claim is made, beside the place, and nothing is told. Raises
    FileNotFoundError if the folder around the place is gone.
    """
    path = place.with_name(f"{place.name}.claim")
    try:
        handle = _own(path, wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        path.unlink(missing_ok=True)  # it holds nobody off
        held = lease(place.with_name(f"{place.name}.held"))
        try:
            held.acquire(timeout=-1 if wait else 10 * _LOOK, poll_interval=_LOOK)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            held.release()
        return
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _own(path: Path, wait: bool) -> int | None:
    """A handle of a file that this process has locked; None if another has, and this does not `wait`."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        held = False
        try:
            if not lock_descriptor(handle, blocking=wait, poll_interval=_LOOK):
                return None
            with suppress(OSError):  # else who had it has removed it
                held = os.path.samestat(os.fstat(handle), path.stat())
            if held:
                return handle
        finally:
            if not held:
                os.close(handle)


def apart(steps: Sequence[Callable[[], T]]) -> list[T]:
    """The results of steps that do not need each other: what others are at is passed over, and come back to.

    A step may run twice, so it does nothing that counts beside its parts.

    >>> apart([lambda: 1, lambda: 2])
    [1, 2]
    """
    hands = _HANDS.get()
    if hands is None:
        return [step() for step in steps]
    results: dict[int, T] = {}
    waits, hands.waits = hands.waits, False
    try:
        for i, step in enumerate(steps):
            with suppress(NothingFree):
                results[i] = step()
    finally:
        hands.waits = waits
    if len(results) < len(steps) and not waits:
        raise NothingFree
    return [results[i] if i in results else step() for i, step in enumerate(steps)]


def onward(progress: Progress | None) -> Progress | None:
    """The same without steps back: who comes back to a part that another was at is no less far than before."""
    if progress is None:
        return None
    furthest = 0.0

    def report(done: int, total: int) -> None:
        nonlocal furthest
        if (share := done / max(total, 1)) >= furthest:
            furthest = share
            progress(done, total)

    return report
