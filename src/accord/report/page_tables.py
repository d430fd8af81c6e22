"""The tables of the page, taken out of its HTML: whatever a chapter shows as a table is one, whoever made it.

What the page's classes mean for a table: `num` cells hold numbers; `interval` is a number's interval; `what` and
`defined` are small print that stands beside a cell's own text; `hidden` is read aloud and not seen.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
from lxml import html
from markupsafe import Markup

from accord.report.chapter import Chapter
from accord.report.links import file_name
from accord.report.printed_numbers import Printed, read_printed

Kind = Literal["text", "interval", "beside", "hidden", "sub", "sup"]
_KINDS: dict[str, Kind] = {"interval": "interval", "what": "beside", "defined": "beside", "hidden": "hidden"}
_UNSEEN = ("svg", "script", "style")
_BREAKS = ("br", "p", "div", "li", "dd", "dt", "summary", "tr", "td", "th")
# Not allowed in HTML at all; parsers end a text there.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Text = tuple[tuple[str, Kind], ...]  # pieces of a text, and what each is


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what stands in it, in pieces.
        heading: whether it is a heading, of a row or of a column.
        number: whether the page says that it holds a number.
        columns: how many it covers.
    """

    text: Text
    heading: bool = False
    number: bool = False
    columns: int = 1

    @property
    def words(self) -> str:
        """All but the small print, on one line."""
        return _line(text for text, kind in self.text if kind != "beside")

    @property
    def beside(self) -> str:
        """The small print."""
        return "; ".join(filter(None, (_line([text]) for text, kind in self.text if kind == "beside")))


@dataclass(frozen=True)
class PageTable:
    """A table of the page.

    Attributes:
        name: of its files.
        title: its heading on the page, after those of what it stands in.
        notes: the remarks that stand directly under it.
        header: its heading rows.
        body: all others.
    """

    name: str
    title: str
    notes: Sequence[Text]
    header: Sequence[Sequence[Cell]]
    body: Sequence[Sequence[Cell]]

    @property
    def width(self) -> int:
        """How many columns there are."""
        return max((sum(cell.columns for cell in row) for row in (*self.header, *self.body)), default=0)

    def heads(self, row: Sequence[Cell]) -> bool:
        """Whether a row is one heading over those that follow."""
        return len(row) == 1 and row[0].heading and row[0].columns == self.width > 1

    def data(self) -> pd.DataFrame:
        """The table with numbers as numbers.

        A column whose cells hold numbers becomes NAME and, where there are any, NAME low and NAME high (its interval),
        NAME before (of `.1 → .8`), NAME n (of `17 of 20`, which is the number .85) and NAME note. A column of shares
        that were printed in per cent is called `NAME (share)`; where only some of its cells are shares or factors,
        NAME unit says which. What is not known ("–") is missing. A heading over some rows becomes the column `group`.
        """
        columns = [_column(name, cells) for name, cells in zip(self._names(), self._cells(), strict=True)]
        if not columns or not len(columns[0]):
            return pd.DataFrame(columns=_different(self._names()))
        table = pd.concat(columns, axis=1)
        table.columns = pd.Index(_different([str(name) for name in table.columns]))
        groups = self._groups()
        if any(groups):
            table.insert(0, _different([*table.columns, "group"])[-1], groups)
        return table

    def _names(self) -> list[str]:
        """Of each column, the words above it, from the top down."""
        rows = _grid(self.header, self.width)
        return [": ".join(dict.fromkeys(filter(None, (row[i].words for row in rows)))) for i in range(self.width)]

    def _cells(self) -> list[list[Cell]]:
        """The cells of each column."""
        rows = _grid([row for row in self.body if not self.heads(row)], self.width)
        return [[row[i] for row in rows] for i in range(self.width)]

    def _groups(self) -> list[str]:
        """Of each row that is no heading, the heading that it stands under."""
        group, groups = "", []
        for row in self.body:
            if self.heads(row):
                group = row[0].words
            else:
                groups.append(group)
        return groups


def in_words(text: Text) -> str:
    """A text on one line."""
    return _line(piece for piece, _ in text)


def tables_of(chapter: Chapter, body: Markup) -> Iterator[PageTable]:
    """The tables in the HTML of a chapter, in their order. Names differ within a chapter only if their headings do."""
    root = html.fromstring(f"<div>{_CONTROL.sub(' ', body)}</div>", parser=html.HTMLParser(huge_tree=True))
    for element in root.iter("table"):
        key, heading = _title(element, root)
        lines = list(element.iter("tr"))
        rows = list(zip(lines, _rows(lines), strict=True))
        yield PageTable(
            name=file_name(chapter, key),
            title=f"{chapter.title}: {heading}" if heading else chapter.title,
            notes=list(_notes(element)),
            header=[cells for row, cells in rows if _above(row, "thead")],
            body=[cells for row, cells in rows if cells and not _above(row, "thead")],
        )


def text_of(element: Any) -> Text:
    """The text in an element, in pieces, without what is only drawn."""
    return tuple((text, kind) for text, kind in _pieces(element) if text)


def _pieces(element: Any) -> Iterator[tuple[str, Kind]]:
    yield element.text or "", "text"
    for child in element:
        if isinstance(child.tag, str) and child.tag not in _UNSEEN and child.get("aria-hidden") != "true":
            named = next((_KINDS[name] for name in (child.get("class") or "").split() if name in _KINDS), None)
            around = " " if child.tag in _BREAKS or named in ("interval", "beside") else ""
            yield around, "text"
            if named or child.tag in ("sub", "sup"):
                yield "".join(text for text, _ in _pieces(child)), named or ("sub" if child.tag == "sub" else "sup")
            else:
                yield from _pieces(child)
            yield around, "text"
        yield child.tail or "", "text"


def _rows(rows: Sequence[Any]) -> Iterator[list[Cell]]:
    """The cells of each row. One that reaches down is repeated in the rows below, to be read and not seen."""
    reaching: dict[int, tuple[Cell, int]] = {}  # column -> a cell from above, and how many rows it still covers
    for row in rows:
        cells: list[Cell] = []
        places = iter([element for element in row if element.tag in ("th", "td")])
        while True:
            place = sum(cell.columns for cell in cells)
            if place in reaching:
                cell, left = reaching.pop(place)
                cells.append(cell)
            elif (element := next(places, None)) is not None:
                cells.append(_cell(element))
                cell = replace(cells[-1], text=((cells[-1].words, "hidden"),))
                left = _whole(element.get("rowspan"))
            else:
                break
            if left > 1:
                reaching[place] = (cell, left - 1)
        yield cells


def _cell(element: Any) -> Cell:
    classes = (element.get("class") or "").split()
    return Cell(text_of(element), element.tag == "th", "num" in classes, _whole(element.get("colspan")))


def _whole(span: str | None) -> int:
    return max(1, int(span)) if span else 1


def _above(element: Any, tag: str) -> bool:
    return bool(next(element.iterancestors(tag, "table")).tag == tag)


def _title(table: Any, root: Any) -> tuple[str, str]:
    """What a table is called: a short word for its file, and its heading in full.

    It is what names it to a reader who cannot see it: its caption, or the label or heading of what it stands in.
    """
    if (caption := table.find("caption")) is not None:
        return _heading(caption), _heading(caption)
    for element in (table, *table.iterancestors()):
        if label := element.get("aria-label"):
            return label, label
        if labels := (element.get("aria-labelledby") or "").split():
            found = root.xpath("//*[@id=$id]", id=labels[-1])
            return labels[-1], _within(table, _heading(found[0])) if found else ""
        heading = None
        if element.tag == "details":
            heading = element.find("summary")
        elif element.tag == "section":
            heading = next(element.iter("h2", "h3", "h4", "h5"), None)
        if heading is not None:
            words = _heading(heading)
            return heading.get("id") or words, _within(table, words)
    return "table", ""


def _within(table: Any, heading: str) -> str:
    """A table's heading, after that of the part of the chapter that it stands in, where that is another."""
    for element in table.iterancestors("details", "section"):
        found = element.find("summary") if element.tag == "details" else next(element.iter("h3", "h4", "h5"), None)
        if found is not None and _heading(found) not in (heading, ""):
            return f"{_heading(found, small=False)}: {heading}"
    return heading


def _heading(element: Any, *, small: bool = True) -> str:
    """A heading on one line, its small print in brackets or left out."""
    words = _line(text for text, _ in text_of(element))
    fine = _line(text for part in element.iter("small") for text, _ in text_of(part))
    large = words.removesuffix(fine).strip()
    return f"{large} ({fine})" if small and fine and large else large or words


def _notes(table: Any) -> Iterator[Text]:
    """The paragraphs that follow a table, or what makes it scroll."""
    parent = table.getparent()
    element = parent if "scroll" in (parent.get("class") or "").split() else table
    for follower in element.itersiblings():
        if follower.tag != "p" or not {"note", "remark"} & set((follower.get("class") or "").split()):
            return
        yield text_of(follower)


def _grid(rows: Sequence[Sequence[Cell]], width: int) -> list[list[Cell]]:
    """Rows of `width` cells each: a cell that covers several columns stands in all of them."""
    wide = ([cell for cell in row for _ in range(cell.columns)] for row in rows)
    return [row + [Cell(())] * (width - len(row)) for row in wide]


def _column(name: str, cells: Sequence[Cell]) -> pd.DataFrame:
    """A column of the page as columns of data; none where it holds neither numbers nor words (pictures)."""
    read = [read_printed(cell.words) if cell.number else None for cell in cells]
    if any(printed is not None and printed.known for printed in read) and None not in read:
        table = _numbers(name, [printed for printed in read if printed is not None])
    else:
        words = [cell.words for cell in cells]
        table = pd.DataFrame({name: words} if any(words) else {}, index=range(len(cells)))
    beside = [cell.beside for cell in cells]
    return pd.concat([table, pd.DataFrame({f"{name} note".strip(): beside})], axis=1) if any(beside) else table


def _numbers(name: str, cells: Sequence[Printed]) -> pd.DataFrame:
    units = {cell.unit for cell in cells if cell.known}
    whole = f"{name} ({units.pop()})" if len(units) == 1 and "" not in units else name
    counts = all(cell.count for cell in cells if cell.known)
    columns: dict[str, Any] = {whole: pd.Series([cell.value for cell in cells], dtype="Int64" if counts else "float64")}
    for part, kind in (("before", "float64"), ("low", "float64"), ("high", "float64"), ("n", "Int64")):
        values = [getattr(cell, part) for cell in cells]
        if any(value == value for value in values):
            columns[f"{name} {part}".strip()] = pd.Series(values, dtype=kind)
    for part in ("unit", "note"):
        texts = [getattr(cell, part) for cell in cells]
        if any(texts) and not (part == "unit" and whole != name):
            columns[f"{name} {part}".strip()] = texts
    return pd.DataFrame(columns)


def _different(names: Sequence[str]) -> list[str]:
    """The same names, but for a number after those that were there before.

    >>> _different(["r", "Closed", "r"])
    ['r', 'Closed', 'r 2']
    """
    taken: set[str] = set()
    out = []
    for name in names:
        new, i = name, 2
        while new in taken:
            new, i = f"{name} {i}".strip(), i + 1
        taken.add(new)
        out.append(new)
    return out


def _line(texts: Any) -> str:
    return " ".join("".join(texts).split())
