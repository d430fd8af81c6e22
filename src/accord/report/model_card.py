"""What the model cards of everything that is shared have: their head, and results as Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any


@dataclass(frozen=True)
class Known:
    """What is known of a model that is shared, beside what its folder says.

    Attributes:
        name: its hub id.
        base: what it stands on, as others can fetch it.
        licence: of the base, as the hub writes it: "apache-2.0".
        results: what was measured of it, as Markdown.
    """

    name: str
    base: str
    licence: str
    results: Sequence[str] = ()


def head(library: str, base: str | None, licence: str | None) -> list[str]:
    """The lines of a card that the hub reads, their end aside.

    >>> head("peft", "org/model", "apache-2.0")
    ['---', 'library_name: peft', 'tags: ["accord"]', 'base_model: "org/model"', 'license: "apache-2.0"']
    """
    lines = ["---", f"library_name: {library}", 'tags: ["accord"]']
    if base is not None and "/" in base:
        lines.append(f"base_model: {json.dumps(base)}")
    return lines if licence is None else [*lines, f"license: {json.dumps(licence)}"]


def short_card(title: str, about: str, opens: str, known: Known) -> str:
    """The card of what accord alone opens: a title, a sentence, the base and its licence, how to open it, results."""
    return "\n".join(
        [
            *head("accord", known.base, known.licence),
            "---",
            "",
            f"# {title}",
            "",
            f"{about} Made with accord.",
            "",
            f"- Base: {plain(known.base)}. Its licence, {plain(known.licence)}, holds for this one, too.",
            "",
            "```python",
            opens,
            "```",
            "",
            *(line for result in known.results for line in (result, "")),
        ]
    )


def without_places(value: Any) -> Any:
    """JSON in which no text is a path from the root of a disk: its last part stands for it.

    >>> without_places({"data": "/home/ada/words.tsv", "seed": 0})
    {'data': 'words.tsv', 'seed': 0}
    """
    if isinstance(value, dict):
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_places(each) for each in value]
    for path in (PurePosixPath, PureWindowsPath) if isinstance(value, str) else ():
        if path(value).is_absolute() and "\n" not in value:
            return path(value).name
    return value


def plain(text: str) -> str:
    """A name on one line, none of it read as Markdown.

    >>> print(plain("a_b <c>"))
    a\\_b \\<c\\>
    """
    return "".join("\\" + c if c in r"\`*_{}[]()#+!|<>~" else c for c in " ".join(text.split()))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its cells as they stand.

    >>> print(markdown_table(("what", "n"), [("a|b", "3")]))
    | what | n |
    | --- | --- |
    | a\\|b | 3 |
    """
    lines = [header, ["---"] * len(header), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
