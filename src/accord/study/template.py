"""A commented study file, written from the descriptions of the sections' fields."""

import json
import textwrap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from accord.arguments import checked
from accord.disk import write_whole
from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.study.config import models_in
from accord.study.root import Study, study_model

# Sections that come first, in this order; those of all other capabilities follow as these are listed.
_FIRST = ("gap", "tasks", "text", "concepts", "heads", "perplexity", "search")
# What the template shows for keys that have neither a default nor an example of their own.
_EXAMPLES = {
    "size": 2048,
    "patience": 5,
    "micro_batch": 8,
    "rank": 10,
    "data": "capitals.tsv",
    "generator": "The capital of {country} is",
    "validator": "Is {city} the capital of {country}? Answer:",
    "answer": "city",
    "gold": "correct",
    "group": "continent",
    "similarity": "similarity",
    "split": "split",
    "negated": "The capital of {country} is not",
}


@checked
def write_template(path: Path, *, replace: bool = False) -> None:
    """Write the template to `path`. Raises AccordError if something else is there, without `replace`."""
    text = template()
    if path.is_dir() or not path.parent.is_dir():
        raise AccordError(
            "A study file cannot be written there.", where=path, wanted="a file in a folder that is there"
        )
    if path.exists() and not replace and path.read_bytes() != text.encode():
        raise AccordError(
            "This file is there already, and is not the template.",
            where=path,
            fix="add --replace to write over it; or, to keep it, name another: accord init FILE",
        )
    write_whole(path, text)


def template() -> str:
    """The text of the template: required keys filled in; the others commented out, with their defaults."""
    lines = [
        "# A study file of accord. Run it with: accord run FILE",
        "# Keys that are commented out show their default, or an example where the default is none.",
        "# Paths are relative to this file.",
        "",
        *_keys(Study, without=set(Study.model_fields) - {"name", "seeds"}),
        *_table("[backbone]", BackboneSection),
    ]
    for key, field in _sections():
        table = _table if key == "gap" else _optional
        for section in models_in(field.annotation):  # one, or all its kinds
            lines += table(_header(key, field), section)
    return "\n".join(lines) + "\n"


def _sections() -> list[tuple[str, FieldInfo]]:
    """The sections that a study may have, in the order of the template."""
    fields = {key: field for key, field in study_model().model_fields.items() if any(models_in(field.annotation))}
    first = {key: fields[key] for key in _FIRST if key in fields}
    return [(key, field) for key, field in (first | fields).items() if key != "backbone"]


def _header(key: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is list:
        return f"[[{key}]]"
    return f"[{key}.my-task]" if key == "tasks" else f"[{key}]"


def _optional(header: str, section: type[BaseModel]) -> Iterator[str]:
    """A section that a study may lack: commented out as a whole."""
    return ("# " + line if line and not line.startswith("#") else line for line in _table(header, section))


def _table(header: str, section: type[BaseModel]) -> Iterator[str]:
    yield ""
    yield from _comment(section.__doc__ or "")
    yield header
    inner = {name: type(_shown(field)) for name, field in section.model_fields.items() if _is_table(field)}
    yield from _keys(section, without=inner)
    for name, table in inner.items():
        yield from _table(f"[{header.strip('[]')}.{name}]", table)


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.default, BaseModel)


def _shown(field: FieldInfo) -> Any:
    """The table that stands for a field: its example, where several kinds would do, else its default."""
    return field.examples[0] if field.examples else field.default


def _keys(section: type[BaseModel], without: Collection[str] = ()) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if name not in without and not (name == "seed" and "batch" in section.model_fields):  # the study's own
            yield from _comment(field.description or "")
            needed = field.is_required() or name == "kind"
            yield ("" if needed else "# ") + f"{name} = {_value(name, field)}"


def _value(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is None or field.is_required():
        default = field.examples[0] if field.examples else _EXAMPLES[name]
    return _toml(default)


def _toml(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    # JSON spells strings, numbers, booleans and lists as TOML does
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 100, initial_indent="# ", subsequent_indent="# ")
