"""Asking an annotator: every answer is on the disk before the next counts, and what is there is never asked again.

answers.jsonl   a line an answer, in the order they came: key, what was answered, attempts, seconds
failures.jsonl  a line a request that has no answer: key, reason, attempts
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from accord.disk import write_whole
from accord.errors import AccordError
from accord.naming.prompts import naming_prompt

ANSWERS, FAILURES = "answers.jsonl", "failures.jsonl"
_IN_A_ROW = 20  # failures one after another: the annotator is gone, and waiting for each would take hours


class Answer(BaseModel):
    """What an annotator calls a concept."""

    model_config = ConfigDict(frozen=True)

    concept: str = Field(min_length=1, max_length=120)
    alternatives: list[str] = Field(default=[], max_length=10)

    @field_validator("concept")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not (value := " ".join(value.split())):
            raise ValueError("a name that is not blank")
        return value


class Unusable(Exception):
    """An answer that came and cannot be used; worth asking again."""


@dataclass(frozen=True)
class Request:
    """One thing to ask: `form` is what the JSON of the answer must fit; `words` is for an annotator without a model."""

    key: str
    prompt: str
    form: type[BaseModel] = Answer
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """The answer to a request, or the reason why there is none; `unreachable` if the annotator may be gone."""

    key: str
    answer: BaseModel | None
    attempts: int = 1
    seconds: float = 0.0
    reason: str | None = None
    unreachable: bool = False


class Annotator(Protocol):
    """Whatever answers requests."""

    def replies(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """A reply to each request, in any order, as they come.

        Raises AccordError for what no request can get past, such as a wrong key.
        """
        ...


@dataclass(frozen=True)
class Names:
    """What was answered: concept -> answer, and concept -> reason where there is none."""

    answers: Mapping[int, Answer]
    failures: Mapping[int, str]


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
    train = {int(str(concept)): own for concept, own in examples[examples["side"] == "train"].groupby("concept")}
    requests = [
        Request(
            f"name:{row['concept']}",
            naming_prompt(train[row["concept"]], [str(one["token"]) for one in row["promoted"]], shown),
            words=tuple(str(one["token"]) for one in row["types"]),
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

    Raises AccordError for what the annotator cannot get past, and when it cannot be reached many times in a row: what
    was answered is kept, and the next call goes on from it.
    """
    asked = {request.key: request for request in requests}
    known = {key: record["answer"] for key, record in read_answers(folder).items() if key in asked}
    answered = {key: asked[key].form.model_validate(answer) for key, answer in known.items()}
    missing = [request for request in requests if request.key not in answered]
    failures: list[dict[str, Any]] = []
    gone = 0
    try:
        with _open(folder / ANSWERS) as file:
            for done, reply in enumerate(annotator.replies(missing), len(answered) + 1):
                if reply.answer is not None:
                    answered[reply.key] = reply.answer
                    record = {"key": reply.key, "answer": reply.answer.model_dump()}
                    _append(file, {**record, "attempts": reply.attempts, "seconds": round(reply.seconds, 3)})
                else:
                    failures.append({"key": reply.key, "reason": reply.reason, "attempts": reply.attempts})
                gone = gone + 1 if reply.unreachable else 0
                if gone == min(_IN_A_ROW, len(missing)):
                    raise _gone(gone, str(reply.reason))
                if progress:
                    progress(done, len(requests))
    finally:
        kept = [record for record in _lines(folder / FAILURES) if record["key"] not in asked]
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in [*kept, *failures])
        write_whole(folder / FAILURES, "".join(lines))
    return answered, {record["key"]: str(record["reason"]) for record in failures}


def read_answers(folder: Path) -> dict[str, dict[str, Any]]:
    """Key -> record of all answers in a folder; a line that a kill cut is no answer."""
    return {record["key"]: record for record in _lines(folder / ANSWERS)}


def parse(text: str, form: type[BaseModel]) -> BaseModel:
    """The first JSON object in a text, as `form`; `Unusable` if there is none, or it does not fit."""
    begin = text.find("{")
    if begin < 0:
        raise Unusable(f"no JSON in the answer: {_short(text)}")
    try:
        table, _ = json.JSONDecoder().raw_decode(text, begin)
    except ValueError:
        raise Unusable(f"broken JSON: {_short(text)}") from None
    try:
        return form.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Unusable(f"JSON of another form: {where or 'the whole'}: {first['msg']}") from None


def _gone(in_a_row: int, reason: str) -> AccordError:
    return AccordError(
        "The annotator cannot be reached.",
        got=f"{in_a_row} failures in a row, the last: {reason}",
        fix="mend that, then run again: it goes on from the answers that are there",
    )


def _open(path: Path) -> Any:
    """For appending, behind the last whole line."""
    file = path.open("a+b")
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
    return file


def _append(file: Any, record: Mapping[str, Any]) -> None:
    file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
    file.flush()
    os.fsync(file.fileno())


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:80] + "…")
