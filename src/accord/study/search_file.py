"""A study file with ranges: read and checked, and made into study files with values in their place."""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from accord.errors import AccordError
from accord.study import config, ranges
from accord.study.ranges import Range
from accord.study.search_config import SearchSection
from accord.study.toml_lines import line_of, put, value_at
from accord.text.sources import is_local

T = TypeVar("T")
Values = Mapping[str, Any]  # by the name of the range
_FIXED = ("name", "search")  # what all trials have in common


@dataclass(frozen=True)
class Ranged:
    """The text of a study with ranges, and what they are."""

    path: Path
    text: str
    ranges: list[Range]

    def study(self, values: Values) -> config.StudyFile:
        """The study with these values. Raises AccordError if it is none."""
        text = self.text
        for one in self.ranges:
            text = _put(text, one.path, values[one.name])
        return config.validated(self.path, text, tomllib.loads(text))

    def each(self, make: Callable[[config.StudyFile], T]) -> list[T]:
        """What `make` gives for the study with all first values, and with every other end or choice of a range.

        Raises AccordError, listing all problems, where `make` does so for an end both with the other ranges at their
        first values and with them at their last: no company makes it right.
        """
        made: list[T] = []
        problems: dict[str, AccordError] = {}
        for company in self._variants():
            failed: list[AccordError] = []
            for values in company:
                try:
                    made.append(make(self.study(values)))
                    break
                except AccordError as error:
                    failed.append(error)
            else:
                problems[str(failed[0])] = failed[0]
        if problems:
            raise config.together(list(problems.values()), self.path)
        return made

    def _variants(self) -> Iterator[list[Values]]:
        first, last = self._ends(0), self._ends(-1)
        yield [first]
        for one in self.ranges:
            for end in one.values.ends[1:]:
                yield [{**first, one.name: end}, {**last, one.name: end}]

    def _ends(self, which: int) -> dict[str, Any]:
        return {one.name: one.values.ends[which] for one in self.ranges}


@dataclass(frozen=True)
class SearchFile(Ranged):
    """A study with ranges, and how they are searched."""

    name: str
    section: SearchSection

    def where(self, path: tuple[str | int, ...]) -> str:
        """File, line, table and key of a value."""
        return f"{self.path}:{line_of(self.text, path)}, {config.spell(path)}"

    def ready(self, values: Values, folder: Path, name: str) -> str:
        """The text of a study file of this name with these values, fit to stand in `folder`: comments are kept,
        and paths, which are relative to the file, lead where they led.
        """
        file = self.study(values)
        text = _put(file.text, ("name",), name)
        for path, value in _paths(file):
            beside = Path(os.path.relpath(self.path.parent.resolve() / value, folder.resolve()))
            text = _put(text, path, beside.as_posix())
        return text


def load(path: Path) -> SearchFile:
    """Read and validate a study file with ranges; data files and the model are not looked at yet.

    Raises AccordError, listing every problem with its line.
    """
    text, content = config.read(path)
    places = list(ranges.find(content))
    if not places:
        fix = f"write {{ low = 1, high = 9 }} in place of a value, or: accord run {path}"
        raise AccordError("There is no range in this study to search.", where=path, fix=fix)
    names = ranges.names(content, [place for place, _ in places])
    found, problems = [], []
    for (place, table), name in zip(places, names, strict=True):
        where = f"{path}:{line_of(text, place)}, {config.spell(place)}"
        try:
            found.append(Range(place, name, ranges.kind_of(table).model_validate(table)))
        except ValidationError as error:
            kind = ranges.kind_of(table)
            problems += [config.problem(one, kind, where) for one in error.errors()]
        if place[0] in _FIXED:
            problems.append(AccordError("There can be no range here.", where=where, wanted="a value"))
        if put(text, place, 0) is None:
            wanted = "{ low = 1, high = 9 } in place of the value"
            problems.append(AccordError("A range is an inline table.", where=where, wanted=wanted))
    if problems:
        raise config.together(problems, path)
    study = Ranged(path, text, found).each(lambda one: one.study)[0]
    if study.search is None:
        wanted = '[search] with objective = "concepts/NAME:r2_hard" and direction = "maximize", for example'
        raise AccordError("The study does not say what is sought.", where=path, wanted=wanted)
    return SearchFile(path, text, found, study.name, study.search)


def _put(text: str, path: tuple[str | int, ...], value: Any) -> str:
    changed = put(text, path, value)
    assert changed is not None  # a string, or a range that `load` has found
    return changed


def _paths(file: config.StudyFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Values that are paths relative to the study file, with their places."""
    study, content = file.study, tomllib.loads(file.text)
    places: list[tuple[str | int, ...]] = [("backbone", "model")]
    places += [("gap", i, "data") for i in range(len(study.gap))]
    places += [("gap", i, "task") for i, section in enumerate(study.gap) if section.task.endswith(".toml")]
    places += [("tasks", name, "data") for name in study.tasks]
    places += [("text", "source"), ("perplexity", "judge")]
    for place in places:
        try:
            value = value_at(content, place)
        except LookupError:
            continue
        beside = file.beside(value)
        if not Path(value).expanduser().is_absolute() and (beside.exists() or is_local(str(beside))):
            yield place, value
