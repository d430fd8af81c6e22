"""Numbers as the page prints them, read back: `−.17 [−.26, −.07]` is a value and its interval."""

import math
import re
from dataclasses import dataclass

_N = r"[+−-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+|∞)(?:e[+-]?\d+)?"
_CELL = re.compile(
    rf"""(?P<bound>[<>≤≥]\s*)?
    (?:(?P<before>{_N})\s*→\s*)?
    (?P<factor>×\s*)?(?P<value>{_N})(?P<share>\s*%)?
    (?:\s+of\s+(?P<n>\d+(?:,\d{{3}})*))?
    (?:\s*\[\s*(?P<low>{_N})\s*(?P<low_share>%)?\s*,\s*(?P<high>{_N})\s*(?P<high_share>%)?\s*\])?
    (?:\s+(?P<note>\S.*))?""",
    re.VERBOSE,
)
_NONE = ("", "–", "n/a")
_MARKS = "▾▴ "  # say with a sign what a word beside them says


@dataclass(frozen=True)
class Printed:
    """A printed number; NaN where there is none.

    Attributes:
        n: what it is a count of: `17 of 20` is the value .85 and the n 20.
        unit: "share" of what was printed in per cent or as a count of n, "×" of a factor; nothing of others.
        note: what stands beside it in words; of a bound such as `< .001`, the sign.
        count: whether it was printed as a whole number.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    before: float = math.nan
    n: float = math.nan
    unit: str = ""
    note: str = ""
    count: bool = False

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return not math.isnan(self.value)


def read_printed(text: str) -> Printed | None:
    r"""A cell of the page; None where it is not a number and what belongs to it.

    >>> read_printed("−.17 [−.26,\xa0−.07]")
    Printed(value=-0.17, low=-0.26, high=-0.07, before=nan, n=nan, unit='', note='', count=False)
    >>> read_printed("17 of 20 [64%, 95%]")
    Printed(value=0.85, low=0.64, high=0.95, before=nan, n=20.0, unit='share', note='', count=False)
    >>> read_printed("× 1.004 [1.002, 1.006] ▾ worse")
    Printed(value=1.004, low=1.002, high=1.006, before=nan, n=nan, unit='×', note='worse', count=False)
    >>> read_printed("48,211").value, read_printed("–").known, read_printed("four")
    (48211.0, False, None)
    """
    text = " ".join(text.split())
    if text in _NONE:
        return Printed()
    match = _CELL.fullmatch(text)
    if match is None:
        return None
    value, low, high, before = (_number(match[name]) for name in ("value", "low", "high", "before"))
    n = _number(match["n"])
    if match["share"]:
        value = _hundredth(value)
    if match["low_share"]:
        low, high = _hundredth(low), _hundredth(high)
    unit = "share" if match["share"] or match["n"] else "×" if match["factor"] else ""
    if match["n"]:
        value = value / n if n else math.nan
    note = " ".join(filter(None, ((match["bound"] or "").strip(), (match["note"] or "").strip(_MARKS))))
    count = match["value"].replace(",", "").isdigit() and not unit
    return Printed(value, low, high, before, n, unit, note, count)


def _hundredth(value: float) -> float:
    """Without what the division adds in the last digit: 2.7 % is .027."""
    return float(f"{value / 100:.12g}")


def _number(text: str | None) -> float:
    if text is None:
        return math.nan
    return float(text.replace("−", "-").replace(",", "").replace("∞", "inf"))
