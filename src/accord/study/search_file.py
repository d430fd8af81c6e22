"""A study file with ranges: read and checked, and made into study files with values in their place."""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tomlkit
from pydantic import BaseModel, ValidationError
from tomlkit.items import InlineTable

from accord.disk import path_of
from accord.errors import AccordError
from accord.study import config, ranges
from accord.study.ranges import Range
from accord.study.search_config import SearchSection
from accord.study.toml_lines import line_of, put, value_at
from accord.text.sources import is_local

T = TypeVar("T")
Place = tuple[str | int, ...]
Values = Mapping[str, Any]  # by the name of the range
_FIXED = ("name", "search", "machines")  # what all trials have in common


@dataclass(frozen=True)
class Ranged:
    """The text of a study with ranges, and what they are."""

    path: Path
    text: str
    ranges: list[Range]

    def study(self, values: Values) -> config.StudyFile:
        """The study with these values; its text is the one with ranges, where errors point. Raises AccordError if it
        is none.
        """
        content = tomllib.loads(self.text)
        for span in self.ranges:
            put(content, span.path, values[span.name])
        return config.validated(self.path, self.text, content)

    def each(self, make: Callable[[config.StudyFile], T]) -> list[T]:
        """What `make` gives for the study with all ranges at their first value, and with each other end or choice.

        Each of the latter is tried with the other ranges at their first values, then with them at their last.

        Raises AccordError, listing all problems, for those with which `make` fails both times.
        """
        results: list[T] = []
        problems: dict[str, AccordError] = {}
        for company in self._variants():
            failed: list[AccordError] = []
            for values in company:
                try:
                    results.append(make(self.study(values)))
                    break
                except AccordError as error:
                    failed.append(error)
            else:
                problems[str(failed[0])] = failed[0]
        if problems:
            raise config.together(list(problems.values()), self.path)
        return results

    def _variants(self) -> Iterator[list[Values]]:
        first, last = self._ends(0), self._ends(-1)
        yield [first]
        for span in self.ranges:
            for end in span.values.ends[1:]:
                yield [{**first, span.name: end}, {**last, span.name: end}]

    def _ends(self, which: int) -> dict[str, Any]:
        return {span.name: span.values.ends[which] for span in self.ranges}


@dataclass(frozen=True)
class SearchFile(Ranged):
    """A study with ranges, and how they are searched."""

    name: str
    section: SearchSection

    @property
    def first(self) -> config.StudyFile:
        """The study with each range at its first value."""
        return self.study(self._ends(0))

    def where(self, path: Place) -> str:
        """File, line, table and key of a value."""
        return f"{self.path}:{line_of(self.text, path)}, {config.spell(path)}"

    def ready(self, values: Values, folder: Path, name: str) -> str:
        """The text of a study file of this name with these values, fit to stand in `folder`: comments are kept,
        and paths, which are relative to the file, lead where they led.
        """
        file, document = self.study(values), tomlkit.parse(self.text)
        put(document, ("name",), name)
        for span in self.ranges:
            put(document, span.path, values[span.name])
        for place, path in _paths(file.study):
            beside = path_of(file.beside(path))
            if not path_of(path).is_absolute() and (beside.exists() or is_local(str(beside))):
                there = os.path.relpath(self.path.parent.resolve() / path, folder.resolve())
                put(document, place, Path(there).as_posix())
        return tomlkit.dumps(document)


def load(path: Path) -> SearchFile:
    """Read and validate a study file with ranges; data files and the model are not looked at yet.

    Raises AccordError, listing every problem with its line.
    """
    return of_text(path, *config.read(path))


def of_text(path: Path, text: str, content: Mapping[str, Any]) -> SearchFile:
    """The same of a text and the tables in it: `path` is where files beside it are looked for."""
    places = list(ranges.find(content))
    if not places:
        fix = f"write {{ low = 1, high = 9 }} in place of a value, or: accord run {path}"
        raise AccordError("There is no range in this study to search.", where=path, fix=fix)
    names = ranges.names(content, [place for place, _ in places])
    spans, problems, document = [], [], tomlkit.parse(text)
    for (place, table), name in zip(places, names, strict=True):
        where = f"{path}:{line_of(text, place)}, {config.spell(place)}"
        try:
            spans.append(Range(place, name, ranges.kind_of(table).model_validate(table)))
        except ValidationError as error:
            kind = ranges.kind_of(table)
            problems += [config.problem(detail, kind, where) for detail in error.errors()]
        if place[0] in _FIXED:
            problems.append(AccordError("There can be no range here.", where=where, wanted="a value"))
        if not isinstance(value_at(document, place), InlineTable):
            wanted = "{ low = 1, high = 9 } in place of the value"
            problems.append(AccordError("A range is an inline table.", where=where, wanted=wanted))
    if problems:
        raise config.together(problems, path)
    study = Ranged(path, text, spans).each(lambda file: file.study)[0]
    if study.search is None:
        wanted = '[search] with objective = "concepts/NAME:r2_hard" and direction = "maximize", for example'
        raise AccordError("The study does not say what is sought.", where=path, wanted=wanted)
    return SearchFile(path, text, spans, study.name, study.search)


def _paths(section: BaseModel, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """What is written in a study, or in a table of it, that may be a path, with its place (see `section.PATH`)."""
    for key in section.model_fields_set:
        extra = type(section).model_fields[key].json_schema_extra
        ending = extra.get("path") if isinstance(extra, dict) else None
        for inner, value in _leaves(getattr(section, key), (*place, key)):
            if isinstance(value, BaseModel):
                yield from _paths(value, inner)
            elif isinstance(value, str | Path) and isinstance(ending, str) and str(value).endswith(ending):
                yield inner, str(value)


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """What is in lists and dicts, with its place."""
    if isinstance(value, dict):
        inner: Any = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    else:
        yield place, value
        return
    for part, item in inner:
        yield from _leaves(item, (*place, part))
