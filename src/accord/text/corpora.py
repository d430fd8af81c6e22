"""Corpora: any source becomes texts with labels, on two sides, and whatever is left out is reported."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.arguments import checked
from accord.errors import AccordError, nearest
from accord.text.catalog import TEXTS
from accord.text.rows import NOT_UTF8, TextRow, Unit
from accord.text.sources import source_rows


@dataclass(frozen=True)
class Corpus:
    """Texts in random order (fixed by the seed), so that the first thousand stand for all.

    Attributes:
        source: what the user wrote.
        table: a row a text: `text`, `label` (numbers where all labels are, else strings; NaN or None where one is
            missing; the column exists only if asked for), `held_out` (bool), `row` (where it stood in the source).
        rejected: reason -> the places of the rows that were left out for it.
        duplicates: texts that are equal to an earlier one; they are kept, on the side of the first.
        documents: how many documents the texts are parts of; as many as texts where each stands for itself.
        fingerprint: identity of all texts, labels and sides.
    """

    source: str
    table: pd.DataFrame
    rejected: dict[str, list[str]]
    duplicates: int
    documents: int
    fingerprint: str

    def __repr__(self) -> str:
        return f"Corpus {self.describe()}\n  .train, .held_out, .table"

    @property
    def train(self) -> list[str]:
        """The texts that are not held out, in the order of the table."""
        return list(self.table.loc[~self.table["held_out"], "text"])

    @property
    def held_out(self) -> list[str]:
        """The texts that are held out, in the order of the table."""
        return list(self.table.loc[self.table["held_out"], "text"])

    def describe(self) -> str:
        """One line: how many texts, how many of them held out, and what was left out and why."""
        held_out = int(self.table["held_out"].sum())
        parts = f" of {self.documents:,} documents" if self.documents < len(self.table) else ""
        line = f"{self.source}: {len(self.table):,} texts{parts}, {held_out:,} of them held out"
        if self.duplicates:
            line += f", {self.duplicates:,} repeat another"
        if self.rejected:
            line += "; left out: " + _reasons(self.rejected)
        return line


@checked
def corpus(
    source: str | Path,
    *,
    column: str = "text",
    label: str | None = None,
    split: str | None = None,
    unit: Unit | None = None,
    held_out: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Corpus:
    """Read a corpus and divide it into training and held-out texts.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "letters.csv"
    >>> pd.DataFrame({"text": [f"letter number {i}" for i in range(10)]}).to_csv(path)
    >>> letters = corpus(path, held_out=0.2)
    >>> len(letters.train), len(letters.held_out)
    (8, 2)

    A document is on one side as a whole, and equal texts are on the same side. A document is a text, or all texts
    of one list, or all lines of one `.txt` or `.md` file where there are several such files.

    Args:
        source: a catalog name (`movie-reviews`, `amazon-reviews`, `news-editorials`, `tweets`); a `.jsonl`, `.csv`,
            `.tsv`, `.parquet`, `.txt` or `.md` file, also compressed (`.gz`), a pattern or a folder of them; a folder
            that `datasets` saved to disk; a data set on the hub ("org/name", "org/name:config"); or a local folder in
            hub layout: its card (README.md) names the files, or all are named after splits. What exists as a path wins.
        column: the column of the texts; "a.b" for b within a. Where it holds lists, each element is a text.
        label: a column to keep beside them. The catalog's sets have `sentiment`, which is kept by default.
        split: which split of a data set of the hub or saved to disk; by default `train`, or the only one.
        unit: what one text of a `.txt` or `.md` file is: "line", or "file", the whole of it. By default a line of
            `.txt` and the whole of `.md`.
        held_out: share of the texts that are held out, from 0 to below 1.
        limit: at most so many texts, drawn at random; of a hub data set, so many rows.
        seed: fixes order, limit and division.

    Raises:
        AccordError: no such source or column, a wrong share, limit or unit, or no text is left.
    """
    if not 0 <= held_out < 1:
        raise AccordError("held_out is a share of the texts", got=held_out, wanted="from 0 to below 1")
    if limit is not None and limit < 1:
        raise AccordError("limit is a number of texts", got=limit, wanted="at least 1")
    name = str(source)
    if name in TEXTS and not Path(name).exists():
        label = label or "sentiment"
    columns = list(dict.fromkeys([column, *([label] if label else [])]))
    rows = source_rows(name, columns, unit=unit, split=split, limit=limit, seed=seed)
    texts, rejected = _sort_out(rows, name, column, label)
    texts = [texts[i] for i in Random(f"order {seed}").sample(range(len(texts)), len(texts))[:limit]]
    table = pd.DataFrame({"text": [text.text for text in texts]})
    if label is not None:
        table["label"] = _label_column([text.label for text in texts])
    documents = [text.document for text in texts]
    table["held_out"] = _divide(table["text"].tolist(), documents, held_out, seed)
    table["row"] = [text.where for text in texts]
    duplicates = int(table["text"].duplicated().sum())
    whole = documents.count(None) + len(set(documents) - {None})
    return Corpus(name, table, rejected, duplicates, whole, _fingerprint(table))


@dataclass(frozen=True, slots=True)
class _Text:
    """A text, where it stands, its label, and the document that it shares with others, if any."""

    text: str
    where: str
    label: object
    document: str | None


def _sort_out(
    rows: Iterator[TextRow], source: str, column: str, label: str | None
) -> tuple[list[_Text], dict[str, list[str]]]:
    """The texts of the good rows; reason -> places of the others."""
    texts: list[_Text] = []
    rejected: dict[str, list[str]] = {}
    columns: set[str] = set()
    for row in rows:
        value = _value(row.values, column)
        is_list = isinstance(value, list) and bool(value)
        document = row.document or (row.where if is_list else None)
        places = [f"{row.where}, element {n}" for n in range(1, len(value) + 1)] if is_list else [row.where]
        for where, text in zip(places, value if is_list else [value], strict=True):
            own = _value(row.values, label) if label else None
            wrong_label = NOT_UTF8 if isinstance(own, str) and not _encodes(own) else None
            if problem := row.problem or _problem(text, column) or wrong_label:
                rejected.setdefault(problem, []).append(where)
                columns.update(_columns(row.values))
                continue
            texts.append(_Text(text.strip(), where, None if own is _ABSENT else own, document))
    if not texts:
        raise AccordError(
            "No text is left in this corpus",
            where=source,
            got=_reasons(rejected) or "no rows",
            wanted=f"a column {column!r} of texts" + (f"; there is {nearest(column, columns)}" if columns else ""),
        )
    return texts, rejected


_ABSENT = object()


def _value(values: Mapping[str, object], column: str) -> Any:
    """What stands in a column; "a.b" is b within a, of each element where a is a list."""
    if column in values:
        return values[column]
    first, dot, rest = column.partition(".")
    inner = values.get(first) if dot else None
    if isinstance(inner, Mapping):
        return _value(inner, rest)
    if isinstance(inner, list):
        return [_value(element, rest) for element in inner if isinstance(element, Mapping)]
    return _ABSENT


def _columns(values: Mapping[str, object]) -> Iterator[str]:
    """The columns of a row, and those one step within them."""
    for name, value in values.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)


def _problem(text: object, column: str) -> str | None:
    """Why this is no text, or None if it is one."""
    if text is _ABSENT:
        return f"no column {column!r}"
    if text is None or text == "" or text == []:
        return "empty"
    if not isinstance(text, str):
        return "not text"
    if not text.strip():
        return "empty"
    return None if _encodes(text) else NOT_UTF8


def _encodes(text: str) -> bool:
    """False for half of a surrogate pair, written as an escape: no tokenizer takes it, and no table holds it."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _label_column(labels: list[Any]) -> pd.Series:
    """Labels as numbers if all that are not missing are numbers, where infinity counts as missing; else as strings."""
    present = [None if value is None or str(value).strip() == "" else value for value in labels]
    try:
        numbers = [float("nan") if value is None else float(value) for value in present]
        return pd.Series(numbers, dtype="float64").replace([math.inf, -math.inf], math.nan)
    except (TypeError, ValueError, OverflowError):
        return pd.Series([None if value is None else str(value).strip() for value in present], dtype="object")


def _divide(texts: Sequence[str], documents: Sequence[str | None], share: float, seed: int) -> NDArray[np.bool_]:
    """Which texts are held out: those of a document, and equal ones, together; the share as nearly as that allows."""
    groups = _groups(texts, documents)
    order = sorted(groups, key=lambda group: hashlib.sha256(f"{seed}\0{_name(group, texts)}".encode()).digest())
    target, count = share * len(texts), 0
    held_out: list[list[int]] = []
    for group in order[: len(order) - 1]:  # at least one group remains to train on
        if count + len(group) / 2 <= target:
            held_out.append(group)
            count += len(group)
        elif held_out:
            break
    if not held_out and share > 0 and len(order) > 1:  # even the smallest group is more than the share
        held_out.append(min(order[: len(order) - 1], key=len))
    sides = np.zeros(len(texts), dtype=bool)
    sides[[i for group in held_out for i in group]] = True
    return sides


def _groups(texts: Sequence[str], documents: Sequence[str | None]) -> list[list[int]]:
    """Which texts must stay together: equal ones and those of a document, and what these have in common with others."""
    owner = list(range(len(texts)))

    def find(i: int) -> int:
        while owner[i] != i:
            owner[i] = i = owner[owner[i]]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, (text, document) in enumerate(zip(texts, documents, strict=True)):
        for key in (("text", text), *([] if document is None else [("document", document)])):
            owner[find(i)] = find(first.setdefault(key, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(texts)):
        groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def _name(group: Sequence[int], texts: Sequence[str]) -> str:
    """What the draw knows a group by, whatever the order of its texts and the names of its files."""
    return "\0".join(sorted({texts[i] for i in group}))


def _fingerprint(table: pd.DataFrame) -> str:
    columns = [table[name].tolist() for name in ("text", "label", "held_out") if name in table]
    digest = hashlib.sha256()
    for entry in zip(*columns, strict=True):
        digest.update((json.dumps(entry) + "\n").encode())
    return f"texts:{digest.hexdigest()[:16]}"


def _reasons(rejected: dict[str, list[str]]) -> str:
    return ", ".join(f"{len(places):,} {reason} ({places[0]})" for reason, places in sorted(rejected.items()))
