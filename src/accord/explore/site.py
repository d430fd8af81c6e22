"""The page: its head, its four rooms, and how it looks."""

from pathlib import Path

from nicegui import ui

import accord.report
from accord.explore.ask_room import AskRoom
from accord.explore.kit import box, words
from accord.explore.subject import Subject
from accord.explore.visitor import Visitor
from accord.explore.worker import ModelThread

_STYLES = (
    Path(accord.report.__file__).parent / "templates" / "report.css",  # one look: figures take their colours from it
    Path(__file__).with_name("explore.css"),
)


def page(subject: Subject, thread: ModelThread) -> None:
    """Build the page for whoever opens it."""
    ui.add_css("\n".join(path.read_text(encoding="utf-8") for path in _STYLES))
    ui.colors(primary="var(--accent)")
    visitor = Visitor(subject, thread)
    with box("x-top", "header"):
        words("accord explore", "kicker")
        words(subject.name, tag="h1")
    with box("x-rooms", "main"):
        with ui.tabs() as tabs:
            ask = ui.tab("Ask")
        with ui.tab_panels(tabs, value=ask, animated=False), ui.tab_panel(ask):
            room = AskRoom(visitor)
    ui.timer(0.01, room.begin, once=True)
