"""What a number of the page means, and where it is defined."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One metric: how it is called on the page, what it says, where it is defined, and the scale it lives on."""

    label: str
    meaning: str
    defined: str
    low: float = 0.0
    high: float = 1.0
    neutral: float | None = None  # the value that means "nothing there": chance, or no correlation
    whole: bool = False  # a count
