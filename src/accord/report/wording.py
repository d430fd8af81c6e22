"""Numbers and foreign text, made fit to be read: on the page, and in a figure whose font lacks most of Unicode."""

import math
import re
import unicodedata
from functools import cache
from pathlib import Path

from accord.report.metric import Metric

_MINUS = "−"
_FIXED = "\N{NO-BREAK SPACE}"  # keeps a number and its interval on one line
_SHOWN = {"\n": "⏎", "\r": "⏎", "\t": "⇥"}


def number(value: float, digits: int = 2, *, bare: bool = True, signed: bool = False) -> str:
    """A number as papers print it: the one place that decides on signs, so that nothing is ever “−.00” or “+.00”.

    Args:
        bare: without the zero before the point.
        signed: with a plus sign, for what is a change.

    >>> number(0.85), number(-0.07), number(-0.001), number(1), number(0.5, 1, bare=False)
    ('.85', '−.07', '.00', '1.00', '0.5')
    >>> number(0.85, signed=True), number(0.001, signed=True)
    ('+.85', '.00')
    """
    if math.isnan(value):
        return "n/a"
    text = f"{abs(value):.{digits}f}" if math.isfinite(value) else "∞"
    rounds_to_nothing = math.isfinite(value) and float(text) == 0
    if bare and text.startswith("0."):
        text = text[1:]
    sign = "" if rounds_to_nothing else _MINUS if value < 0 else "+" if signed else ""
    return sign + text


def interval(metric: Metric, digits: int = 2) -> str:
    r"""The interval in brackets, kept on one line; nothing where there is none.

    >>> interval(Metric(0.85, 0.8, 0.9))
    '[.80,\xa0.90]'
    """
    if not (math.isfinite(metric.low) and math.isfinite(metric.high)):
        return ""
    return f"[{number(metric.low, digits)},{_FIXED}{number(metric.high, digits)}]"


def measured(metric: Metric, digits: int = 2, *, signed: bool = False) -> str:
    """A number with its interval: `.85 [.80, .90]`."""
    return f"{number(metric.value, digits, signed=signed)}{_FIXED}{interval(metric, digits)}".strip()


def equals(name: str, metric: Metric) -> str:
    r"""A measured number under its name, kept on one line.

    >>> equals("r", Metric(0.85, 0.8, 0.9))
    'r\xa0=\xa0.85\xa0[.80,\xa0.90]'
    """
    return f"{name}{_FIXED}={_FIXED}{measured(metric)}"


def p_value(p: float) -> str:
    r"""A p value, kept on one line.

    >>> p_value(0.0312), p_value(0.0002)
    ('p\xa0=\xa0.031', 'p\xa0<\xa0.001')
    """
    text = "p < .001" if p < 0.001 else f"p = {number(p, 3)}"
    return text.replace(" ", _FIXED)


def capital(text: str) -> str:
    """The same with a capital first letter, for the start of a sentence; other letters stay as they are.

    >>> capital("LCBLM concepts"), capital("the base")
    ('LCBLM concepts', 'The base')
    """
    return text[:1].upper() + text[1:]


def count(n: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "item"), count(1200, "item")
    ('1 item', '1,200 items')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def shown_token(text: str) -> str:
    """A token as the dictionary's script shows it, so that nothing of it is invisible.

    >>> shown_token(" film"), shown_token(""), shown_token(chr(10))
    ('·film', '∅', '⏎')
    """
    flat = re.sub(r"[\r\n]+", "⏎", text).replace("\t", "⇥")
    return re.sub("^ +$|^ ", lambda spaces: "·" * len(spaces[0]), flat) or "∅"


def in_figure(text: object, width: int | None = None) -> str:
    """Any text on one line, in glyphs that the figures' font has, cut to `width` characters.

    Figures must not fail or warn on what a tokenizer or a data file holds: line breaks become signs, invisible
    characters go (some of them turn the direction of all that follows), unknown ones become a box.

    >>> in_figure("a kind of 昆虫"), in_figure("unwiederbringlich", 10)
    ('a kind of □□', 'unwiederb…')
    """
    line = "".join(_glyph(c) for c in str(text))
    if width is not None and len(line) > width:
        line = line[: max(1, width - 1)].rstrip() + "…"
    return line


def _glyph(character: str) -> str:
    character = _SHOWN.get(character, character)
    kind = unicodedata.category(character)
    if kind in ("Cf", "Mn", "Me"):  # joiners, direction marks, accents without a letter of their own
        return ""
    if kind in ("Cc", "Cs", "Co", "Cn"):
        return "·"
    if kind.startswith("Z"):
        return character if character == _FIXED else " "
    return character if ord(character) in _charmap() else "□"


@cache
def _charmap() -> frozenset[int]:
    from matplotlib import get_data_path  # figures alone need it: sentences must not wait for it
    from matplotlib.ft2font import FT2Font

    font = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return frozenset(FT2Font(str(font)).get_charmap())


def amount(metric: Metric) -> tuple[str, str]:
    r"""A number of any size and its interval, in as many digits as its size deserves.

    No interval where it has no width: the number does not depend on what was varied.

    >>> amount(Metric(12.42, 11.93, 12.91))
    ('12.4', '[11.9,\xa012.9]')
    >>> amount(Metric(48211, 48211, 48211))
    ('48,211', '')
    """
    size = abs(metric.value)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0

    def shown(value: float) -> str:
        grouped = size >= 1000 and math.isfinite(value)
        return f"{value:,.0f}".replace("-", _MINUS) if grouped else number(value, digits)

    if not (math.isfinite(metric.low) and math.isfinite(metric.high)) or metric.low == metric.high:
        return shown(metric.value), ""
    return shown(metric.value), f"[{shown(metric.low)},{_FIXED}{shown(metric.high)}]"
