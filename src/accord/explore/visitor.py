"""One open page: what it shows is asked in the thread of the models, and the latest thing that was asked is shown."""

import asyncio
import json
import traceback
from collections.abc import Callable
from typing import TypeVar

from nicegui import ui

from accord.disk import is_full, say_full
from accord.errors import AccordError
from accord.explore.kit import box, save, words
from accord.explore.subject import Subject
from accord.explore.worker import ModelThread, Outdated
from accord.screen import tell, visible

R = TypeVar("R")


class Visitor:
    """Somebody who has the page open.

    Attributes:
        key: tells visitors apart; what one asks never takes the place of what another asks.
    """

    def __init__(self, subject: Subject, thread: ModelThread) -> None:
        self._client = ui.context.client
        self.subject, self.thread, self.key = subject, thread, self._client.id
        self._client.on_delete(lambda: thread.forget(lambda who: isinstance(who, tuple) and who[0] == self.key))

    def go(self, place: str) -> None:
        """Let the page's address end so, and the browser's Back lead to how it ended before."""
        told = json.dumps(place)
        self._client.run_javascript(f"if (location.hash !== {told}) history.pushState(null, '', {told})")

    async def give(self, make: Callable[[], bytes], name: str) -> None:
        """Give the visitor a file that is made in the thread of the models; of several asked for at once the last."""
        try:
            save(await self.thread.ask((self.key, "file"), make), name)
        except Outdated:
            return
        except Exception as error:
            ui.notify(visible(said(error)), type="negative", multi_line=True)


class Board:
    """A part of a room that shows the answer to the latest question of its visitor, or what went wrong with it."""

    def __init__(self, visitor: Visitor, name: str) -> None:
        self.visitor, self.who = visitor, (visitor.key, name)
        self._asked = 0
        with box("x-board"):
            self.status = words("", "x-status")
            self.status.props["role"], self.status.props["aria-live"] = "status", "polite"
            self.error = words("", "x-error", "pre")
            self.error.props["role"] = "alert"
            self.results = box("x-results")
        self.error.set_visibility(False)

    async def show(self, work: Callable[[], R], draw: Callable[[R], object], busy: str = "Reading …") -> None:
        """Compute in the thread of the models, then draw in the place of what stood here.

        What is outdated by the time it is known is dropped. Whatever goes wrong becomes one message.

        Args:
            busy: what is told meanwhile.
        """
        self._asked += 1
        self.tell(busy)
        self.results.classes(add="x-stale")
        try:
            found = await self.visitor.thread.ask(self.who, work)
            if self.results.is_deleted:
                return
            self.results.clear()
            with self.results:
                draw(found)
        except (Outdated, asyncio.CancelledError):
            return
        except Exception as error:
            if not self.results.is_deleted:
                self.refuse(said(error))
            return
        self.status.set_text("")
        self.error.set_visibility(False)
        self.results.classes(remove="x-stale")

    def growing(self, draw: Callable[[R], object]) -> Callable[[R], None]:
        """For the question that `show` gets next: draws what there is of its answer so far.

        What it gives is called in the thread of the models; `draw` is called in the page's, unless something else was
        asked meanwhile. The first call finds nothing in `results`.
        """
        loop, mine, begun = asyncio.get_running_loop(), self._asked + 1, False

        def put(so_far: R) -> None:
            nonlocal begun
            if self._asked != mine or self.results.is_deleted:
                return
            if not begun:
                begun = True
                self.results.clear()
                self.results.classes(remove="x-stale")
                self.error.set_visibility(False)
            with self.results:
                draw(so_far)

        def call(so_far: R) -> None:
            loop.call_soon_threadsafe(put, so_far)

        return call

    def tell(self, text: str) -> None:
        """Say how far it is."""
        self.status.set_text(visible(text))

    def clear(self) -> None:
        """Show nothing any more."""
        self.visitor.thread.cancel(self.who)
        self._asked += 1
        self.status.set_text("")
        self.results.clear()
        self.results.classes(remove="x-stale")
        self.error.set_visibility(False)

    def refuse(self, message: str) -> None:
        """Show a message in the place of an answer; nothing that was asked before is shown any more."""
        self.clear()
        self.error.set_text(visible(message))
        self.error.set_visibility(True)


def hint(text: str, command: str) -> None:
    """Says what is not here, and which command makes it."""
    with box("x-card"):
        words(text)
        words(command, tag="pre").props["tabindex"] = "0"


def said(error: Exception) -> str:
    """What went wrong, as the page says it; what nobody foresaw goes to the terminal as well, with its traceback."""
    if isinstance(error, AccordError):
        return str(error)
    if is_full(error):
        return str(say_full(error))
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "Memory ran out. Ask for less at a time: shorter texts, fewer tokens."
    tell("".join(traceback.format_exception(error)), err=True)
    problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return (
        f"The model failed: {problem}\nThe page goes on. The traceback is in the terminal that accord explore runs in."
    )
