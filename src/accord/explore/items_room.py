"""The room Items: every item of a gap in a scatter and a table; one of them closely, live."""

import asyncio
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nicegui import ui

from accord.explore.answers import ShownAnswers, draw_answers, shown_answers
from accord.explore.ask_room import Asked, as_python, item_texts
from accord.explore.items import ORDERS, SHOWN, found, item_rows, neighbours
from accord.explore.kit import (
    box,
    button,
    copy_buttons,
    copy_link,
    link,
    picture_of,
    save_rows,
    show_from,
    table,
    words,
)
from accord.explore.places import item_place, room_place
from accord.explore.scatter import ItemScatter
from accord.explore.subject import BASE, Subject
from accord.explore.visitor import Board, Visitor, hint
from accord.explore.wording import signed
from accord.gap.draw_items import draw_scatter
from accord.gap.result import Gap
from accord.gap.shown import gap_command
from accord.report import style
from accord.report.wording import count, number
from accord.screen import visible

_PAGE = 12  # rows of the table at a time
_CONCEPTS = 8  # of an item
_PROMPT = 90  # letters of a prompt in the table: its end


class ItemsRoom:
    """A scatter and a table of what a search finds, and below them the item that was picked.

    Attributes:
        item: the one that is looked at, by its row in the score table.
        wanted: the gap and the item that are to be looked at once the items are there.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.rows = self.kept = pd.DataFrame()
        self.item: int | None = None
        self.wanted: tuple[str, int] | None = None
        subject = visitor.subject
        if not subject.asked:
            command = shlex.join(["accord", "explore", "--model", subject.backbone.model, "--task", "hypernymy"])
            hint("No items here: no task was named. Name one:", command)
            return
        with box("x-controls"):
            self.name = ui.select(subject.asked, value=subject.asked[0], label="Items of", on_change=self._changed_name)
            self.text = ui.input("Search prompts and answers", on_change=self._found)
            self.shown = ui.select(list(SHOWN), value="all items", label="Show", on_change=self._found)
            self.order = ui.select(list(ORDERS), value="furthest apart", label="Sort by", on_change=self._found)
            for field in (self.name, self.text, self.shown, self.order):
                field.props("outlined dense stack-label debounce=200")
        self.whole = Board(visitor, "items")
        self.list = box("x-items")
        self.one = Board(visitor, "item")

    @property
    def place(self) -> str:
        """The end of the address of what is looked at."""
        subject = self.visitor.subject
        if self.item is None or not subject.asked:
            return room_place("Items")
        return item_place(subject.asked, str(self.name.value), self.item)

    async def begin(self) -> None:
        """Show the items, if they are measured; else say what there is to measure. Look at the one that is wanted."""
        subject = self.visitor.subject
        if not subject.asked:
            return
        name = str(self.name.value)
        if self.wanted is not None and self.wanted[0] != name:
            self.name.set_value(self.wanted[0])  # which begins again
            return
        self.item = None
        self.one.clear()
        self.list.clear()
        if subject.gap(name) is not None:
            await self._read(lambda: subject.gap(name), "Reading …")
            return
        with self.list:
            words(f"These items have not been measured yet. {subject.model_name} reads each twice.", "x-intro")
            button(f"Measure {count(subject.limit, 'item')}", self._measure)

    async def _changed_name(self) -> None:
        if self.wanted is not None and self.wanted[0] != self.name.value:
            self.wanted = None
        await self.begin()
        self.visitor.go(self.place)

    async def _measure(self) -> None:
        name, subject, loop = str(self.name.value), self.visitor.subject, asyncio.get_running_loop()
        self.list.clear()

        def told(done: int, whole: int) -> None:
            loop.call_soon_threadsafe(self.whole.tell, f"Measured {done:,} of {whole:,} items …")

        await self._read(lambda: subject.measure(name, told), "Loading the model, once …")

    async def _read(self, work: Callable[[], Gap | None], busy: str) -> None:
        def rows() -> pd.DataFrame:
            gap = work()
            assert gap is not None
            return item_rows(gap.scores)

        def show(rows: pd.DataFrame) -> None:
            self.rows = rows
            self._build()
            self._found()

        await self.whole.show(rows, show, busy)
        if self.wanted is not None and self.wanted[0] == self.name.value and len(self.rows):
            item, self.wanted = self.wanted[1], None
            await self._pick(item)

    def _build(self) -> None:
        """The chart and the place of the table, which stay while what is found in them changes."""
        self.list.clear()
        with self.list, box("x-split"):
            with box("x-card"):
                self.scatter = ItemScatter(self._pick, self._told)
                button("Save figure (SVG)", lambda: self._save("svg"))
                button("Save figure (PNG)", lambda: self._save("png"))
            with box("x-card"):
                self.count = words("", "x-count")
                self.count.props["aria-live"] = "polite"
                self.table = box("x-page")

    def _found(self) -> None:
        """Show what the search finds, from the first page on."""
        if not len(self.rows):
            return
        self.kept = found(self.rows, str(self.text.value or ""), str(self.shown.value), str(self.order.value))
        self.scatter.show(self.kept)
        self._turn_to(0)

    def _turn_to(self, page: int) -> None:
        """Show a page of what was found."""
        pages = max(1, -(-len(self.kept) // _PAGE))
        self.count.set_text(
            f"{count(len(self.kept), 'item')} of {len(self.rows):,}"
            + (f", page {page + 1:,} of {pages:,}" if pages > 1 else "")
        )
        self.table.clear()
        with self.table:
            self._table(self.kept.iloc[page * _PAGE : (page + 1) * _PAGE])
            with box("x-actions"):
                if page:
                    button("Previous", lambda: self._turn_to(page - 1))
                if page + 1 < pages:
                    button("Next", lambda: self._turn_to(page + 1))
                button("Save these (CSV)", lambda: save_rows(self.kept, "items.csv"))

    def _table(self, rows: pd.DataFrame) -> None:
        def cells(row: Any) -> list[Any]:
            return [
                lambda: link(_named(row), lambda: self._pick(int(row["item"])), f"item {row['item']}"),
                "right" if row["gold"] else "wrong",
                signed(row["generator_logodds"]),
                signed(row["validator_logodds"]),
                row["disagreement"] or "agree",
            ]

        header = ("completing | answer", "gold", "log-odds of the answer", "log-odds of yes", "the two forms")
        table(header, [cells(row) for row in rows.to_dict("records")], "Items that were found")

    def _told(self, item: int) -> str:
        """An item in a line."""
        if not 0 <= item < len(self.rows):
            return ""
        row = self.rows.iloc[item]
        odds = f"{signed(row['generator_logodds'])} completing, {signed(row['validator_logodds'])} asked"
        return visible(f"Item {item}: {_named(row)} ({odds})")

    async def _pick(self, item: int) -> None:
        """Look at one item closely."""
        name, subject = str(self.name.value), self.visitor.subject
        if not 0 <= item < len(self.rows):
            self.one.refuse(f"There is no item {item:,} here: {name} has {len(self.rows):,}, numbered from 0.")
            return
        self.item = item
        self.visitor.go(self.place)
        show_from(self.one.status)
        await self.one.show(
            lambda: close_look(subject, name, item, self.rows), self._draw_one, "Asking the model about this item …"
        )

    def _draw_one(self, look: "CloseLook") -> None:
        row = look.row
        show_from(words(f"Item {row['item']}: {_named(row)}", tag="h2"))
        places = (f"{row[f'{form}_place']:.0%}".replace("%", " %") for form in ("generator", "validator"))
        words(
            "The answer is {}. Said above {} of the other items, affirmed above {}; {}.".format(
                "right" if row["gold"] else "wrong", *places, row["disagreement"] or "the two forms agree"
            )
        )
        with box("x-actions"):
            button("Copy link", lambda: copy_link(self.place), f"to item {row['item']}")
        if look.answers is not None:
            draw_answers(self.visitor, look.answers)
        else:
            words(look.why, "x-error", "pre")
        for label, concepts in look.concepts.items():
            words(f"Concepts of {label} that carry this item", tag="h3")
            rows = [
                [of["name"], *_carried(of, "generator"), *_carried(of, "validator")]
                for of in concepts.head(_CONCEPTS).to_dict("records")
            ]
            header = ("concept", "strength, completing", "what its answer loses", "strength, asked", "what yes loses")
            table(header, rows, f"Concepts of {label}: strength, and log-odds that are lost when it is off")
        near = neighbours(self.rows, int(row["item"]))
        with box("x-pair"):
            for how, others in near.items():
                with box("x-near"):
                    words(f"Items with {how}", tag="h3")
                    with box("", "ul"):
                        for other in others.to_dict("records"):
                            self._near(other)
        copy_buttons(look.copied)

    def _near(self, other: dict[Any, Any]) -> None:
        with box("", "li"):
            link(_named(other), lambda: self._pick(int(other["item"])), f"item {other['item']}")
            words(f" {signed(other['generator_logodds'])}, {signed(other['validator_logodds'])}", "note", "span")

    async def _save(self, kind: str) -> None:
        name, subject = str(self.name.value), self.visitor.subject

        def make() -> bytes:
            gap = subject.gap(name)
            assert gap is not None
            with style.house_style():
                return picture_of(draw_scatter(gap), kind)

        await self.visitor.give(make, f"items.{kind}")


@dataclass(frozen=True)
class CloseLook:
    """One item: its row, the live answers (or why there are none), concepts by concept model, code to copy."""

    row: dict[Any, Any]
    answers: ShownAnswers | None
    why: str
    concepts: dict[str, pd.DataFrame]
    copied: Sequence[tuple[str, str]]


def close_look(subject: Subject, name: str, item: int, rows: pd.DataFrame) -> CloseLook:
    """Ask the model about an item; called in the thread of the models."""
    from accord.errors import AccordError
    from accord.explore.one_item import item_concepts
    from accord.lm.edited import backbone_of

    row = {str(key): value for key, value in rows.loc[rows["item"] == item].iloc[0].to_dict().items()}
    copied = []
    if name in subject.questions:
        copied.append(("command", gap_command(subject.backbone.model, subject.questions[name])))
    if subject.folder:
        python = f"import accord\n\naccord.read({subject.folder!r})[{f'gap/{name}'!r}].scores.iloc[{item}]"
        copied.insert(0, ("Python", python))
    try:
        question = subject.item(name, item)
    except AccordError as error:
        return CloseLook(row, None, str(error), {}, copied)
    python = as_python(subject, Asked(name, item_texts(question, question.items[0]), [BASE]))
    answers = shown_answers(subject, question, [BASE], python, "item")
    concepts = {}
    for label in subject.concept_models:
        names, lm = subject.concept_names(label), backbone_of(subject.model())
        try:
            found = item_concepts(lm, subject.layer(label), subject.target(label).concepts, question)
        except AccordError:  # label words of several tokens, a transcoder
            continue
        called = [names.get(k, f"concept {k}") for k in found["concept"]]
        concepts[label] = found.assign(name=[f"{k}: {name}" for k, name in zip(found["concept"], called, strict=True)])
    return CloseLook(row, answers, "", concepts, copied)


def _carried(of: Any, form: str) -> list[str]:
    return [number(of[f"{form}_strength"], bare=False), signed(of[f"{form}_contribution"], 2)]


def _named(row: Any) -> str:
    """An item as its prompt to complete, of a long one the end, and its answer."""
    text = str(row["completing"])
    return f"{text if len(text) <= _PROMPT else '…' + text[-_PROMPT:]} | {row['answer']}"
