"""A commented study file, written from the descriptions of the sections' fields."""

import json
import textwrap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from accord.arguments import checked
from accord.errors import AccordError
from accord.study.concept_sections import ImportedSection, LCBLMSection, NewHeadSection, TopKSection
from accord.study.explain_sections import ExplainSection
from accord.study.name_sections import NamesSection
from accord.study.pathway_sections import PathwaySection
from accord.study.repair_kinds import RankAlignSection, ReadoutSection
from accord.study.repair_sections import DamageSection
from accord.study.root import Study
from accord.study.sections import Backbone, GapSection, SearchSection
from accord.study.steering_sections import SteeringSection
from accord.study.text_sections import PerplexitySection, TextSection
from accord.study.verdict_sections import VerdictSection
from accord.tasks import CustomTask

_CUSTOM = "[tasks.my-task]"
# What the template shows for keys that have neither a default nor an example of their own.
_EXAMPLES = {
    "size": 2048,
    "patience": 5,
    "micro_batch": 8,
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
def write_template(path: Path) -> None:
    """Write the template to `path`; AccordError if there is something already."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise AccordError("This file exists already.", where=path, fix="Name another: accord init FILE") from None
    except FileNotFoundError:
        raise AccordError("There is no folder to write to.", where=path.parent) from None


def template() -> str:
    """The text of the template: required keys filled in; the others commented out, with their defaults."""
    lines = [
        "# A study file of accord. Run it with: accord run FILE",
        "# Keys that are commented out show their default, or an example where the default is none.",
        "# Paths are relative to this file.",
        "",
        *_keys(Study, without=set(Study.model_fields) - {"name", "seeds"}),
        *_table("[backbone]", Backbone),
        *_table("[[gap]]", GapSection),
        *_optional(_CUSTOM, CustomTask),
        *_optional("[text]", TextSection),
        *_optional("[[concepts]]", TopKSection),
        *_optional("[[concepts]]", LCBLMSection),
        *_optional("[[concepts]]", ImportedSection),
        *_optional("[[heads]]", NewHeadSection),
        *_optional("[perplexity]", PerplexitySection),
        *_optional("[search]", SearchSection),
        *_optional("[names]", NamesSection),
        *_optional("[steering]", SteeringSection),
        *_optional("[explain]", ExplainSection),
        *_optional("[[repair]]", RankAlignSection),
        *_optional("[[repair]]", ReadoutSection),
        *_optional("[verdict]", VerdictSection),
        *_optional("[damage]", DamageSection),
        *_optional("[pathway]", PathwaySection),
    ]
    return "\n".join(lines) + "\n"


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
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    # JSON spells strings, numbers, booleans and lists as TOML does
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 100, initial_indent="# ", subsequent_indent="# ")
