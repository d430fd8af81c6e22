"""A chapter of the page: what a capability found, for the template that shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.report.finding import Finding

if TYPE_CHECKING:
    from accord.report.glossary import Term


@dataclass(frozen=True)
class FirstScreen:
    """What a chapter gives the first screen of the page, beside its first finding.

    Attributes:
        asked: the question that the finding answers.
        over: what it rests on: how many items and seeds.
        picture: the figure of the chapter that shows it (see `on_page`); it then stands there, and not in the chapter.
    """

    asked: str
    over: str
    picture: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Chapter:
    """One part of the page. A capability's `page.chapters(run)` gives its own, none where the run has nothing of it.

    Attributes:
        key: its anchor.
        template: beside the capability's page.py: takes `shown`, the whole `chapter`, `alone`, whether the page has no
            other, and `above`, the id of the figure that stands on the first screen; it finds the macros of
            report/templates.
        shown: the words and pictures; its `findings` stand in front of them.
        answer: for the first screen, where the page begins with its first finding.
        gist: what is in it, in a line, where it is folded and no finding stands beside its title.
        folded: whether it is closed at first, where the page has others.
        leads: whether it stands before all others, as what the study was for.
        brackets: over what the intervals in its findings are, in words ("of names over concepts"); empty where the
            page says so already: over items, or over seeds, where gaps, repairs or concept models are on it.
        script: what runs in it: the page lets no other script run.
        terms: the measures that its tables name, whose formulas stand in the glossary.
    """

    key: str
    title: str
    template: Path
    shown: dict[str, Any]
    answer: FirstScreen | None = None
    gist: str = ""
    folded: bool = True
    leads: bool = False
    brackets: str = ""
    script: str = ""
    terms: "Sequence[Term]" = ()

    @property
    def capability(self) -> str:
        """Whose it is: the folder of its template."""
        return self.template.parent.name

    @property
    def findings(self) -> Sequence[Finding]:
        """What was found, the most important first."""
        return list(self.shown.get("findings", ()))
