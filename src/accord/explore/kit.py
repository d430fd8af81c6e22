"""What the rooms are built from: text that stays text, tables, lists of tokens, figures, files, code to copy."""

import io
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from accord.explore.wording import share, signed
from accord.report import style
from accord.screen import visible

if TYPE_CHECKING:
    import pandas as pd

    from accord.report.drawn import Drawn

Click = Callable[[], object]


def words(text: object, kind: str = "", tag: str = "p") -> TextElement:
    """An element with text as it stands: nothing in it is markup, and all of it can be seen."""
    element = TextElement(tag=tag, text=visible(str(text)))
    return element.classes(kind) if kind else element


def box(kind: str, tag: str = "div") -> ui.element:
    """An element of a class of the style sheet; what is made in its `with` stands in it."""
    return ui.element(tag).classes(kind)


def button(label: str, act: Click, about: str = "") -> ui.element:
    """A button of the browser's own; `about` says more to who hears the page."""
    element = TextElement(tag="button", text=label).classes("x-plain").on("click", lambda: act())
    element.props["type"] = "button"
    if about:
        element.props["aria-label"] = f"{label}: {visible(about)}"
    return element


def link(label: str, act: Click, about: str) -> ui.element:
    """A button that looks like a link; `about` says to who hears the page what it opens."""
    element = TextElement(tag="button", text=visible(label)).classes("x-link").on("click", lambda: act())
    element.props["type"], element.props["title"] = "button", f"open {about}"
    return element


class Slider:
    """A slider of the browser's own, with its number beside it: the keyboard moves it too.

    Attributes:
        value: where it stands.
    """

    def __init__(self, label: str, low: float, high: float, step: float, value: float, moved: Click) -> None:
        self.value, self._moved = value, moved
        self._element = ui.element("input")
        self._element.props.update(
            {"type": "range", "min": low, "max": high, "step": step, "value": value, "aria-label": label}
        )
        read = "(event) => emit(Number(event.target.value))"
        self._element.on("input", lambda event: self._note(float(event.args)), js_handler=read)
        self._element.on("change", lambda event: self.set(float(event.args)), js_handler=read)
        self._number = words(signed(value), "num", "output")

    def set(self, value: float) -> object:
        """Move it, and do what a visitor's moving does."""
        self.put(value)
        return self._moved()

    def put(self, value: float) -> None:
        """Move it, and do nothing else."""
        self._note(value)
        self._element.update()

    def _note(self, value: float) -> None:
        self.value = value
        self._element.props["value"] = value
        self._number.set_text(signed(value))


def show_from(element: ui.element) -> None:
    """Scroll until an element stands at the top of the window, and let the keyboard go on from there."""
    element.props["tabindex"] = "-1"
    ui.run_javascript(
        f"requestAnimationFrame(() => {{ const shown = getHtmlElement({element.id}); "
        "shown?.focus({preventScroll: true}); shown?.scrollIntoView(); })"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> None:
    """A table of texts and numbers; a cell that can be called makes itself. What is wide scrolls by itself.

    Args:
        caption: what is in it, for who cannot see where it stands.
    """
    with box("scroll") as scroll:
        scroll.props["tabindex"], scroll.props["role"], scroll.props["aria-label"] = "0", "group", visible(caption)
        with box("", "table"):
            words(caption, "x-unseen", "caption")
            with box("", "thead"), box("", "tr"):
                for place, name in enumerate(header):
                    numbers = bool(rows) and all(_is_number(row[place]) for row in rows)
                    words(name, "num" if numbers else "", tag="th").props["scope"] = "col"
            with box("", "tbody"):
                for row in rows:
                    with box("", "tr"):
                        for cell in row:
                            if callable(cell):
                                with box("", "td"):
                                    cell()
                            else:
                                words(cell, "num" if _is_number(cell) else "", "td")


def likeliest(title: str, tokens: Sequence[tuple[str, float]]) -> None:
    """The most probable next tokens, each with its probability as a bar."""
    with box("x-likeliest"):
        words(title, tag="h4")
        with box("", "ol"):
            for token, probability in tokens:
                with box("", "li"):
                    words(token, "x-token", "span")
                    bar = box("x-bar", "span")
                    bar.style(f"--share: {min(1.0, probability):.4f}")
                    bar.props["aria-hidden"] = "true"
                    words(share(probability), "num", "span")


def figure(svg: str, alt: str, caption: str) -> None:
    """A figure of accord's own, as an SVG that follows the page into the dark."""
    with box("", "figure"):
        # Safe to leave as it is: glyphs are outlines, so no text of anybody's is in it.
        picture = ui.html(svg, sanitize=False).classes("plot")
        picture.props["role"], picture.props["aria-label"] = "img", visible(alt)
        words(caption, tag="figcaption")


def svg_of(drawn: "Drawn", prefix: str) -> str:
    """A figure as SVG to stand in the page; called in the thread of the models, as matplotlib's settings are global."""
    with style.house_style():
        return style.inline_svg(drawn.figure, prefix)


def picture_of(drawn: "Drawn", kind: str) -> bytes:
    """A figure as a file, png or svg, with its title, on a light ground; called as `svg_of`."""
    buffer = io.BytesIO()
    with style.house_style():
        if kind == "svg":
            drawn.figure.savefig(buffer, format="svg", metadata=style.NO_METADATA)
        else:
            drawn.figure.savefig(buffer, format="png", dpi=180)
    return buffer.getvalue()


def save(data: bytes, name: str) -> None:
    """Give the visitor a file."""
    ui.download.content(data, name)


def save_rows(rows: "pd.DataFrame", name: str) -> None:
    """Give the visitor a table as CSV."""
    save(rows.to_csv(index=False).encode("utf-8"), name)


def copy(text: str) -> None:
    """Put a text on the visitor's clipboard, and say whether the browser let it."""
    _copied(json.dumps(text))


def copy_link(place: str) -> None:
    """Put the page's own address on the clipboard, with this end: only the browser knows the whole of it."""
    _copied(f"new URL({json.dumps(place)}, location.href).href")


def _copied(text: str) -> None:
    """Copy what a JavaScript expression gives. `emitEvent` tells the page that hears it; see `site.page`."""
    ui.run_javascript(
        f"(async () => {{ let done = true; try {{ await navigator.clipboard.writeText({text}); }} "
        'catch { done = false; } emitEvent("copied", done); })()'
    )


def copy_buttons(texts: Sequence[tuple[str, str]]) -> None:
    """A button for each text, which copies it, and the texts themselves, folded below."""
    with box("x-actions"):
        for label, text in texts:
            button(f"Copy as {label}", lambda text=text: copy(text))  # type: ignore[misc]
    with box("x-code", "details"):
        words("Show the code", tag="summary")
        for label, text in texts:
            words(label, tag="h4")
            words(text, tag="pre").props["tabindex"] = "0"


def _is_number(cell: object) -> bool:
    return isinstance(cell, str) and re.fullmatch(r"(< )?[−+]?[\d.,∞]+( %)?|n/a", cell) is not None
