"""A number with its interval, as all pages show it, and names that can stand in a sentence."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """A measured number with its interval; any of the three may be NaN where it is not defined."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is a number at all."""
        return math.isfinite(self.value)


UNKNOWN = Metric(math.nan, math.nan, math.nan)


def metric_of(table: Mapping[str, Any]) -> Metric:
    """The number of a table {"value", "low", "high"}; what is None or not there is not defined.

    >>> metric_of({"value": 0.85, "low": None})
    Metric(value=0.85, low=nan, high=nan)
    """
    parts = (table.get(name) for name in Metric._fields)
    return Metric(*(math.nan if part is None else float(part) for part in parts))


def metric_in(metrics: Mapping[str, Mapping[str, Any]], name: str) -> Metric:
    """The number of this name; one that is not there is all NaN, so that callers need no special case."""
    return metric_of(metrics.get(name, {}))


def called(value: object) -> str:
    """The name inside a setting that is a name, or a table with a name; empty where there is none.

    >>> called("smollm2-135m"), called({"name": "hypernymy", "split": "test"}), called(None)
    ('smollm2-135m', 'hypernymy', '')
    """
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("model") or value.get("task")
    return "" if value is None else plain(str(value))


def plain(name: str) -> str:
    """A name that can stand inside a sentence: on one line, without characters that turn the text around it."""
    characters = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in name)
    return " ".join("".join(c for c in characters if unicodedata.category(c) != "Cf").split())
