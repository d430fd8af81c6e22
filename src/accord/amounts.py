"""Sizes, durations and moments in words, as commands and pages print them."""

from datetime import datetime


def in_bytes(number: float) -> str:
    """A size in words.

    >>> in_bytes(999), in_bytes(12_345), in_bytes(9_290_000), in_bytes(92_900_000), in_bytes(1_072_000_000)
    ('999 B', '12 kB', '9.3 MB', '93 MB', '1.1 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= 0.9995 * unit:
            amount = number / unit
            return f"{amount:.1f} {name}" if amount < 9.95 and unit > 1e3 else f"{amount:,.0f} {name}"
    return f"{number:.0f} B"


def in_time(seconds: float) -> str:
    """A duration in words, in as many parts as one would say.

    >>> in_time(0.2), in_time(41), in_time(372), in_time(12_345), in_time(500_000)
    ('under 1 s', '41 s', '6 min', '3 h 26 min', '6 days')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{seconds / 86_400:.0f} days"


def moment(text: object) -> datetime | None:
    """The moment that accord wrote into a file (ISO 8601); None for anything else.

    >>> moment("2026-11-26T14:02:09+00:00").year, moment("yesterday"), moment(None)
    (2026, None, None)
    """
    try:
        return datetime.fromisoformat(str(text)).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def on_clock(at: datetime | None) -> str:
    """A moment as the clock of this machine shows it, to the minute; nothing where there is none.

    >>> on_clock(None), on_clock(datetime(2026, 11, 26, 14, 2, 9))
    ('', '2026-11-26 14:02')
    """
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M}"
