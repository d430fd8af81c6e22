"""The tables and figures of a run's page as files for a paper, slides or a spreadsheet."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from markupsafe import Markup

from accord.arguments import checked
from accord.disk import whole, write_whole
from accord.errors import AccordError
from accord.report.chapter import Chapter
from accord.report.drawn import Drawn
from accord.report.figure_numbers import numbers_of
from accord.report.html import opened, rendered
from accord.report.latex import commented, escaped, table_in_latex
from accord.report.links import file_name
from accord.report.page_tables import PageTable, in_words, tables_of
from accord.report.print_layout import Style, Width
from accord.report.printable import Kind, Printable, for_print, save_printable
from accord.report.run_metrics import run_metrics
from accord.report.style import house_style
from accord.report.workbook import write_workbook
from accord.study.store import EXPORT

TABLES, FIGURES = "tables", "figures"
Form = Literal["csv", "latex", "xlsx"]
Rendered = Sequence[tuple[Chapter, Markup]]


@checked
def export(
    run_folder: Path,
    to: Form = "csv",
    *,
    figures: Kind = "pdf",
    style: Style = "paper",
    width: Width = "column",
    out: Path | None = None,
) -> list[Path]:
    r"""Write the tables and figures of a run's page (or of the folder of a single gap) as files; the files written.

    Into `out`, which is made (RUN/export by default):

    - every table of the page: as tables/NAME.csv; as tables/NAME.tex, a LaTeX table to \input; or all as sheets of
      tables.xlsx. In csv and xlsx numbers are numbers, and intervals have columns of their own.
    - metrics.csv: every metric of every stage at full precision, as tables hold numbers rounded for print.
    - every figure of the page as figures/NAME.pdf (or .svg, .png), beside it NAME.csv with the numbers that are drawn,
      and figures/figures.tex, which sets each with its caption.

    The same call writes the same bytes again; other files are left alone.

    Args:
        figures: the format of figures: fonts are embedded (TrueType) in PDF, outlines in SVG; PNG has 300 dots an inch.
        style: "paper" is 7.5-point type, 3.3 inches wide in a column and 6.9 on a page; "slides" is 15-point type,
            6 inches wide (half a slide) and 12.2 (a slide of 13.3 by 7.5 inches).
        width: a figure that would be too high for a column is drawn as wide as a page.

    >>> from accord.report import export
    >>> export("runs/demo", "latex", width="page")  # doctest: +SKIP

    Raises:
        AccordError: there is nothing to show in the folder, a result cannot be read, or a file cannot be written.
    """
    run = opened(run_folder)
    pages = rendered(run)
    folder = out or run.folder / EXPORT
    if folder.exists() and not folder.is_dir():
        raise AccordError("There is a file where the export should go.", where=folder, fix="name a folder with --out")
    metrics = run_metrics(run)
    paths = [*_write_tables(pages, to, folder, metrics), *_write_figures(pages, folder, figures, style, width)]
    return paths if metrics.empty else [_write_csv(folder / "metrics.csv", metrics), *paths]


def _write_tables(pages: Rendered, to: Form, folder: Path, metrics: pd.DataFrame) -> Iterator[Path]:
    tables = _named([(t.name, t) for chapter, body in pages for t in tables_of(chapter, body)])
    if to == "xlsx":
        yield _write_xlsx(folder / "tables.xlsx", tables, metrics)
        return
    for name, table in tables.items():
        if to == "latex":
            yield _write_text(folder / TABLES / f"{name}.tex", table_in_latex(table, name))
        else:
            yield _write_csv(folder / TABLES / f"{name}.csv", table.data())


def _write_figures(pages: Rendered, folder: Path, kind: Kind, look: Style, width: Width) -> Iterator[Path]:
    figures = _named([(file_name(chapter, key), d) for chapter, _ in pages for key, d in _figures(chapter.shown)])
    blocks, shown = [], ""
    for name, drawn in figures.items():
        path = folder / FIGURES / f"{name}.{kind}"
        yield _write_csv(path.with_suffix(".csv"), numbers_of(drawn))
        with house_style():
            printable = for_print(drawn.figure, look, width)
            save_printable(printable, path, kind)
        yield path
        blocks.append(_block(name, drawn, printable))
        shown += drawn.title + drawn.caption
    if blocks:
        yield _write_text(folder / FIGURES / "figures.tex", commented("\n".join(blocks), shown))


def _figures(shown: Any) -> Iterator[tuple[str, Drawn]]:
    """The figures among what a chapter shows, with their ids on the page, in its order."""
    if isinstance(shown, Mapping):
        if isinstance(shown.get("drawn"), Drawn):
            yield str(shown["id"]), shown["drawn"]
            return
        shown = list(shown.values())
    if isinstance(shown, list | tuple):
        for part in shown:
            yield from _figures(part)


def _named(things: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """By their names; those of a name that is taken get a number."""
    named: dict[str, Any] = {}
    for name, thing in things:
        new, i = name, 2
        while new in named:
            new, i = f"{name}-{i}", i + 1
        named[new] = thing
    return named


def _block(name: str, drawn: Drawn, printable: Printable) -> str:
    r"""A figure as it stands in a document: at its own size, or what the document has room for."""
    kind, room = ("figure*", r"\textwidth") if printable.width == "page" else ("figure", r"\columnwidth")
    size = f"{printable.inches:g}in"
    return "\n".join(
        [
            rf"\begin{{{kind}}}[tbp]",
            r"\centering",
            rf"\includegraphics[width=\ifdim{room}<{size} {room}\else {size}\fi]{{{name}}}",
            rf"\caption{{\textbf{{{escaped(drawn.title)}.}} {escaped(drawn.caption)}}}\label{{fig:{name}}}",
            rf"\end{{{kind}}}",
            "",
        ]
    )


def _write_xlsx(path: Path, tables: Mapping[str, PageTable], metrics: pd.DataFrame) -> Path:
    sheets = {name: table.data() for name, table in tables.items()}
    about = {name: (table.title, " ".join(map(in_words, table.notes))) for name, table in tables.items()}
    if not metrics.empty:
        sheets = {"metrics": metrics, **sheets}
        about["metrics"] = ("Every metric of every stage, at full precision", "")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        write_workbook(beside, sheets, about)
    return path


def _write_csv(path: Path, table: pd.DataFrame) -> Path:
    return _write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path
