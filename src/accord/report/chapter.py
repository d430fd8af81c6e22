"""A chapter of the page: what a capability found, for the template that shows it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Chapter:
    """One part of the page. A capability's `page.chapters(run)` gives its own, none where the run has nothing of it.

    Attributes:
        key: its anchor.
        template: beside the capability's page.py: takes `shown`, the whole `chapter`, and `alone`, whether the page has
            no other; it finds the macros of report/templates.
        shown: the words and pictures.
        folded: whether it is closed at first.
        leads: whether it stands before all others, as what the study was for.
        brackets: over what the intervals in its findings are, in words ("of names over concepts"); empty where the
            page says so already: over items, or over seeds, where gaps, repairs or concept models are on it.
        script: what runs in it: the page lets no other script run.
    """

    key: str
    title: str
    template: Path
    shown: dict[str, Any]
    folded: bool = False
    leads: bool = False
    brackets: str = ""
    script: str = ""

    @property
    def capability(self) -> str:
        """Whose it is: the folder of its template."""
        return self.template.parent.name

    @property
    def findings_count(self) -> int:
        """How many sentences it adds to the findings at the top."""
        return len(self.shown.get("findings", ()))
