"""Where in a TOML text a value stands: the line for an error message, the characters for putting in another."""

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

Path = Sequence[str | int]
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_MARK = "\x00the value\x00"  # in no file: TOML has no such character


def line_of(text: str, path: Path) -> int:
    """The line (from 1) of the value at `path`, or of the nearest table around it that is there.

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


def put(text: str, path: Path, value: Any) -> str | None:
    """The text with another value in place of the string or inline table at `path`; all else stays as it is.

    `value` is a string, a number, a boolean or a list of them. The text must be valid TOML that has a value at
    `path`; None if it is no string and no inline table. Whatever looks like the value is tried, and the TOML parser
    of the standard library says whether it is the one: a look-alike in a comment or at another key is not.
    """
    old = value_at(tomllib.loads(text), path)
    for start, end in _strings_and_tables(text):
        if _parsed(text[start:end]) != old:
            continue
        marked = text[:start] + json.dumps(_MARK) + text[end:]
        if _is_marked(marked, path):
            return text[:start] + json.dumps(value, ensure_ascii=False) + text[end:]  # spelled alike in TOML
    return None


def value_at(content: Any, path: Path) -> Any:
    """The value at a path that is there."""
    for part in path:
        content = content[part]
    return content


def _strings_and_tables(text: str) -> Iterator[tuple[int, int]]:
    for found in _STRING.finditer(text):
        yield found.span()
    ends = [found.end() for found in re.finditer("}", text)]
    for found in re.finditer("{", text):
        yield from ((found.start(), end) for end in ends if end > found.start())


def _parsed(literal: str) -> Any:
    try:
        return tomllib.loads(f"value = {literal}")["value"]
    except tomllib.TOMLDecodeError:
        return None


def _is_marked(text: str, path: Path) -> bool:
    try:
        content = tomllib.loads(text)
        return bool(value_at(content, path) == _MARK)
    except (tomllib.TOMLDecodeError, LookupError, TypeError):
        return False


def _contains(content: Any, path: Path) -> bool:
    for part in path:
        try:
            content = content[part]
        except (LookupError, TypeError):
            return False
    return True


def _key_line(statement: list[str], path: Path) -> int:
    """Within a statement of several lines (an inline table or array), the line of the path's last key."""
    key = re.compile(rf"(?<![\w-])[\"']?{re.escape(str(path[-1]))}[\"']?\s*=")
    found = [number for number, line in enumerate(statement, 1) if key.search(line)]
    return found[0] if len(found) == 1 else 1
