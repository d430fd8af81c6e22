"""Ranges: what a study file may hold in place of a value, for `accord search` to draw from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator

from accord.section import Section

_Plain = str | int | float | bool


def _as_number(value: object) -> Any:
    """One message, where a union would give one for each of its members."""
    if type(value) in (int, float) and abs(float(str(value))) < float("inf"):
        return value
    raise ValueError("a number")


Number = Annotated[int | float, PlainValidator(_as_number)]


class Interval(Section):
    """Numbers from `low` to `high`, both included; whole numbers where both ends are."""

    low: Number = Field(description="The smallest value.")
    high: Number = Field(description="The largest value.")
    log: bool = Field(default=False, description="Draw the logarithm evenly: for values that differ in size.")
    step: Number | None = Field(default=None, description="Only low, low + step, low + 2 · step, …")

    @model_validator(mode="after")
    def _fits(self) -> "Interval":
        if not self.low < self.high:
            raise ValueError(f"low below high, not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low above 0 where log = true, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log or step, not both")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"a step above 0 that is no wider than the range, not {self.step}")
        if self.whole and isinstance(self.step, float):
            raise ValueError(f"a whole step between whole numbers, not {self.step}")
        return self

    @property
    def whole(self) -> bool:
        """Whether it is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[Any]:
        """The values at which a study is checked before the search begins: the smallest and the largest."""
        return [self.low, self.top] if self.whole else [float(self.low), float(self.top)]

    @property
    def top(self) -> int | float:
        """The largest value that steps from `low` lead to.

        >>> Interval(low=1, high=10, step=4).top
        9
        """
        if self.step is None:
            return self.high
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        top = low + (high - low) // step * step
        return int(top) if self.whole else float(top)


class Choices(Section):
    """One of several values of any kind."""

    choices: list[Any] = Field(min_length=2, description="The values.")

    @model_validator(mode="after")
    def _fits(self) -> "Choices":
        for choice in self.choices:
            parts = choice if isinstance(choice, list) else [choice]
            if not all(isinstance(part, _Plain) for part in parts):
                raise ValueError("strings, numbers, booleans, or lists of them")
        if len(set(self.spelled)) < len(self.choices):
            raise ValueError("choices that differ")
        return self

    @property
    def spelled(self) -> list[str]:
        """As they are written in TOML (and in JSON): what is kept of a trial."""
        return [json.dumps(choice, ensure_ascii=False) for choice in self.choices]

    @property
    def ends(self) -> list[Any]:
        """The values at which a study is checked before the search begins: all of them."""
        return self.choices


@dataclass(frozen=True)
class Range:
    """Where in a study a range stands, what it is called in tables, and what it holds."""

    path: tuple[str | int, ...]
    name: str
    values: Interval | Choices


def find(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every table of a parsed study that is written as a range, with its place.

    >>> list(find({"concepts": [{"size": {"low": 8, "high": 32}}]}))
    [(('concepts', 0, 'size'), {'low': 8, 'high': 32})]
    """
    if isinstance(content, dict):
        if is_range(content):
            yield path, content
            return
        for key, value in content.items():
            yield from find(value, (*path, key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from find(value, (*path, index))


def is_range(table: Mapping[str, Any]) -> bool:
    """Whether a table is meant as a range; a table of tables is not, whatever their names."""
    return any(key in table and not isinstance(table[key], dict) for key in ("low", "high", "choices"))


def kind_of(table: Mapping[str, Any]) -> type[Interval] | type[Choices]:
    """Which of the two a range is meant as."""
    return Choices if "choices" in table else Interval


def names(content: Any, paths: Sequence[tuple[str | int, ...]]) -> list[str]:
    """The shortest ends of the places that tell them apart; an entry of a list goes by its name.

    >>> rows = [{"name": "a", "k": 1}, {"name": "b", "k": 2}]
    >>> names({"concepts": rows}, [("concepts", 0, "k"), ("concepts", 1, "k")])
    ['a.k', 'b.k']
    """
    full = [_words(content, path) for path in paths]
    return [_shortest(words, [other for other in full if other is not words]) for words in full]


def _words(content: Any, path: Sequence[str | int]) -> list[str]:
    words = []
    for part in path:
        siblings, content = content, content[part]
        if isinstance(part, int):
            called = [_called(entry) for entry in siblings]
            words.append(called[part] if called[part] and called.count(called[part]) == 1 else str(part + 1))
        else:
            words.append(part)
    return words


def _called(entry: Mapping[str, Any]) -> str:
    titles = (entry.get(key) for key in ("name", "kind", "task"))
    return next((name for name in titles if isinstance(name, str)), "")


def _shortest(words: list[str], others: Sequence[list[str]]) -> str:
    for length in range(1, len(words) + 1):
        if all(other[-length:] != words[-length:] for other in others):
            return ".".join(words[-length:])
    return ".".join(words)
