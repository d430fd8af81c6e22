"""From a file to rows: each row knows its place in the file, so that every error can name it."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from accord.errors import AccordError, nearest
from accord.textfile import BROKEN, decode, ending, find_delimiter, open_bytes, records, unreadable

ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
YES, NO = ("yes", "true", "y", "t"), ("no", "false", "n", "f")
_WHOLE = re.compile(r"([01])(\.0*)?")  # 1 and 0, as spreadsheets and data frames write them too

Made = TypeVar("Made")


@dataclass(frozen=True)
class DataFile:
    """A data file read once: its bytes, uncompressed, and the fingerprint of the file."""

    path: Path
    data: bytes = field(compare=False, repr=False)
    sha256: str

    @classmethod
    def open(cls, path: Path) -> "DataFile":
        """Read a file, which must exist and hold something; one that ends in .gz is uncompressed."""
        try:
            raw = path.read_bytes()
            with open_bytes(path) as file:
                data = file.read()
        except (OSError, ValueError, *BROKEN) as error:  # ValueError: a path with a zero byte
            raise unreadable(path, error) from None
        if not data.strip():
            raise AccordError("The file is empty", where=path, wanted="at least one row")
        return cls(path, data, hashlib.sha256(raw).hexdigest())

    @cached_property
    def text(self) -> str:
        """The file as text; AccordError where it is none."""
        text = decode(self.data, self.path)
        if not text.strip():
            raise AccordError("The file is empty", where=self.path, wanted="at least one row")
        return text

    @cached_property
    def delimiter(self) -> str | None:
        """What stands between the cells of a .csv or .tsv file; None for others."""
        usual = usual_delimiter(self.path)
        return find_delimiter(self.text, self.path) if usual == "," else usual


def usual_delimiter(path: Path) -> str | None:
    """What stands between cells by a file's ending; a .csv may have another.

    >>> usual_delimiter(Path("pairs.csv.gz"))
    ','
    """
    return {".csv": ",", ".tsv": "\t"}.get(ending(path))


class CellError(AccordError):
    """A cell that gives no item: missing, no text, or an unknown word. The row is left out, and counted."""


@dataclass(frozen=True)
class DataRow:
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
        if text and _encodes(text):
            return text
        problem = "is empty" if text == "" else "holds half a character" if text else "is not text"
        raise self._wrong(column, problem, "some text")

    def passage(self, column: str) -> str:
        r"""A column's text as `text` gives it, but that its first line keeps its indentation, if it is not one space.

        >>> DataRow({"body": " x "}, "row 1").passage("body"), DataRow({"body": "\n  x\n"}, "row 2").passage("body")
        ('x', '  x')
        """
        self.text(column)
        return indented(str(self.values[column]))

    def first_of(self, *columns: str) -> str:
        """The first of these columns that there is."""
        return next((column for column in columns if column in self.values), columns[0])

    def texts(self) -> dict[str, str]:
        """Every column that has a text, or nothing in it ("")."""
        texts = {column: as_text(value) for column, value in self.values.items()}
        for column, text in texts.items():
            if text and not _encodes(text):
                raise self._wrong(column, "holds half a character", "some text")
        return {column: text for column, text in texts.items() if text is not None}

    def flag(self, column: str, yes: Sequence[str] = (), no: Sequence[str] = ()) -> bool:
        """A yes/no column: yes, true, y, t or 1, and no, false, n, f or 0, or else further words, in any case.

        >>> DataRow({"gold": "TRUE"}, "row 1").flag("gold")
        True
        >>> DataRow({"gold": "nein"}, "row 2").flag("gold", no=["Nein"])
        False
        """
        text = as_text(self.value(column))
        word = "" if text is None else text.casefold()
        for words, answer in ((YES, True), (NO, False), (yes, True), (no, False)):
            if word in (own.strip().casefold() for own in words):
                return answer
        if whole := _WHOLE.fullmatch(word):
            return whole[1] == "1"
        if text == "":
            raise self._wrong(column, "is empty", "yes or no")
        own_words = f", {' or '.join([*yes, *no])}" if yes or no else ""
        raise self._wrong(column, "holds no yes or no", f"yes or no, true or false, 1 or 0{own_words}")

    def one_of(self, column: str, words: Sequence[str]) -> str:
        """A column that holds one of a few words, in any case."""
        text = self.text(column).lower()
        if text not in words:
            raise self._wrong(column, "holds an unknown word", " or ".join(words))
        return text

    def _wrong(self, column: str, problem: str, wanted: str) -> CellError:
        got = repr(self.values[column])
        return CellError(f"Column {column!r} {problem}", where=self.where, got=got[:80], wanted=wanted)


def as_text(value: object) -> str | None:
    """A single value as stripped text ("" for null and not-a-number); None for what has none: lists, tables, infinity.

    >>> as_text(" 3 "), as_text(0.5), as_text(None), as_text([1])
    ('3', '0.5', '', None)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and math.isinf(value):
        return None
    return str(value).strip() if isinstance(value, str | int | float | Decimal | date | time) else None


def indented(text: str) -> str:
    """A text without space around it, but that its first line keeps its indentation, if it is not one space."""
    stripped = text.strip()
    indentation = text[: text.index(stripped)].rpartition("\n")[2]
    return stripped if indentation in ("", " ") else indentation + stripped


def _encodes(text: str) -> bool:
    """False for half of a surrogate pair, written as an escape: no tokenizer takes it."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def sift(rows: Sequence[DataRow], make: Callable[[DataRow], Iterable[Made]]) -> tuple[list[Made], dict[str, list[str]]]:
    """What the rows give, and the places of those that give nothing because of a missing or unknown cell, by reason.

    Raises:
        AccordError: more than half of the rows give nothing, or a column is missing altogether.
    """
    results: list[Made] = []
    left_out: dict[str, list[str]] = {}
    first: CellError | None = None
    for row in rows:
        try:
            results += make(row)
        except CellError as error:
            first = first or error
            left_out.setdefault(error.problem[0].lower() + error.problem[1:], []).append(row.where)
    wrong = sum(map(len, left_out.values()))
    if first is not None and 2 * wrong > len(rows):
        problem = first.problem if len(rows) == 1 else f"{first.problem}, and {wrong} of {len(rows)} rows are like that"
        raise AccordError(problem, where=first.where, got=first.got, wanted=first.wanted)
    return results, left_out


def read_rows(source: DataFile, usual: str | None = None) -> list[DataRow]:
    """The rows of a .csv, .tsv, .jsonl, .json or .parquet file, or of one that is compressed (.gz).

    Tables have a header line. A .json file is a list of objects or has one a line, and so is a .jsonl file.
    A file of any other ending is read like one that ends in `usual`, where that is given.
    """
    kind = ending(source.path)
    kind = usual if usual and kind not in ENDINGS else kind
    if kind in (".jsonl", ".json"):
        return read_json_list(source) if source.text.lstrip().startswith("[") else read_jsonl(source)
    if kind in (".csv", ".tsv"):
        return read_table(source)
    if kind == ".parquet":
        return read_parquet(source)
    raise AccordError(
        "The data file has an unknown ending", where=source.path, got=kind, wanted=", ".join(ENDINGS) + ", or these .gz"
    )


def read_jsonl(source: DataFile) -> list[DataRow]:
    """One JSON object a line; blank lines are passed over."""
    # not splitlines(): that also splits at U+2028 and the like, which JSON strings may hold
    lines = ((number, line) for number, line in enumerate(source.text.split("\n"), start=1) if line.strip())
    return _objects((_parse(line, source.path, number), f"{source.path}:{number}") for number, line in lines)


def read_json_list(source: DataFile) -> list[DataRow]:
    """One JSON list of objects; rows are named by their number in the list, from 1."""
    entries = _parse(source.text, source.path, 1)
    if not isinstance(entries, list):
        raise AccordError(
            "The data file is not a JSON list", where=source.path, got=_kind(entries), wanted="[{…}, {…}, …]"
        )
    return _objects((entry, f"{source.path}: entry {number}") for number, entry in enumerate(entries, start=1))


def _objects(entries: Iterable[tuple[object, str]]) -> list[DataRow]:
    """Rows of JSON objects; a key that only others have is a missing cell."""
    objects: list[tuple[dict[str, object], str]] = []
    for value, where in entries:
        if not isinstance(value, dict):
            raise AccordError("An entry is not a JSON object", where=where, got=_kind(value), wanted='{"column": …}')
        if not all(map(_encodes, value)):
            raise AccordError("The name of a column holds half a character", where=where, got=ascii(list(value))[:80])
        objects.append((value, where))
    columns = {column: None for value, _ in objects for column in value}
    return [DataRow({**columns, **value}, where) for value, where in objects]


def _parse(text: str, path: Path, first_line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{first_line + error.lineno - 1}"
        raise AccordError(f"Malformed JSON: {error.msg} (column {error.colno})", where=where) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets in thousands of brackets
        raise AccordError(f"JSON that cannot be read: {error}", where=f"{path}:{first_line}") from None


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a string", type(None): "null"}.get(type(value), repr(value)[:80])


def read_parquet(source: DataFile) -> list[DataRow]:
    """The rows of a Parquet file, named by their number, from 1."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(pyarrow.BufferReader(source.data)) as file:
            entries = file.read().to_pylist()
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise AccordError(
            "This is not a readable Parquet file", where=source.path, got=str(error).partition("\n")[0]
        ) from None
    return [DataRow(entry, f"{source.path}: row {number}") for number, entry in enumerate(entries, start=1)]


def read_table(source: DataFile, *, columns: Sequence[str] | None = None) -> list[DataRow]:
    """A table of cells: .csv, with quotes as in spreadsheets, or any other ending, with tabs and no quotes.

    Without `columns` the first line names them; a column without a name is left alone. With `columns` there is no
    such line, and further cells of a line are left alone. A line that ends early lacks the cells after its end.
    """
    lines = _lines(source)
    names = columns
    if names is None:
        where, header = next(lines, (str(source.path), []))
        names = header[: max((i for i, name in enumerate(header, start=1) if name), default=0)]
        named = [name for name in names if name]
        if not named or len(set(named)) < len(named):
            raise AccordError("The header names a column twice, or none", where=where, got=", ".join(header))
    rows, short = [], []
    for where, cells in lines:
        if columns is None and any(cells[len(names) :]):
            raise _wrong_width(where, cells, names)
        short += [(where, cells)] if len(cells) < len(names) else []
        padded = [*cells, *[None] * (len(names) - len(cells))]
        rows.append(DataRow({name: cell for name, cell in zip(names, padded, strict=False) if name}, where))
    if rows and len(short) == len(rows):
        raise _wrong_width(*short[0], names)
    return rows


def _wrong_width(where: str, cells: Sequence[str], names: Sequence[str]) -> AccordError:
    return AccordError(
        "A line has the wrong number of columns",
        where=where,
        got=f"{len(cells)}: {' | '.join(cells)[:80]}",
        wanted=f"{len(names)}: {', '.join(names)}",
    )


def _lines(source: DataFile) -> Iterator[tuple[str, list[str]]]:
    quotes = ending(source.path) == ".csv"
    for number, cells in records(source.text, source.delimiter or "\t", quotes=quotes):
        where = f"{source.path}:{number}"
        if not isinstance(cells, list):
            raise AccordError(f"A line cannot be read: {cells}", where=where)
        yield where, [cell.strip() for cell in cells]
