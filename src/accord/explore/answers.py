"""The answers of one model, or of two side by side, to one question: computed, drawn, saved and copied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from accord.explore.figures import draw_both
from accord.explore.kit import box, button, copy_buttons, figure, likeliest, picture_of, save_rows, svg_of, words
from accord.explore.subject import BASE, Subject
from accord.explore.visitor import Visitor
from accord.explore.wording import said_of
from accord.report import style

if TYPE_CHECKING:
    from accord.explore.asking import BothForms
    from accord.tasks import Task


@dataclass(frozen=True)
class ShownAnswers:
    """The answers of all models that were asked, their figure, and the lines of Python that ask the same."""

    models: Sequence[str]
    both: "Sequence[BothForms]"
    svg: str
    alt: str
    caption: str
    python: str


def shown_answers(subject: Subject, question: "Task", models: Sequence[str], python: str, key: str) -> ShownAnswers:
    """Ask every model; called in the thread of the models.

    Args:
        key: begins the ids of the figure, which are unique on the page.
    """
    from accord.explore.asking import ask

    both = [ask(subject.model(name), question) for name in models]
    names = [subject.model_name if name == BASE else name for name in models]
    with style.house_style():
        drawn = draw_both(both, names)
    assert drawn is not None
    return ShownAnswers(names, both, svg_of(drawn, f"{key}-both"), drawn.alt, drawn.caption, python)


def draw_answers(visitor: Visitor, found: ShownAnswers) -> None:
    """Show them."""
    with box("x-answers"):
        for name, both in zip(found.models, found.both, strict=True):
            with box("x-answer"):
                words(name, tag="h3")
                words(said_of(both), "x-verdict")
                with box("x-pair"):
                    likeliest("Completing, it would write", both.next["generator"])
                    likeliest("Asked, it would write", both.next["validator"])
    with box("x-figure"):
        figure(found.svg, found.alt, found.caption)
        with box("x-beside"):
            button("Save row (CSV)", lambda: save_rows(pd.DataFrame([both.row() for both in found.both]), "answer.csv"))
            for kind in ("svg", "png"):
                button(f"Save figure ({kind.upper()})", lambda kind=kind: _save(visitor, found, kind))  # type: ignore[misc]
            copy_buttons([("Python", found.python)])
            with box("x-code", "details"):
                words("Show the prompts, as they are asked", tag="summary")
                for form, prompt in found.both[0].prompts.items():
                    words({"generator": "To complete", "validator": "To answer"}[form], tag="h4")
                    words(prompt, tag="pre").props["tabindex"] = "0"


async def _save(visitor: Visitor, found: ShownAnswers, kind: str) -> None:
    def make() -> bytes:
        with style.house_style():
            drawn = draw_both(found.both, found.models)
        assert drawn is not None
        return picture_of(drawn, kind)

    await visitor.give(make, f"both-forms.{kind}")
