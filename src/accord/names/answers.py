"""Asking an annotator: every answer is written before the next one counts, and what has an answer is not asked again.

answers.jsonl   a line an answer, in the order they came: key, asked (a hash of the prompt), answer, attempts, seconds,
                check (a hash of these: a line that is damaged is no answer); where the prompt of a key changes, its
                answer counts no longer
failures.jsonl  a line a request that has no answer: key, asked, reason, attempts, runs (in how many it failed while
                others were answered), for_good (it is not asked again), check
"""

import hashlib
import json
import logging
import os
import re
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Protocol

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from accord.arguments import checked
from accord.disk import whole, write_whole
from accord.errors import AccordError
from accord.names.prompts import examples_to_show, naming_prompt, one_line
from accord.unfinished import passes_check, with_check, without_check

ANSWERS, FAILURES = "answers.jsonl", "failures.jsonl"
LONGEST = 120  # letters of a name
_SYNCED = 1.0  # seconds of answers that a power cut may lose
_IN_A_ROW = 20  # failures one after another: the annotator is gone, and waiting for each would take hours
_RUNS = 3  # in which a request may fail for the annotator's sake while others are answered: it is this request, then
_log = logging.getLogger("accord")
_JOINERS = "\u200c\u200d"  # these change how letters and emoji look, and are part of words
_BEGIN = re.compile(r'\{\s*["}]')  # of a JSON object
_LOOKS = 50  # places where an answer's JSON may begin, the last ones: each may take as long as the answer is


def plain(text: str) -> str:
    r"""A text in one line, without control characters, such as those that turn the direction of what follows.

    >>> plain("birds\u202e of\nprey")
    'birds of prey'

    Raises ValueError for half a surrogate pair, which is no letter and cannot be written.
    """
    text.encode()
    return one_line("".join(letter for letter in text if _shows(letter)))


def _shows(letter: str) -> bool:
    return letter.isspace() or letter in _JOINERS or unicodedata.category(letter) not in ("Cc", "Cf")


Line = Annotated[str, AfterValidator(plain), Field(max_length=LONGEST)]


class Answer(BaseModel):
    """What an annotator calls a concept."""

    model_config = ConfigDict(frozen=True)

    concept: Annotated[Line, Field(min_length=1)]
    alternatives: list[Line] = Field(default=[], max_length=10)


class Unusable(Exception):
    """An answer that came and cannot be used; worth asking again."""


@dataclass(frozen=True)
class Request:
    """One thing to ask: `form` is what the JSON of the answer must fit; `words` is for an annotator without a model."""

    key: str
    prompt: str
    form: type[BaseModel] = Answer
    words: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Tells prompts of one key apart: the same context under another name is another question."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Reply:
    """The answer to a request, or the reason for none; `unreachable` if the annotator may be gone, or refuse all."""

    key: str
    answer: BaseModel | None
    attempts: int = 1
    seconds: float = 0.0
    reason: str | None = None
    unreachable: bool = False


class Annotator(Protocol):
    """Whatever answers requests."""

    def replies(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """A reply to each request, in any order, as they come; requests are taken when they can be made."""
        ...


@dataclass(frozen=True)
class Names:
    """What was answered: concept -> answer, and concept -> reason where there is none."""

    answers: Mapping[int, Answer]
    failures: Mapping[int, str]


@checked
def annotate(
    annotator: Annotator,
    concepts: pd.DataFrame,
    examples: pd.DataFrame,
    folder: Path,
    *,
    shown: int = 12,
    progress: Callable[[int, int], None] | None = None,
) -> Names:
    """Have concepts of a dictionary named; goes on from the answers in `folder`.

    Args:
        concepts, examples: of a `Dictionary`; examples of other concepts are not looked at.
        shown: training examples that the annotator sees of each.

    Raises:
        AccordError: as `ask`.
    """
    train = examples_to_show(examples[examples["side"] == "train"], shown)
    requests = [
        Request(
            f"name:{row['concept']}",
            naming_prompt(train[row["concept"]], [str(entry["token"]) for entry in row["promoted"]]),
            words=tuple(str(entry["token"]) for entry in row["types"]),
        )
        for row in concepts[["concept", "promoted", "types"]].to_dict("records")
    ]
    answered, failed = ask(annotator, requests, folder, progress=progress)

    def number(key: str) -> int:
        return int(key.partition(":")[2])

    return Names(
        {number(key): answer for key, answer in answered.items() if isinstance(answer, Answer)},
        {number(key): reason for key, reason in failed.items()},
    )


def ask(
    annotator: Annotator,
    requests: Sequence[Request],
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, BaseModel], dict[str, str]]:
    """Ask what `folder` has no answer to; key -> answer, and key -> reason for what none could be had.

    What failed for good in an earlier call is not asked again: an annotator that answers others gave nothing that
    can be used, however often it was tried, or refused the prompt. Where it seemed to be gone, that takes three calls.

    Raises AccordError when the annotator cannot be reached many times in a row: what was answered is kept, and the
    next call goes on from it. Once an annotator has answered anything, requests that failed in an earlier call too do
    not count toward that.
    """
    for name in (ANSWERS, FAILURES):
        _keep_sound(folder / name)
    by_key, known, old = {request.key: request for request in requests}, read_answers(folder), failures_of(folder)
    answered = {
        key: request.form.model_validate(known[key]["answer"])
        for key, request in by_key.items()
        if key in known and known[key].get("asked") == request.hash
    }
    old = {key: record for key, record in old.items() if key not in by_key or record.get("asked") == by_key[key].hash}
    failures = {key: old[key] for key in by_key if key in old and old[key].get("for_good")}
    missing = [request for request in requests if request.key not in answered and request.key not in failures]
    missing.sort(key=lambda request: request.key in old)
    failed_now: dict[str, Reply] = {}
    reached, in_a_row = bool(known), 0
    gone: AccordError | None = None
    # Once it is given up nothing more is begun, and what is under way is waited for: it may be paid for.
    to_ask = (request for request in missing if gone is None)
    passed_over, asked = len(requests) - len(missing), len(answered)
    try:
        with _open(folder / ANSWERS) as file:
            for done, reply in enumerate(annotator.replies(to_ask), passed_over + 1):
                if reply.answer is not None:
                    reached, answered[reply.key] = True, reply.answer
                    record = {"key": reply.key, "asked": by_key[reply.key].hash, "answer": reply.answer.model_dump()}
                    _append(file, {**record, "attempts": reply.attempts, "seconds": round(reply.seconds, 3)})
                else:
                    failed_now[reply.key] = reply
                if not (reached and reply.key in old):
                    in_a_row = in_a_row + 1 if reply.unreachable else 0
                if gone is None and in_a_row >= (_IN_A_ROW if reached else min(_IN_A_ROW, len(missing))):
                    gone = _gone(in_a_row, str(reply.reason))
                if progress:
                    progress(done, len(requests))
    finally:
        for key, reply in failed_now.items():
            runs = old.get(key, {}).get("runs", 0) + (gone is None and len(answered) > asked)
            failures[key] = {
                "key": key, "asked": by_key[key].hash, "reason": reply.reason, "attempts": reply.attempts,
                "runs": runs, "for_good": runs >= _RUNS if reply.unreachable else reached,
            }  # fmt: skip
        unanswered = (record for key, record in {**old, **failures}.items() if key not in answered)
        write_whole(folder / FAILURES, "".join(map(_line, unanswered)))
    if gone is not None:
        raise gone
    return answered, {key: str(record["reason"]) for key, record in failures.items()}


def read_answers(folder: Path) -> dict[str, dict[str, Any]]:
    """Key -> record of all answers in a folder; a line that a kill cut, or that is damaged, is no answer."""
    return {record["key"]: record for record in _lines(folder / ANSWERS)}


def failures_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Key -> record of all requests of a folder that have no answer."""
    return {record["key"]: record for record in _lines(folder / FAILURES)}


def parse(text: str, form: type[BaseModel]) -> BaseModel:
    """The last JSON object in a text that fits `form`; `Unusable` if none does.

    The last, because what a model thinks aloud comes first.

    >>> parse('{"concept": "no"}? Rather: {"concept": "birds"}', Answer).concept
    'birds'
    """
    if "{" not in text:
        raise Unusable(f"no JSON in the answer: {_short(text)}")
    tables = list(_objects(text))
    if not tables:
        raise Unusable(f"broken JSON: {_short(text)}")
    reason = ""
    for table in reversed(tables):
        try:
            return form.model_validate(table)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            reason = reason or f"JSON of another form: {where}: {first['msg']}"
    raise Unusable(reason)


def _objects(text: str) -> Iterator[Any]:
    """The JSON objects in a text, one after another; those within others are not looked at."""
    end = 0
    for begin in deque((match.start() for match in _BEGIN.finditer(text)), maxlen=_LOOKS):
        if begin < end:
            continue
        try:
            table, end = json.JSONDecoder().raw_decode(text, begin)
        except (ValueError, RecursionError):  # no JSON; an integer of thousands of digits; nested too deeply
            continue
        yield table


def _gone(in_a_row: int, reason: str) -> AccordError:
    return AccordError(
        "The annotator cannot be reached, or refuses.",
        got=f"{in_a_row} failures in a row, the last: {reason}",
        fix="mend that (its address, the model's name, the key), then run again: it goes on from the answers it has",
    )


@dataclass
class _Answers:
    """A file that answers are added to.

    Each is with the system at once, so that a kill loses none, and on the disk within a second or by the end: waiting
    for a disk takes longer than an answer for which no model is asked.
    """

    file: BinaryIO
    synced: float


@contextmanager
def _open(path: Path) -> Iterator[_Answers]:
    """For appending, behind the last whole line."""
    with path.open("a+b") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        try:
            yield _Answers(file, time.monotonic())
        finally:
            os.fsync(file.fileno())


def _append(answers: _Answers, record: Mapping[str, Any]) -> None:
    answers.file.write(_line(record).encode())
    answers.file.flush()
    if (now := time.monotonic()) - answers.synced >= _SYNCED:
        os.fsync(answers.file.fileno())
        answers.synced = now


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(with_check(without_check(record)), ensure_ascii=False) + "\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = (line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
    return [record for line in lines if (record := _record(line)) is not None]


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None if it is not as it was written."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and "key" in record and passes_check(record) else None


def _keep_sound(path: Path) -> None:
    """Drop the lines of a file that are damaged, but for one that a kill cut, and say so."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    sound = [line for line in lines if not line.endswith(b"\n") or _record(line) is not None]
    if len(sound) < len(lines):
        _log.warning("%s: %d of %d lines are damaged: that is asked again", path, len(lines) - len(sound), len(lines))
        with whole(path) as beside:
            beside.write_bytes(b"".join(sound))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:80] + "…")
