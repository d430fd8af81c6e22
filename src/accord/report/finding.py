"""A finding as the page leads with it: a headline, what it rests on, and the rest folded away."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found, in plain words.

    Attributes:
        headline: the claim, no longer than a line or two and no larger than its test allows.
        evidence: the numbers that it rests on, a sentence or two.
        details: further numbers (p values, ranges of controls, other doses), for who asks.
        remarks: what to know before quoting it.
        others: how those did that the headline does not name.
    """

    headline: str
    evidence: str = ""
    details: str = ""
    remarks: Sequence[str] = ()
    others: str = ""
