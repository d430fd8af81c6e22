"""Where in a TOML text a value stands, for error messages; and values in the tables that a text is read into."""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

Path = Sequence[str | int]


def line_of(text: str, path: Path) -> int:
    r"""The line (from 1) of the value at `path`, or of the nearest table around it that is there.

    >>> line_of("seeds = [0]\n[text]\nlimit = 9", ("text", "limit"))
    3

    The text must be valid TOML. TOML can be cut after any whole statement and stays valid: the statement
    that brings a value into being is the one after which the text first contains it. The TOML parser of the
    standard library does the parsing, so every spelling of keys and tables is understood.
    """
    while not _contains(tomllib.loads(text), path):
        path = path[:-1]
    if not path:
        return 1
    lines = [line + "\n" for line in text.split("\n")]
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            content = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # cut within a statement that spans lines
        if _contains(content, path):
            return start + _key_line(lines[start:end], path)
        start = end
    raise AssertionError("unreachable: the whole text contains the path")


def put(content: Any, path: Path, value: Any) -> None:
    """Put another value in place of the one at a path that is there: in plain tables, or in those of tomlkit, which
    keep the comments and the layout of their text.
    """
    value_at(content, path[:-1])[path[-1]] = value


def value_at(content: Any, path: Path) -> Any:
    """The value at a path that is there."""
    for part in path:
        content = content[part]
    return content


def _contains(content: Any, path: Path) -> bool:
    try:
        value_at(content, path)
    except (LookupError, TypeError):
        return False
    return True


def _key_line(statement: list[str], path: Path) -> int:
    """Within a statement of several lines (an inline table or array), the line of the path's last key."""
    key = re.compile(rf"(?<![\w-])[\"']?{re.escape(str(path[-1]))}[\"']?\s*=")
    numbers = [number for number, line in enumerate(statement, 1) if key.search(line)]
    return numbers[0] if len(numbers) == 1 else 1
