"""The room Items: every item of a gap in a scatter and a table; one of them closely, live."""

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nicegui import ui

from accord.explore.answers import ShownAnswers, draw_answers, shown_answers
from accord.explore.ask_room import Asked, as_python, item_texts
from accord.explore.items import ORDERS, SHOWN, found, item_rows, neighbours
from accord.explore.kit import box, button, copy_buttons, link, picture_of, save_rows, table, words
from accord.explore.subject import BASE, Subject
from accord.explore.visitor import Board, Visitor, hint
from accord.explore.wording import signed
from accord.gap.draw_items import draw_scatter
from accord.gap.shown import gap_command
from accord.report import style
from accord.report.wording import count, number

_PAGE = 12  # rows of the table at a time
_CONCEPTS = 8  # of an item
_PROMPT = 90  # letters of a prompt in the table: its end
_COLOURS = {True: "#2f86c1", False: "#d9732a"}  # told apart by any eyes, on light and dark ground


class ItemsRoom:
    """A scatter and a table of what a search finds, and below them the item that was picked."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.page = visitor, 0
        self.rows = self.kept = pd.DataFrame()
        subject = visitor.subject
        if not subject.asked:
            command = shlex.join(["accord", "explore", "--model", subject.backbone.model, "--task", "hypernymy"])
            hint("No items here: no task was named. Name one:", command)
            return
        with box("x-controls"):
            self.name = ui.select(subject.asked, value=subject.asked[0], label="Items of", on_change=self.begin)
            self.text = ui.input("Search prompts and answers", on_change=self._found)
            self.shown = ui.select(list(SHOWN), value="all items", label="Show", on_change=self._found)
            self.order = ui.select(list(ORDERS), value="furthest apart", label="Sort by", on_change=self._found)
            for field in (self.name, self.text, self.shown, self.order):
                field.props("outlined dense stack-label debounce=200")
        self.whole = Board(visitor, "items")
        self.list = box("x-items")
        self.one = Board(visitor, "item")

    async def begin(self) -> None:
        """Show the items, if they are measured; else say what there is to measure."""
        subject = self.visitor.subject
        if not subject.asked:
            return
        name = str(self.name.value)
        self.one.clear()
        self.list.clear()
        if name in subject.gaps:
            await self._read(lambda: subject.gap(name), "Reading …")
            return
        with self.list:
            words(f"These items have not been measured yet. {subject.model_name} reads each twice.", "x-intro")
            button(f"Measure {count(subject.limit, 'item')}", self._measure)

    async def _measure(self) -> None:
        name, subject, loop = str(self.name.value), self.visitor.subject, asyncio.get_running_loop()
        self.list.clear()

        def told(done: int, whole: int) -> None:
            loop.call_soon_threadsafe(self.whole.tell, f"Measured {done:,} of {whole:,} items …")

        await self._read(lambda: subject.measure(name, told), "Loading the model, once …")

    async def _read(self, work: Any, busy: str) -> None:
        def show(gap: Any) -> None:
            self.rows = item_rows(gap.scores)
            self._found()

        await self.whole.show(work, show, busy)

    def _found(self) -> None:
        """Show what the search finds, from the first page on."""
        if len(self.rows):
            self.kept = found(self.rows, str(self.text.value or ""), str(self.shown.value), str(self.order.value))
            self.page = 0
            self._draw()

    def _draw(self) -> None:
        begin, end = self.page * _PAGE, (self.page + 1) * _PAGE
        self.list.clear()
        with self.list, box("x-split"):
            with box("x-card"):
                _scatter(self.kept, self._pick)
                button("Save figure (SVG)", lambda: self._save("svg"))
                button("Save figure (PNG)", lambda: self._save("png"))
            with box("x-card"):
                words(f"{count(len(self.kept), 'item')} of {len(self.rows):,}", "x-count").props["aria-live"] = "polite"
                self._table(self.kept.iloc[begin:end])
                with box("x-actions"):
                    if begin:
                        button("Previous", lambda: self._turn(-1))
                    if end < len(self.kept):
                        button("Next", lambda: self._turn(1))
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

    def _turn(self, pages: int) -> None:
        self.page += pages
        self._draw()

    async def _pick(self, item: int) -> None:
        """Look at one item closely."""
        name, subject = str(self.name.value), self.visitor.subject
        await self.one.show(
            lambda: close_look(subject, name, item, self.rows), self._draw_one, "Asking the model about this item …"
        )

    def _draw_one(self, look: "CloseLook") -> None:
        row = look.row
        words(f"Item {row['item']}: {_named(row)}", tag="h2")
        places = (f"{row[f'{form}_place']:.0%}" for form in ("generator", "validator"))
        words(
            "The answer is {}. Said above {} of the other items, affirmed above {}; {}.".format(
                "right" if row["gold"] else "wrong", *places, row["disagreement"] or "the two forms agree"
            )
        )
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


def _scatter(rows: pd.DataFrame, pick: Any) -> None:
    """The items by both log-odds; a point tells its item and opens it. What cannot be seen stands in the table."""
    finite = rows[np.isfinite(rows["generator_logodds"]) & np.isfinite(rows["validator_logodds"])]
    series = []
    for gold, name in ((True, "right answer"), (False, "wrong answer")):
        own = finite[finite["gold"].astype(bool) == gold]
        data = [
            {"value": [round(row["generator_logodds"], 3), round(row["validator_logodds"], 3), row["item"]],
             "name": _named(row)[-90:]}
            for row in own.to_dict("records")
        ]  # fmt: skip
        series.append(
            {"type": "scatter", "name": name, "data": data, "symbol": "circle" if gold else "triangle",
             "symbolSize": 9 if len(rows) < 1000 else 5, "itemStyle": {"color": _COLOURS[gold], "opacity": 0.75}}
        )  # fmt: skip
    grey = "#7d8793"
    axis = {
        "nameLocation": "middle", "nameGap": 26, "scale": True, "nameTextStyle": {"color": grey},
        "axisLabel": {"color": grey}, "axisLine": {"lineStyle": {"color": grey}},
        "splitLine": {"lineStyle": {"color": grey, "opacity": 0.25}},
    }  # fmt: skip
    chart = ui.echart(
        {
            "animation": False,
            "legend": {"top": 0, "textStyle": {"color": grey}},
            "grid": {"left": 44, "right": 12, "top": 34, "bottom": 44},
            "tooltip": {"renderMode": "richText", "formatter": "{b}"},
            "xAxis": {**axis, "name": "log-odds of the answer, completing"},
            "yAxis": {**axis, "name": "log-odds of yes, asked"},
            "series": series,
        },
        on_point_click=lambda event: pick(int(event.value[2])),
    ).classes("x-scatter")
    chart.props["role"] = "img"
    chart.props["aria-label"] = f"Scatter of {count(len(finite), 'item')}; the table beside it has the same items."


def _carried(of: Any, form: str) -> list[str]:
    return [number(of[f"{form}_strength"], bare=False), signed(of[f"{form}_contribution"], 2)]


def _named(row: Any) -> str:
    """An item as its prompt to complete, of a long one the end, and its answer."""
    text = str(row["completing"])
    return f"{text if len(text) <= _PROMPT else '…' + text[-_PROMPT:]} | {row['answer']}"
