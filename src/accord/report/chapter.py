"""A chapter of the page: what a capability found, for the template that shows it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Chapter:
    """One part of the page. A capability's `page.chapters(run)` gives its own, none where the run has nothing of it.

    Attributes:
        key: its anchor.
        template: beside the capability's page.py: takes `shown`.
        shown: the words and pictures.
        folded: whether it is closed at first.
        leads: whether it stands before all others, as what the study was for.
        brackets: over what the intervals in its findings are, in words; empty where others tell.
    """

    key: str
    title: str
    template: Path
    shown: dict[str, Any]
    folded: bool = False
    leads: bool = False
    brackets: str = ""

    @property
    def findings_count(self) -> int:
        """How many sentences it adds to the findings at the top."""
        return len(self.shown.get("findings", ()))
