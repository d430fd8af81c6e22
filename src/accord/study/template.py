"""A commented study file, written from the descriptions of the sections' fields.

Settings that are left out begin with "#" and no space, so that taking it away brings them in: one "#" for a whole
section, and then one more for a key of it. Text begins with "# ".
"""

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import NoneType
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
_FIRST, _LAST = ("gap", "tasks", "text", "concepts", "heads", "perplexity"), ("search", "machines")
_WIDTH = 112
_MANY = 3  # keys of another section to which it is worth to refer
_COLUMN = 36  # where explanations begin at the latest, behind the settings
_TOP = """\
# A study file of accord. See what it asks for: accord run FILE --dry-run. Run it: accord run FILE
#
# What begins with "#" and no space behind it is left out: a [table], or a key = value.
#   - To use a section, remove the first "#" of each of its lines.
#   - Keys that still begin with "#" then show their default, or an example where they have none. Remove it to set one.
#   - A name without a value is a key that fits only some studies.
# Paths are relative to this file.
#"""


@checked
def write_template(path: Path, *, replace: bool = False) -> None:
    """Write the template to `path`. Raises AccordError if something else is there, without `replace`.

    >>> from tempfile import mkdtemp
    >>> write_template(path := Path(mkdtemp()) / "study.toml")
    >>> path.read_text(encoding="utf-8").splitlines()[0]
    '# A study file of accord. See what it asks for: accord run FILE --dry-run. Run it: accord run FILE'
    """
    text = template()
    if path.is_dir() or not path.parent.is_dir():
        raise AccordError("A study file cannot be written there.", where=path, wanted="a file in a folder")
    if path.exists() and not replace and path.read_bytes() != text.encode():
        raise AccordError(
            "This file is there already, and is not the template.",
            where=path,
            fix="add --replace to write over it; or, to keep it, name another: accord init FILE",
        )
    write_whole(path, text)


def template() -> str:
    """The text of the template: required keys filled in; the others commented out, with their defaults."""
    sections = dict(study_sections())
    lines = _TOP.splitlines()
    index = [
        ("[backbone]", Study.model_fields["backbone"]),
        *((header_of(key, of), of) for key, of in sections.items()),
    ]
    for header, of in index:
        about = of.description or BackboneSection.__doc__ or ""
        lines += textwrap.wrap(about, _WIDTH, initial_indent=f"#   {header:<18}", subsequent_indent="#" + " " * 21)
    lines += ["", *_entries(_keys(Study, without=set(Study.model_fields) - {"name", "seeds"}))]
    explained: dict[_Key, str] = {}
    lines += ["", *_rule("[backbone]", ""), *_table("[backbone]", BackboneSection, _Explained(explained))]
    for key, of in sections.items():
        lines += _section(key, of, explained)
    return "\n".join(lines) + "\n"


def study_sections() -> Iterator[tuple[str, FieldInfo]]:
    """The sections that a study may have but for the backbone, in the order of the template."""
    fields = {key: of for key, of in study_model().model_fields.items() if any(models_in(of.annotation))}
    first = [key for key in _FIRST if key in fields]
    middle = [key for key in fields if key not in (*_FIRST, *_LAST, "backbone")]
    return ((key, fields[key]) for key in (*first, *middle, *_LAST))


def header_of(key: str, of: FieldInfo) -> str:
    """How the table of a section is headed."""
    if get_origin(of.annotation) is list:
        return f"[[{key}]]"
    return f"[{key}.my-task]" if get_origin(of.annotation) is dict else f"[{key}]"


def _section(key: str, of: FieldInfo, keys: "dict[_Key, str]") -> Iterator[str]:
    """A section, or each of its kinds: commented out, but for the gap."""
    kinds, header = list(models_in(of.annotation)), header_of(key, of)
    explained = _Explained(keys, {_kind(kind): kind for kind in kinds} if len(kinds) > 1 else {})
    common = set.intersection(*(set(getattr(kind, "needs", ())) for kind in kinds)) if explained.kinds else set()
    about = f"{of.description} {_needs(common)} A table each, of one of these kinds: {', '.join(explained.kinds)}."
    yield from ("", *_rule(header, about if explained.kinds else ""))
    for kind in kinds:
        lines = list(_table(header, kind, explained))
        yield from ["", *_comment(described(kind, common))] if explained.kinds else _comment(described(kind))
        yield from lines if key == "gap" else map("#{}".format, lines)
        for name, inner in kind.model_fields.items():
            if len(alternatives := _alternatives(inner)) > 1:
                for choice in alternatives:
                    yield from ("", *_comment(described(choice)))
                    yield from map("#{}".format, _table(f"[{key}.{name}]", choice, _Explained(keys)))


def _rule(header: str, about: str) -> Iterator[str]:
    """A line across the page, and what the section is about."""
    yield f"# ---- {header} ".ljust(_WIDTH, "-")
    yield from _comment(about)


def described(section: type[BaseModel], said: Collection[str] = ()) -> str:
    """What a section says of itself, and which others it needs, but for those that have been said."""
    return f"{section.__doc__ or ''} {_needs([key for key in getattr(section, 'needs', ()) if key not in said])}"


def _needs(keys: Collection[str]) -> str:
    fields = study_model().model_fields
    return (
        f"Needs {_and([header_of(key, fields[key]) for key in sorted(keys, key=list(fields).index)])}." if keys else ""
    )


@dataclass
class _Explained:
    """Which keys have been explained: each once, where it is met first. And what the kinds of a section share.

    Attributes:
        keys: those that are explained, with value and text, and the table where that was.
        kinds: of the section, by name; empty where there is but one.
    """

    keys: dict["_Key", str]
    kinds: dict[str, type[BaseModel]] = field(default_factory=dict)

    def owners(self, key: "_Key", get: Callable[[type[BaseModel]], Iterable["_Key"]]) -> list[str]:
        """The kinds that have a key with this value and text."""
        return [name for name, kind in self.kinds.items() if key in get(kind)]


@dataclass(frozen=True)
class _Key:
    """A key of a table.

    Attributes:
        setting: with a value, as it would be written; the name alone where none fits every study.
        needed: whether it is set where the table is in use.
    """

    name: str
    setting: str
    about: str
    needed: bool

    @property
    def left(self) -> str:
        """What stands before its explanation."""
        if self.setting == self.name:
            return f"# {self.name}"
        return self.setting if self.needed else f"#{self.setting}"


def _keys(section: type[BaseModel], without: Iterable[str] = ()) -> Iterator[_Key]:
    """The keys of a table that are no tables, those first that it must have."""
    keys = [
        _Key(name, _setting(name, of), of.description or "", name == "kind" or _is_shown_in_use(of))
        for name, of in fields_of(section)
        if name not in without and not _alternatives(of)
    ]
    return iter(sorted(keys, key=lambda key: (key.name != "kind", not key.needed)))


def fields_of(section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The keys that a table may have: not those that a kind does without, or that the study has in its place."""
    for name, of in section.model_fields.items():
        if of.annotation is not NoneType and not _is_of_study(name, section):
            yield name, of


def _is_shown_in_use(of: FieldInfo) -> bool:
    """Whether a table must have this key, or is shown with another value than its default."""
    return of.is_required() or (of.default is not None and bool(of.examples))


def _is_of_study(name: str, section: type[BaseModel]) -> bool:
    """Whether the study has this key in place of the section."""
    return name == "seed" and "batch" in section.model_fields


def _alternatives(of: FieldInfo) -> list[type[BaseModel]]:
    """The tables that a key may be, if it is one."""
    return list(models_in(of.annotation)) if isinstance(of.default, BaseModel) else []


def _setting(name: str, of: FieldInfo) -> str:
    default = of.get_default(call_default_factory=True)
    if of.examples:
        default = of.examples[0]
    elif default is None or of.is_required():
        return name
    return f"{name} = {as_toml(default)}"


def _table(header: str, section: type[BaseModel], explained: _Explained) -> Iterator[str]:
    """The lines of a table, as they would stand in a study that has it, and those of the tables in it."""
    inner = {name: _alternatives(of) for name, of in section.model_fields.items() if _alternatives(of)}
    about = {name: section.model_fields[name].description or "" for name in inner}
    below = [
        _Key(name, name, f"{about[name]} It is a table, one of those below.", needed=False)
        for name, tables in inner.items()
        if len(tables) > 1
    ]
    known = [name for name, tables in inner.items() if _is_known(tables, explained)]
    yield header
    yield from _explain(header, [*_keys(section), *below], explained, _keys, known)
    for name, tables in inner.items():
        if len(tables) == 1 and name not in known:
            inside = f"[{header.strip('[]')}.{name}]"
            yield from ("", *_comment(about[name]), inside)
            yield from _explain(inside, list(_keys(tables[0])), explained, partial(_keys_of, name))


def _is_known(tables: Sequence[type[BaseModel]], explained: _Explained) -> bool:
    """Whether all keys of a table have been explained."""
    return len(tables) == 1 and set(_keys(tables[0])) <= explained.keys.keys()


def _keys_of(name: str, kind: type[BaseModel]) -> Iterator[_Key]:
    """The keys of a table within a kind; none where it has no such table."""
    of = kind.model_fields.get(name)
    for table in [] if of is None else _alternatives(of):
        yield from _keys(table)


def _explain(
    header: str,
    keys: Sequence[_Key],
    explained: _Explained,
    get: Callable[[type[BaseModel]], Iterable[_Key]],
    tables: Sequence[str] = (),
) -> Iterator[str]:
    """The keys of a table: those that are new with their explanation, by the kinds that have them; others by name.

    Args:
        get: gives the keys of the same table of another kind.
        tables: those within it that have been explained.
    """
    known = {key: explained.keys[key] for key in keys if key in explained.keys}
    counts = Counter(known.values())
    known = {key: place for key, place in known.items() if place == header or counts[place] >= _MANY}
    new = [key for key in keys if key not in known]
    explained.keys.update(dict.fromkeys(new, header))
    groups: dict[str, list[_Key]] = {"": [key for key in keys if key.needed]}
    for key in sorted(new, key=lambda key: len(explained.owners(key, get))):
        if not key.needed:
            groups.setdefault(_whose(explained.owners(key, get), explained), []).append(key)
    lines = [line for whose, entries in groups.items() for line in ([whose] if whose and entries else []) + entries]
    yield from _entries([replace(key, about="") if isinstance(key, _Key) and key in known else key for key in lines])
    places: dict[str, list[str]] = {header: list(tables)} if tables else {}
    for key, place in known.items():
        if not key.needed:
            places.setdefault(place, []).append(key.name)
    for place, names in places.items():
        yield from _comment(f"{'As above' if place == header else f'As in {place}'}: {', '.join(names)}.")


def _whose(owners: Sequence[str], explained: _Explained) -> str:
    if len(owners) < 2:
        return ""
    return "Of every kind:" if len(owners) == len(explained.kinds) else f"Of {_and(owners)}:"


def _entries(keys: Iterable[_Key | str]) -> Iterator[str]:
    """Settings with their explanations in a column behind them, and headlines between them."""
    keys = list(keys)
    column = min(max((len(key.left) for key in keys if isinstance(key, _Key)), default=0) + 2, _COLUMN)
    for key in keys:
        if isinstance(key, str):
            yield from _comment(key)
            continue
        texts = textwrap.wrap(" ".join(key.about.split()), _WIDTH - column - 3, break_on_hyphens=False)
        if len(key.left) + 1 < column and texts:
            yield f"{key.left:<{column}}# {texts.pop(0)}"
        else:
            yield key.left
        yield from (" " * column + f"# {text}" for text in texts)


def _kind(section: type[BaseModel]) -> str:
    return str(section.model_fields["kind"].default)


def as_toml(value: Any) -> str:
    """A value as a study file spells it."""
    if isinstance(value, dict) and value:
        return "{ " + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + " }"
    # JSON spells strings, numbers, booleans and lists as TOML does
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> list[str]:
    text = " ".join(text.split())
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
