"""From a source of texts to rows: one broken row is a row with a problem, not the end of the reading."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.errors import AccordError, nearest

ENDINGS = (".jsonl", ".csv", ".tsv", ".parquet", ".txt")

NOT_UTF8 = "not UTF-8"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source.

    Attributes:
        where: its place, such as "reviews.csv:17".
        values: its values by column; empty if it could not be read.
        problem: why it could not be read, a few words that many rows may share; or None.
    """

    where: str
    values: Mapping[str, object] = field(default_factory=dict)
    problem: str | None = None


def file_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a `.jsonl`, `.csv`, `.tsv` (no quoting), `.parquet` or `.txt` file (each line a text).

    Args:
        columns: those that are wanted; a table without one of them is an error, a JSON object without is not.

    Raises:
        AccordError: the file cannot be read at all, has another ending, or lacks a column.
    """
    readers = {".jsonl": _jsonl, ".csv": _table, ".tsv": _table, ".parquet": _parquet, ".txt": _txt}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise AccordError("The file of texts has an unknown ending", where=path, wanted=", ".join(ENDINGS))
    try:
        yield from reader(path, columns)
    except OSError as error:
        raise AccordError(f"The file cannot be read: {error.strerror or error}", where=path) from error


def _lines(path: Path) -> Iterator[tuple[str, str | None]]:
    """Where each line that is not blank stands, and what it says: None if that is not UTF-8.

    Only "\\n" ends a line (and a "\\r" before it goes too): U+2028 and the like may stand within a text.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            data = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if data.strip():
                yield f"{path}:{number}", _decoded(data.rstrip(b"\r\n"))


def _decoded(data: bytes) -> str | None:
    if b"\0" in data:  # UTF-16, most often
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _txt(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    _require(columns, ["text"], path)
    for where, line in _lines(path):
        yield Row(where, problem=NOT_UTF8) if line is None else Row(where, {"text": line})


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    for where, line in _lines(path):
        if line is None:
            yield Row(where, problem=NOT_UTF8)
            continue
        try:
            value = json.loads(line)
        except ValueError:
            yield Row(where, problem="not JSON")
            continue
        yield Row(where, value) if isinstance(value, dict) else Row(where, problem="not a JSON object")


def _table(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Wrong bytes come through as lone surrogates, which are then found row by row."""
    text = io.StringIO(path.read_bytes().decode("utf-8-sig", errors="surrogateescape"), newline="")
    csv.field_size_limit(2**31 - 1)  # the default refuses texts longer than 131,072 characters
    tabs = path.suffix.lower() == ".tsv"
    reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(text, strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}:{reader.line_num + 1}"  # a quoted cell may span lines: name its first
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(where, problem=f"not CSV ({error})")
            continue
        if cells is None:
            return
        if header is None:
            header = [cell.strip() for cell in cells]
            _require(columns, header, path)
        elif cells:
            yield _table_row(where, header, cells)


def _table_row(where: str, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        return Row(where, problem="wrong number of cells")
    if any("\0" in cell or _decoded(cell.encode("utf-8", errors="surrogateescape")) is None for cell in cells):
        return Row(where, problem=NOT_UTF8)
    return Row(where, dict(zip(header, cells, strict=True)))


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _require(columns, file.schema_arrow.names, path)
            number = 0
            for batch in file.iter_batches(columns=list(columns)):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}: row {number}", values)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise AccordError("This is not a readable Parquet file", where=path, got=str(error).splitlines()[0]) from error


def _require(columns: Sequence[str], known: Sequence[str], where: object) -> None:
    for column in columns:
        if column not in known:
            raise AccordError(f"There is no column {column!r}", where=where, wanted=nearest(column, known))


def hub_rows(source: str, columns: Sequence[str], *, split: str | None, limit: int | None, seed: int) -> Iterator[Row]:
    """Rows of a data set on the hub ("org/name", or "org/name:config"), or in a local folder in hub layout.

    Args:
        split: which split; by default "train", or the only one there is.
        limit: draw this many rows at random instead of reading all.

    Raises:
        AccordError: the package `datasets` is missing, or the data set, split or column is.
    """
    data = _load(source, split)
    _require(columns, data.column_names, source)
    data = data.select_columns(list(columns))
    numbers: Sequence[int] = range(len(data))
    if limit is not None and limit < len(data):
        from random import Random

        numbers = sorted(Random(f"rows {seed}").sample(numbers, limit))
        data = data.select(numbers)
    for number, values in zip(numbers, data, strict=True):
        yield Row(f"{source}: row {number + 1}", values)


def _load(source: str, split: str | None) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise AccordError(
            "data sets of the hub need the package datasets", got=source, fix="pip install 'accord[hub]'"
        ) from error
    datasets.disable_progress_bars()
    name, _, config = (source, "", "") if Path(source).is_dir() else source.partition(":")
    try:
        found = datasets.load_dataset(name, config or None, trust_remote_code=False)
    except Exception as error:  # a dozen classes, some of the HTTP library beneath
        raise AccordError(
            "the data set could not be loaded",
            where=source,
            got=(str(error).strip() or type(error).__name__).splitlines()[0],
            wanted='a data set on the hub, "org/name" or "org/name:config", or a local folder in its layout',
        ) from error
    wanted = split or ("train" if "train" in found or len(found) > 1 else next(iter(found)))
    if wanted not in found:
        raise AccordError(f"The data set has no split {wanted!r}", where=source, wanted=nearest(wanted, found))
    return found[wanted]
