"""Docstrings as the manual shows them: what `make docs` does to each before mkdocstrings renders it (zensical.toml)."""

import re
from typing import Any

from griffe import Extension

_DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1\S.*|\n\1 +\S.*)*", re.MULTILINE)
_SEVERAL = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +\S.*)*)", re.MULTILINE)


class Docstrings(Extension):  # type: ignore[misc]  # griffe comes with the extra `docs`
    """Examples are code, and parameters that share an explanation have it each."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Griffe calls this for each object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = shown(obj.docstring.value)


def shown(docstring: str) -> str:
    """A docstring with its doctests fenced, and `a, b: text` of its sections as `a: text` and `b: text`.

    >>> print(shown("Sum.\\n\\nArgs:\\n    a, b: numbers."))
    Sum.
    <BLANKLINE>
    Args:
        a: numbers.
        b: numbers.
    >>> shown(">>> 1 + 1\\n2")
    '```pycon\\n>>> 1 + 1\\n2\\n```'
    """
    head, section, rest = re.split(r"(^(?:Args|Attributes):\n|\Z)", docstring, maxsplit=1, flags=re.MULTILINE)
    rest = _SEVERAL.sub(lambda each: "\n".join(f"{each[1]}{name}: {each[3]}" for name in each[2].split(", ")), rest)
    return _DOCTEST.sub(lambda test: f"{test[1]}```pycon\n{test[0]}\n{test[1]}```", head + section + rest)
