"""Where in a TOML text a value stands, for error messages; and values in the tables that a text is read into."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

Path = Sequence[str | int]
Place = tuple[str | int, ...]

# What ends a statement, or only looks as if it did: strings, comments, brackets, ends of lines.
_MARKS = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]", re.DOTALL
)


def line_of(text: str, path: Path) -> int:
    r"""The line (from 1) of the value at `path`, or of the nearest table around it that is there.

    >>> line_of("seeds = [0]\n[text]\nlimit = 9", ("text", "limit"))
    3

    The text must be valid TOML.
    """
    lines, place = _lines(text), tuple(path)
    while place and place not in lines:
        place = place[:-1]
    return lines[place] if place else 1


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


@lru_cache(maxsize=4)
def _lines(text: str) -> Mapping[Place, int]:
    """The line of every value. Each statement is read once, by the TOML parser of the standard library, so that every
    spelling of keys and tables is understood.
    """
    lines: dict[Place, int] = {}
    lengths: dict[Place, int] = {}  # of the arrays of tables, so far
    table: Place = ()
    for number, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = ()
            while content:
                ((key, inner),) = content.items()
                table = (*table, key)
                lines.setdefault(table, number)
                if isinstance(inner, list):
                    lengths[table] = lengths.get(table, 0) + 1
                    inner = inner[0]
                if table in lengths:
                    table = (*table, lengths[table] - 1)
                    lines.setdefault(table, number)
                content = inner
        else:
            below = _key_lines(statement)
            for place in _places(content):
                lines.setdefault((*table, *place), number + below.get(place[-1], 0))
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The headers and the values of a text, each with the line that it begins on."""
    begin, line, depth, number = 0, 1, 0, 1
    for mark in _MARKS.finditer(text + "\n"):
        number += mark[0].count("\n")
        depth += (mark[0] in "[{") - (mark[0] in "]}")
        if mark[0] == "\n" and not depth:
            if statement := text[begin : mark.end()].strip():
                yield line, statement
            begin, line = mark.end(), number


def _places(content: Any) -> Iterator[Place]:
    """Every key and every table or list within a value; a number or a word in a list has the place of the list."""
    inner: Any = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in inner:
        if isinstance(key, str) or isinstance(value, dict | list):
            yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *place) for place in _places(value))


def _key_lines(statement: str) -> Mapping[str | int, int]:
    """How far down each key of a statement of several lines (an inline table or array) stands, if it is there once."""
    found: dict[str | int, list[int]] = {}
    for below, line in enumerate(statement.split("\n")):
        for key in re.findall(r"(?<![\w-])[\"']?([\w-]+)[\"']?\s*=", line):
            found.setdefault(key, []).append(below)
    return {key: below[0] for key, below in found.items() if len(below) == 1}
