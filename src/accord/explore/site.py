"""The page: its head, its four rooms, and how it looks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

import accord.report
from accord.explore.ask_room import AskRoom
from accord.explore.concepts_room import ConceptsRoom
from accord.explore.items_room import ItemsRoom
from accord.explore.kit import box, words
from accord.explore.places import item_at, room_place
from accord.explore.repairs_room import RepairsRoom
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
    with box("x-top"):
        words("accord explore", "kicker")
        words(subject.name, tag="h1")
    with box("x-rooms"):
        with ui.tabs().props("align=left no-caps") as tabs:
            for name in ROOMS:
                ui.tab(name)
        rooms: dict[str, Any] = {}
        with ui.tab_panels(tabs, value=next(iter(ROOMS)), animated=False):
            for name, (make, about) in ROOMS.items():
                with ui.tab_panel(name):
                    words(name, "x-unseen", "h2")
                    words(about, "x-intro")
                    rooms[name] = make(visitor)
    begun: set[str] = set()
    items: ItemsRoom = rooms["Items"]

    async def enter() -> None:
        name = str(tabs.value)
        visitor.go(items.place if name == "Items" else room_place(name))
        if name not in begun or (name == "Items" and items.wanted):
            begun.add(name)
            await rooms[name].begin()

    async def arrive(event: GenericEventArguments) -> None:
        """Open the room or the item that the address names; of no other address, the first room."""
        place = str(event.args)
        items.wanted = item_at(subject.asked, place)
        named = {room_place(name): name for name in ROOMS}
        room = "Items" if items.wanted else named.get(place, str(tabs.value))
        if room == tabs.value:
            await enter()
        else:
            tabs.set_value(room)

    tabs.on_value_change(enter)
    ui.on("place", arrive)
    ui.on("copied", lambda event: _tell_copied(bool(event.args)))
    ui.run_javascript(
        "const told = () => emitEvent('place', location.hash); addEventListener('hashchange', told); told();"
    )


def _tell_copied(done: bool) -> None:
    said = "Copied." if done else "The browser did not let it be copied: select the text below and copy it by hand."
    ui.notify(said, timeout=2000 if done else 8000, attrs={"role": "status"})


ROOMS: dict[str, tuple[Callable[[Visitor], Any], str]] = {
    "Ask": (
        AskRoom,
        "The model completes a sentence, and is asked whether it is so. It answers while you type.",
    ),
    "Items": (
        ItemsRoom,
        "Every item of a gap. Pick one in the scatter or in the table, and the model is asked about it.",
    ),
    "Concepts": (
        ConceptsRoom,
        "What the concepts of the run fire on and write. Turn some off or up, and see what it writes then.",
    ),
    "Repairs": (RepairsRoom, "A repaired model beside the model under study."),
}
