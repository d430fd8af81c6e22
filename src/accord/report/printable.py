"""Figures for a paper, slides or a phone: as large as they are there, in type that is legible there.

A figure is drawn for the page, in 10 points. For print it is laid out anew on so many inches of the page's as, made
smaller or larger as a whole, give its width and its type in print: panels move into as many columns as that takes, and
what then does not fit (labels, ticks, legends, names beside points) is broken, thinned out or moved. Its title goes: in
a paper it stands in the caption, on a slide above.
"""

import io
import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinMethodType
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.backends.backend_pdf import Op, PdfFile, PdfPages
from matplotlib.figure import Figure

from accord.disk import whole
from accord.report import style
from accord.report.print_fit import fit
from accord.report.print_layout import (
    COLUMN,
    PAGE,
    PHONE,
    PRINTS,
    FigureLayout,
    Print,
    Style,
    Width,
    grid_of,
    layout_for,
    move_panels,
    panels_of,
)

Kind = Literal["pdf", "svg", "png"]

_DPI = 300
_LEFT_OUT = dict.fromkeys(["CreationDate", "Creator", "Producer"])


@dataclass(frozen=True)
class Printable:
    """A figure laid out for print: `scale` times as large it has the width that it shall have."""

    figure: Figure
    width: Width
    scale: float

    @property
    def inches(self) -> float:
        """How wide it is in print."""
        return round(float(self.figure.get_size_inches()[0]) * self.scale, 3)


def for_print(figure: Figure, look: Style, width: Width) -> Printable:
    """Lay a figure out for print, for good; call it within `house_style()`.

    One whose panels below each other would be too high for a column gets the width of a page.
    """
    layout = _lay_out(figure, PRINTS[look], dict.fromkeys((width, PAGE)))
    return Printable(figure, layout.kind, layout.scale)


def for_phone(figure: Figure) -> Figure | None:
    """A copy of a wide figure, laid out for a phone: as wide as a narrow one; None where it would not fit.

    Call it within `house_style()`.
    """
    copy = _copied(figure)
    return copy if _lay_out(copy, PHONE, [COLUMN]).fits else None


def _copied(figure: Figure) -> Figure:
    """A figure of its own, whose artists can be removed: deepcopy leaves that to the lists of the first figure."""
    memo: dict[int, Any] = {}
    copy = deepcopy(figure, memo)
    for artist in copy.findobj():
        method = artist._remove_method  # type: ignore[attr-defined]  # how it is taken out of its list; no public way
        if isinstance(method, BuiltinMethodType) and id(method.__self__) in memo:
            artist._remove_method = getattr(memo[id(method.__self__)], method.__name__)  # type: ignore[attr-defined]
    return copy


def _lay_out(figure: Figure, medium: Print, widths: Iterable[Width]) -> FigureLayout:
    """Lay a figure out in the first of these widths that it fits, else in the last."""
    style.untitle(figure)
    panels = panels_of(figure)
    grid = grid_of(figure, panels)
    layouts = [layout_for(medium, kind, figure, panels, grid) for kind in widths]
    layout = next((layout for layout in layouts if layout.fits), layouts[-1])
    if grid is not None and layout.columns != grid.columns:
        move_panels(figure, grid, layout.columns)
    figure.set_size_inches(layout.width, layout.height)
    if grid is not None and any(axes.get_aspect() == 1 for axes in panels):
        figure.set_layout_engine("compressed")  # squares stand together
    fit(figure, panels)
    return layout


def save_printable(printable: Printable, path: Path, kind: Kind) -> None:
    """Write a figure on white, the same bytes each time: fonts embedded in a PDF, glyphs as outlines in an SVG."""
    figure, scale = printable.figure, printable.scale
    dots = _DPI * scale
    with whole(path) as beside, rc_context({"pdf.fonttype": 42, "savefig.facecolor": "white"}):
        if kind == "pdf":
            with PdfPages(beside, metadata=_LEFT_OUT) as pages:
                pages._file = _ScaledPdf(beside, scale)  # PdfPages itself knows one scale
                figure.savefig(pages, format="pdf", dpi=dots)
        elif kind == "svg":
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata=style.NO_METADATA, dpi=dots)
            beside.write_text(_scaled_svg(text.getvalue(), scale), encoding="utf-8")
        else:
            inch = {"dpi": (_DPI, _DPI)}
            figure.savefig(beside, format="png", metadata={"Software": None}, dpi=dots, pil_kwargs=inch)


class _ScaledPdf(PdfFile):
    """A PDF whose page is so many times as large as the figure on it."""

    def __init__(self, path: Path, scale: float) -> None:
        super().__init__(path, metadata=_LEFT_OUT)  # type: ignore[no-untyped-call]
        self._scale = scale

    def newPage(self, width: float, height: float) -> None:
        """Begin the page."""
        super().newPage(width * self._scale, height * self._scale)  # type: ignore[no-untyped-call]
        self.width, self.height = width, height  # what lies beyond is not drawn
        self.output(self._scale, 0, 0, self._scale, 0, 0, Op.concat_matrix)  # type: ignore[no-untyped-call]


def _scaled_svg(svg: str, scale: float) -> str:
    def scaled(size: re.Match[str]) -> str:
        return f'{size[1]}="{float(size[2]) * scale:.6g}pt"'

    head, element, rest = svg.partition("<svg ")
    attributes, close, rest = rest.partition(">")
    return head + element + re.sub(r'\b(width|height)="([\d.]+)pt"', scaled, attributes) + close + rest
