"""The tables and figures of a run's page as files for a paper, slides or a spreadsheet."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from accord.arguments import checked
from accord.disk import sha256, whole, write_json, write_whole
from accord.errors import AccordError
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
from accord.study.store import EXPORT, LISTING, exported_files, is_exported

TABLES, FIGURES = "tables", "figures"
METRICS, SET = "metrics.csv", "figures.tex"
Form = Literal["csv", "latex", "xlsx"]


@checked
def export(
    run_folder: Path,
    to: Form = "csv",
    *,
    figures: Kind = "pdf",
    style: Style = "paper",
    width: Width = "column",
    out: Path | None = None,
    replace: bool = False,
) -> list[Path]:
    r"""Write the tables and figures of a run's page (or of the folder of a single gap) as files; the files written.

    Into `out`, which is made (RUN/export by default):

    - every table of the page: as tables/NAME.csv; as tables/NAME.tex, a LaTeX table to \input; or all as sheets of
      tables.xlsx. In csv and xlsx numbers are numbers, and intervals have columns of their own.
    - metrics.csv: every metric of every stage at full precision, as tables hold numbers rounded for print.
    - every figure of the page as figures/NAME.pdf (or .svg, .png), beside it NAME.csv with the numbers that are drawn,
      and figures/figures.tex, which sets each with its caption.

    The same call writes the same bytes again. Other files are left alone, and export.json says which are its own.

    Args:
        figures: the format of figures: fonts are embedded (TrueType) in PDF, outlines in SVG; PNG has 300 dots an inch.
        style: "paper" is 7.5-point type, 3.3 inches wide in a column and 6.9 on a page; "slides" is 15-point type,
            6 inches wide (half a slide) and 12.2 (a slide of 13.3 by 7.5 inches).
        width: a figure that would be too high for a column is drawn as wide as a page.
        replace: write over files of these names that an export did not write, or that were changed since.

    >>> from accord.report import export
    >>> export("runs/demo", "latex", width="page")  # doctest: +SKIP

    Raises:
        AccordError: there is nothing to show in the folder, a result cannot be read, a file cannot be written, or,
            without `replace`, a file of another stands in its place.
    """
    run = opened(run_folder)
    pages = rendered(run)
    folder = out or run.folder / EXPORT
    if folder.exists() and not folder.is_dir():
        raise AccordError("There is a file where the export should go.", where=folder, fix="name a folder with --out")
    metrics = run_metrics(run)
    tables = _named([(t.name, t) for chapter, body in pages for t in tables_of(chapter, body)])
    drawn = _named([(file_name(chapter, key), d) for chapter, _ in pages for key, d in _figures(chapter.shown)])
    if not replace:
        _check_own(folder, [*_table_files(tables, to), *_figure_files(drawn, figures), METRICS])
    paths: list[Path] = []
    for path in _write_all(tables, drawn, metrics, folder, to, figures, style, width):
        _list(folder, path)
        paths.append(path)
    return paths


def _table_files(tables: Mapping[str, PageTable], to: Form) -> list[str]:
    if to == "xlsx":
        return ["tables.xlsx"]
    return [f"{TABLES}/{name}.{'tex' if to == 'latex' else 'csv'}" for name in tables]


def _figure_files(figures: Mapping[str, Drawn], kind: Kind) -> list[str]:
    names = [f"{FIGURES}/{name}.{ending}" for name in figures for ending in (kind, "csv")]
    return [*names, f"{FIGURES}/{SET}"] if figures else []


def _check_own(folder: Path, names: Sequence[str]) -> None:
    """AccordError if files of these names in a folder are not as an export wrote them."""
    known = exported_files(folder)
    others = [name for name in names if (folder / name).exists() and not is_exported(folder, name, known)]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise AccordError(
            "These files are not as an export of accord wrote them.",
            where=folder,
            got=", ".join(others[:3]) + more,
            fix="add --replace to write over them; or, to keep them, name another folder with --out",
        )


def _list(folder: Path, path: Path) -> None:
    """Note a file that was written, so that the next export, and `accord rm`, know it."""
    files = {**exported_files(folder), path.relative_to(folder).as_posix(): sha256(path)}
    write_json(folder / LISTING, {"files": files})


def _write_all(
    tables: Mapping[str, PageTable],
    drawn: Mapping[str, Drawn],
    metrics: pd.DataFrame,
    folder: Path,
    to: Form,
    figures: Kind,
    style: Style,
    width: Width,
) -> Iterator[Path]:
    if not metrics.empty:
        yield _write_csv(folder / METRICS, metrics)
    yield from _write_tables(tables, to, folder, metrics)
    yield from _write_figures(drawn, folder, figures, style, width)


def _write_tables(tables: Mapping[str, PageTable], to: Form, folder: Path, metrics: pd.DataFrame) -> Iterator[Path]:
    if to == "xlsx":
        yield _write_xlsx(folder / "tables.xlsx", tables, metrics)
        return
    for name, table in tables.items():
        if to == "latex":
            yield _write_text(folder / TABLES / f"{name}.tex", table_in_latex(table, name))
        else:
            yield _write_csv(folder / TABLES / f"{name}.csv", table.data())


def _write_figures(figures: Mapping[str, Drawn], folder: Path, kind: Kind, look: Style, width: Width) -> Iterator[Path]:
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
        yield _write_text(folder / FIGURES / SET, commented("\n".join(blocks), shown))


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
