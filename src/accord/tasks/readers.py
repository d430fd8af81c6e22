"""From a file to rows: each row knows its place in the file, so that every error can name it."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accord.errors import AccordError, nearest

YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class Source:
    """A data file read once: its text and the fingerprint of its bytes."""

    path: Path
    text: str
    sha256: str

    @classmethod
    def open(cls, path: Path) -> "Source":
        """Read a file, which must exist, hold something, and be UTF-8 (a byte order mark is dropped)."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise AccordError("The file does not exist", where=path, fix="check the path") from None
        except OSError as error:
            raise AccordError(f"The file cannot be read: {error.strerror}", where=path) from error
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            # start counts within `object`, which is the data without its byte order mark
            raise _not_utf8(path, error.object, error.start) from None
        if "\0" in text:
            raise _not_utf8(path, data, data.index(0))
        if not text.strip():
            raise AccordError("The file is empty", where=path, wanted="at least one row")
        return cls(path, text, hashlib.sha256(data).hexdigest())


def _not_utf8(path: Path, data: bytes, at: int) -> AccordError:
    line = data.count(b"\n", 0, at) + 1
    return AccordError(
        "The file is not UTF-8 text",
        where=f"{path}:{line}",
        got=f"byte 0x{data[at]:02x} at offset {at}",
        wanted="UTF-8",
        fix="convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    )


@dataclass(frozen=True)
class Row:
    """One entry of a data file: its values by column, and its place."""

    values: Mapping[str, object]
    where: str

    def value(self, column: str) -> object:
        """What stands in a column, which must be there."""
        if column not in self.values:
            raise AccordError(f"There is no column {column!r}", where=self.where, wanted=nearest(column, self.values))
        return self.values[column]

    def text(self, column: str) -> str:
        """A column's text, stripped; numbers are written out; anything else, or nothing, is an error."""
        text = as_text(self.value(column))
        if text:
            return text
        problem = f"Column {column!r} is empty" if text == "" else f"Column {column!r} is not text"
        raise AccordError(problem, where=self.where, got=repr(self.values[column]), wanted="some text")

    def flag(self, column: str) -> bool:
        """A yes/no column."""
        text = as_text(self.value(column))
        if text is None or text.lower() not in YES_NO:
            raise AccordError(
                f"Column {column!r} holds no yes or no",
                where=self.where,
                got=repr(self.values[column]),
                wanted="yes or no, true or false, 1 or 0",
            )
        return YES_NO[text.lower()]

    def one_of(self, column: str, known: Sequence[str]) -> str:
        """A column that holds one of a few words, in any case."""
        text = self.text(column).lower()
        if text not in known:
            raise AccordError(
                f"Column {column!r} holds an unknown word",
                where=self.where,
                got=repr(text),
                wanted=" or ".join(known),
            )
        return text


def as_text(value: object) -> str | None:
    """A single value as stripped text ("" for null); None for a list or a table, which has no text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value).strip()
    return "" if value is None else None


def read_rows(source: Source) -> list[Row]:
    """The rows of a .jsonl, .csv or .tsv file; tables have a header line."""
    suffix = source.path.suffix.lower()
    if suffix == ".jsonl":
        return read_jsonl(source)
    if suffix in (".csv", ".tsv"):
        return read_table(source, tabs=suffix == ".tsv")
    raise AccordError(
        "The data file has an unknown ending", where=source.path, got=suffix, wanted=".jsonl, .csv or .tsv"
    )


def read_jsonl(source: Source) -> list[Row]:
    """One JSON object a line; blank lines are passed over."""
    rows = []
    # not splitlines(): that also splits at U+2028 and the like, which JSON strings may hold
    for number, line in enumerate(source.text.split("\n"), start=1):
        if line.strip():
            where = f"{source.path}:{number}"
            rows.append(Row(_object(_parse(line, source.path, number), where), where))
    return rows


def read_json_list(source: Source) -> list[Row]:
    """One JSON list of objects; rows are named by their number in the list, from 1."""
    entries = _parse(source.text, source.path, 1)
    if not isinstance(entries, list):
        raise AccordError(
            "The data file is not a JSON list", where=source.path, got=_kind(entries), wanted="[{…}, {…}, …]"
        )
    places = (f"{source.path}: entry {number}" for number in range(1, len(entries) + 1))
    return [Row(_object(entry, where), where) for entry, where in zip(entries, places, strict=True)]


def _parse(text: str, path: Path, first_line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{first_line + error.lineno - 1}"
        raise AccordError(f"Malformed JSON: {error.msg} (column {error.colno})", where=where) from None


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise AccordError("An entry is not a JSON object", where=where, got=_kind(value), wanted='{"column": …}')
    return value


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a string", type(None): "null"}.get(type(value), repr(value))


def read_table(source: Source, *, tabs: bool, columns: Sequence[str] | None = None) -> list[Row]:
    """A table of cells, comma-separated (quotes as in spreadsheets) or tab-separated (quotes mean nothing).

    Without `columns` the first line names them and every line has as many cells. With `columns` there is no
    such line, and further cells of a line are left alone.
    """
    lines = _cells(source, tabs)
    names = columns
    if names is None:
        where, header = next(lines)
        if "" in header or len(set(header)) < len(header):
            raise AccordError("The header names a column twice, or not at all", where=where, got=", ".join(header))
        names = header
    rows = []
    for where, cells in lines:
        if len(cells) < len(names) or (columns is None and len(cells) > len(names)):
            raise AccordError(
                "A line has the wrong number of columns",
                where=where,
                got=f"{len(cells)}: {' | '.join(cells)[:80]}",
                wanted=f"{len(names)}: {', '.join(names)}",
            )
        rows.append(Row(dict(zip(names, cells, strict=False)), where))
    return rows


def _cells(source: Source, tabs: bool) -> Iterator[tuple[str, list[str]]]:
    text = io.StringIO(source.text, newline="")
    reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(text, strict=True)
    while True:
        where = f"{source.path}:{reader.line_num + 1}"  # a quoted cell may span lines: name its first
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise AccordError(f"A line cannot be read: {error}", where=where) from None
        if cells is None:
            return
        cells = [cell.strip() for cell in cells]
        if cells not in ([], [""]):
            yield where, cells
