"""Text from files that people bring: whether compressed, in which encoding, what parts the cells of a table; TOML."""

import codecs
import csv
import gzip
import io
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from accord.errors import AccordError

_MARKS = (  # UTF-32's little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_DEEPEST = 20  # tables within tables in a TOML file: studies need five
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a compressed file that is cut off or damaged raises."""

csv.field_size_limit(2**31 - 1)  # the default refuses cells longer than 131,072 characters


def ending(path: Path) -> str:
    """The ending that says what is in a file, in small letters, without that of its compression.

    >>> ending(Path("A.CSV.gz"))
    '.csv'
    """
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, uncompressed where its name ends in ".gz"."""
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def unreadable(path: Path, error: BaseException) -> AccordError:
    """The error for whatever stopped the reading of a file."""
    if isinstance(error, FileNotFoundError):
        return AccordError("The file does not exist", where=path, fix="check the path")
    if isinstance(error, BROKEN):
        return AccordError("The compressed file is damaged or cut off", where=path, got=error)
    return AccordError(f"The file cannot be read: {getattr(error, 'strerror', None) or error}", where=path)


def encoding(data: bytes) -> tuple[str, int]:
    """The encoding that a byte order mark names, and the bytes of the mark; UTF-8 and 0 without a mark.

    >>> encoding(b"plain"), encoding("marked".encode("utf-8-sig"))
    (('utf-8', 0), ('utf-8', 3))
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name, len(mark)
    return "utf-8", 0


def decode(data: bytes, path: Path) -> str:
    """The text of a whole file: UTF-8, or UTF-16 and UTF-32 with a byte order mark, which is dropped.

    Raises:
        AccordError: it is in another encoding; names the line.
    """
    name, start = encoding(data)
    body = data[start:]
    try:
        text = body.decode(name)
    except UnicodeDecodeError as error:
        before = body[: error.start].decode(name, errors="replace")
        got = f"byte 0x{body[error.start]:02x} after {before[-20:].splitlines()[-1:] or ['']}"
        raise _not_text(path, before, got, name) from None
    if "\0" in text:
        raise _not_text(path, text[: text.index("\0")], "a zero byte (is it UTF-16 without a byte order mark?)", name)
    return text


def _not_text(path: Path, before: str, got: str, name: str) -> AccordError:
    return AccordError(
        "The file is not UTF-8 text" if name == "utf-8" else f"The file begins like {name[:6].upper()} and is not",
        where=f"{path}:{before.count(chr(10)) + 1}",
        got=got,
        wanted="UTF-8, or UTF-16 with a byte order mark",
        fix="save it as UTF-8 (a spreadsheet: as CSV UTF-8)",
    )


def find_delimiter(text: str, where: object) -> str:
    """What stands between the cells of a table with a header line: comma, semicolon, tab or vertical bar.

    It splits the header. If several do, it is the delimiter with which the most lines have as many cells as the header.
    A first line "sep=;", as spreadsheets write it, decides.

    >>> find_delimiter("word;kind\\nbee;insect, small\\n", "a file")
    ';'

    Raises:
        AccordError: two of them split the lines equally well.
    """
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    if stated := _stated(first):
        return stated
    widths = {}
    for delimiter in DELIMITERS:
        header = next((cells for _, cells in records(text, delimiter) if isinstance(cells, list)), [])
        if len(header) > 1:
            widths[delimiter] = len(_trimmed(header))
    if len(widths) < 2:
        return next(iter(widths), ",")
    fitting = {delimiter: _fitting(text, delimiter, width) for delimiter, width in widths.items()}
    best, second = sorted(fitting, key=lambda delimiter: -fitting[delimiter])[:2]
    if fitting[best] == fitting[second]:
        raise AccordError(
            "What stands between the cells of this table is not clear",
            where=where,
            got=first.strip()[:80],
            wanted=f"either {DELIMITERS[best]} or {DELIMITERS[second]}",
            fix='put cells that hold the other one in quotes, or begin the file with the line "sep=;"',
        )
    return best


def records(text: str, delimiter: str, *, quotes: bool = True) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """The lines of a table that are not blank: the number of the first line of each, and its cells or its fault.

    A quoted cell may span lines. A line "sep=;" before the header is passed over.

    >>> list(records("word,kind\\n\\nbee,insect\\n", ","))
    [(1, ['word', 'kind']), (3, ['bee', 'insect'])]
    """
    lines = io.StringIO(text, newline="")
    if quotes:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    begun = False
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield number, error
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells) or (not begun and _stated(delimiter.join(cells))):
            continue
        begun = True
        yield number, cells


def _stated(line: str) -> str | None:
    """The delimiter that a line "sep=;" states."""
    line = line.strip("\r\n").strip('"')
    return line[4:] if line[:4].lower() == "sep=" and line[4:] in DELIMITERS else None


def _trimmed(cells: list[str]) -> list[str]:
    """The cells without empty ones at the end, as trailing delimiters leave them."""
    width = max((i for i, cell in enumerate(cells, start=1) if cell.strip()), default=0)
    return cells[:width]


def _fitting(text: str, delimiter: str, width: int) -> int:
    return sum(isinstance(cells, list) and len(_trimmed(cells)) == width for _, cells in records(text, delimiter))


def tables(text: str) -> dict[str, Any]:
    """What a TOML text holds.

    >>> tables("[text]\\nlimit = 9")
    {'text': {'limit': 9}}

    Raises ValueError (or RecursionError) if it is not valid, or nested deeper than any of our files is.
    """
    content, depth = tomllib.loads(text), 0
    level: list[Any] = [content]
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} deep")
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [inner for inside in parts for inner in inside if isinstance(inner, dict | list)]
    return content
