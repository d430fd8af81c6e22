"""From a source of texts to rows: one broken row is a row with a problem, not the end of the reading."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from accord.errors import AccordError, nearest
from accord.textfile import BROKEN, decode, encoding, ending, find_delimiter, open_bytes, records, unreadable

Unit = Literal["line", "file"]
PROSE: dict[str, Unit] = {".txt": "line", ".md": "file"}  # ending -> what one text of such a file is by default
ENDINGS = (".jsonl", ".csv", ".tsv", ".parquet", *PROSE)

NOT_UTF8 = "not UTF-8"


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row of a source.

    Attributes:
        where: its place, such as "reviews.csv:17".
        values: its values by column; empty if it could not be read.
        problem: why it could not be read, a few words that many rows may share; or None.
        document: what this row is a part of, the same for all rows of it; or None, if it stands for itself.
    """

    where: str
    values: Mapping[str, object] = field(default_factory=dict)
    problem: str | None = None
    document: str | None = None


def file_rows(path: Path, columns: Sequence[str], unit: Unit | None = None) -> Iterator[TextRow]:
    """The rows of a `.jsonl`, `.csv`, `.tsv` (no quoting), `.parquet`, `.txt` or `.md` file, each also with `.gz`.

    Args:
        columns: the columns to read, "a.b" for b within a. A table that lacks one of them is an error; a JSON object
            that does is not.
        unit: what one text of a `.txt` or `.md` file is; by default a line of `.txt`, and the whole of `.md`.

    Raises:
        AccordError: the file cannot be read at all, has another ending, or lacks a column.
    """
    kind = ending(path)
    if kind not in ENDINGS:
        raise AccordError("The file of texts has an unknown ending", where=path, wanted=", ".join(ENDINGS) + ", or .gz")
    try:
        if kind in PROSE:
            _require(columns, ["text"], path)
            yield from _whole(path) if (unit or PROSE[kind]) == "file" else _each_line(path)
        else:
            readers = {".jsonl": _jsonl, ".csv": _table, ".tsv": _table, ".parquet": _parquet}
            yield from readers[kind](path, columns)
    except (OSError, *BROKEN) as error:
        raise unreadable(path, error) from error


def _lines(path: Path) -> Iterator[tuple[str, str | None]]:
    """Where each line that is not blank stands, and what it says: None if that is not UTF-8.

    Only "\\n" ends a line (and a "\\r" before it goes too): U+2028 and the like may stand within a text.
    """
    with open_bytes(path) as file:
        if _marked(path):
            for number, text in enumerate(decode(file.read(), path).split("\n"), start=1):
                if text.strip():
                    yield f"{path}:{number}", text.removesuffix("\r")
            return
        for number, line in enumerate(file, start=1):
            data = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if data.strip():
                yield f"{path}:{number}", _decoded(data.rstrip(b"\r\n"))


def _marked(path: Path) -> bool:
    """Whether a byte order mark says that this is not UTF-8."""
    with open_bytes(path) as file:
        return encoding(file.read(4))[0] != "utf-8"


def _decoded(data: bytes) -> str | None:
    if b"\0" in data:  # UTF-16, most often
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _each_line(path: Path) -> Iterator[TextRow]:
    for where, line in _lines(path):
        yield TextRow(where, problem=NOT_UTF8) if line is None else TextRow(where, {"text": line})


def _whole(path: Path) -> Iterator[TextRow]:
    with open_bytes(path) as file:
        data = file.read()
    try:
        yield TextRow(str(path), {"text": decode(data, path)})
    except AccordError as error:
        yield TextRow(str(error.where), problem=NOT_UTF8)


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[TextRow]:
    for where, line in _lines(path):
        if line is None:
            yield TextRow(where, problem=NOT_UTF8)
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # brackets in thousands of brackets
            yield TextRow(where, problem="not JSON")
            continue
        yield TextRow(where, value) if isinstance(value, dict) else TextRow(where, problem="not a JSON object")


def _table(path: Path, columns: Sequence[str]) -> Iterator[TextRow]:
    """Wrong bytes come through as lone surrogates, which are then found row by row."""
    with open_bytes(path) as file:
        data = file.read()
    marked = encoding(data)[0] != "utf-8"
    text = decode(data, path) if marked else data.decode("utf-8-sig", errors="surrogateescape")
    quotes = ending(path) == ".csv"
    header: list[str] | None = None
    for number, cells in records(text, find_delimiter(text, path) if quotes else "\t", quotes=quotes):
        where = f"{path}:{number}"
        if not isinstance(cells, list):
            yield TextRow(where, problem=f"not CSV ({cells})")
        elif header is None:
            header = [cell.strip() for cell in cells]
            while len(header) > 1 and not header[-1]:
                header.pop()
            _require(columns, header, path)
        else:
            yield _table_row(where, header, cells)


def _table_row(where: str, header: list[str], cells: list[str]) -> TextRow:
    if len(cells) < len(header) or any(cells[len(header) :]):
        return TextRow(where, problem="wrong number of cells")
    if any("\0" in cell or _decoded(cell.encode("utf-8", errors="surrogateescape")) is None for cell in cells):
        return TextRow(where, problem=NOT_UTF8)
    return TextRow(where, dict(zip(header, cells, strict=False)))


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[TextRow]:
    import pyarrow
    from pyarrow import parquet

    try:
        with open_bytes(path) as stream, parquet.ParquetFile(stream) as file:
            whole = whole_columns(columns, file.schema_arrow, path)
            yield from _numbered(path, file.iter_batches(columns=whole))
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise AccordError("This is not a readable Parquet file", where=path, got=str(error).splitlines()[0]) from error


def arrow_rows(folder: Path, files: Sequence[Path], columns: Sequence[str]) -> Iterator[TextRow]:
    """The rows of the Arrow streams of a data set that was saved to disk.

    Raises:
        AccordError: a file is missing or no Arrow stream, or lacks a column.
    """
    import pyarrow

    def read() -> Iterator[Any]:
        for path in files:
            try:
                with pyarrow.memory_map(str(path)) as stream, pyarrow.ipc.open_stream(stream) as batches:
                    whole = whole_columns(columns, batches.schema, folder)
                    yield from (batch.select(whole) for batch in batches)
            except (pyarrow.ArrowException, OSError) as error:
                got = str(error).splitlines()[0]
                raise AccordError("A file of this data set cannot be read", where=path, got=got) from error

    yield from _numbered(folder, read())


def _numbered(where: Path, batches: Iterator[Any]) -> Iterator[TextRow]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield TextRow(f"{where}: row {number}", values)


def choose_split(split: str | None, splits: Collection[str], where: object) -> str:
    """The split of a data set to read; by default "train", or the only split. Raises AccordError if it has none such.

    >>> choose_split(None, ["test", "train"], "org/name"), choose_split(None, ["all"], "org/name")
    ('train', 'all')
    """
    name = split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits), "train"))
    if name not in splits:
        raise AccordError(f"The data set has no split {name!r}", where=where, wanted=nearest(name, splits))
    return name


def whole_columns(columns: Sequence[str], schema: Any, where: object) -> list[str]:
    """The whole columns of a table that hold `columns` ("a" for "a.b"); raises AccordError for one that is missing."""
    _require(columns, list(_names(schema)), where)
    return list(dict.fromkeys(c if c in schema.names else c.partition(".")[0] for c in columns))


def _names(fields: Any, before: str = "") -> Iterator[str]:
    """Names of all columns of an Arrow schema, "a.b" for what lies within others."""
    from pyarrow import types

    for field_ in fields:
        yield before + field_.name
        kind = field_.type
        while types.is_list(kind) or types.is_large_list(kind):
            kind = kind.value_type
        if types.is_struct(kind):
            yield from _names(kind, f"{before}{field_.name}.")


def _require(columns: Sequence[str], names: Sequence[str], where: object) -> None:
    for column in columns:
        if column not in names:
            raise AccordError(f"There is no column {column!r}", where=where, wanted=nearest(column, names))
