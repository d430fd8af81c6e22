"""Commands of the page: report, and export to papers, slides and spreadsheets."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from accord.screen import tell
from accord.study.command import RunFolder
from accord.terminal import refuse_damaged


def report(folder: RunFolder) -> None:
    """Write the report of a run again: one HTML file. Exit code 1 if anything is damaged: that is left out.

    Example: `accord report runs/demo`
    """
    from accord.report import write_report

    tell(write_report(folder))
    refuse_damaged(folder)


def export(
    folder: RunFolder,
    to: Annotated[Literal["csv", "latex", "xlsx"], typer.Option(help="What tables are written as.")] = "csv",
    figures: Annotated[Literal["pdf", "svg", "png"], typer.Option(help="What figures are written as.")] = "pdf",
    style: Annotated[
        Literal["paper", "slides"], typer.Option(help="Of figures: 7.5-point type, or 15-point type for 16:9.")
    ] = "paper",
    width: Annotated[
        Literal["column", "page"],
        typer.Option(help="Of figures, in inches: a column is 3.3 (on slides 6), a page 6.9 (on slides 12.2)."),
    ] = "column",
    out: Annotated[Path | None, typer.Option(help="The folder to write into; RUN/export by default.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over files of the same names that an export did not write.")
    ] = False,
) -> None:
    """Write every table and figure of the report as files, each figure with its numbers.

    figures.tex sets each figure with its caption; metrics.csv has every metric of the run at full precision. Exit code
    1 if anything is damaged: that is left out.

    Examples:

    - `accord export runs/demo`
    - `accord export runs/demo --to latex --width page`
    - `accord export runs/demo --to xlsx --style slides --figures png`
    """
    from accord.report import export as write

    paths = write(folder, to, figures=figures, style=style, width=width, out=out, replace=replace)
    tell(f"{len(paths)} files in {out or folder / 'export'}")
    refuse_damaged(folder)


COMMANDS = (report, export)
