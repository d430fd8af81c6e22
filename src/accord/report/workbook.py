"""Tables as an Excel workbook: a sheet a table, and a first one that says what each is."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from xlsxwriter import Workbook

_LONGEST = 31  # letters of a sheet's name
_WIDEST = 60
_BEGINNING = datetime(1980, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # of time, in a zip file: every time the same bytes


def write_workbook(path: Path, tables: Mapping[str, pd.DataFrame], about: Mapping[str, tuple[str, str]]) -> None:
    """Write tables as sheets of a workbook. Text is text, and no formula or link, whatever it begins with.

    Args:
        about: what stands on the first sheet about a table: its title and its notes.
    """
    options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with Workbook(str(path), options) as book:
        book.set_properties({"created": _BEGINNING})
        bold = book.add_format({"bold": True, "text_wrap": True, "valign": "top"})
        sheets = dict(zip(tables, _sheet_names(["contents", *tables])[1:], strict=True))
        rows = [{"sheet": sheets[name], "table": about[name][0], "notes": about[name][1]} for name in tables]
        _write(book.add_worksheet("contents"), pd.DataFrame(rows, columns=["sheet", "table", "notes"]), bold)
        for name, table in tables.items():
            _write(book.add_worksheet(sheets[name]), table, bold)


def _write(sheet: Any, table: pd.DataFrame, bold: Any) -> None:
    for column, name in enumerate(table.columns):
        values = list(table[name])
        sheet.write_string(0, column, str(name), bold)
        for row, value in enumerate(values, 1):
            _cell(sheet, row, column, value)
        longest = max((len(str(v)) for v in values if isinstance(v, str)), default=8)
        sheet.set_column(column, column, min(_WIDEST, max(10, longest + 1)))
    sheet.freeze_panes(1, 0)


def _cell(sheet: Any, row: int, column: int, value: Any) -> None:
    """A number, a text, or nothing where it is not known."""
    if isinstance(value, str):
        sheet.write_string(row, column, value)
    elif not pd.isna(value):
        number = float(value)
        if math.isfinite(number):
            sheet.write_number(row, column, number)
        else:
            sheet.write_string(row, column, str(number))  # Excel knows no infinite numbers


def _sheet_names(names: Sequence[str]) -> list[str]:
    """Different ones that Excel allows.

    >>> _sheet_names(["contents", "gap-hypernymy-all-categories-in-numbers", "gap-hypernymy-all-categories-in-words"])
    ['contents', 'gap-hypernymy-all-categories-in', 'gap-hypernymy-all-categories-2']
    """
    taken: list[str] = []
    for name in names:
        short, i = name[:_LONGEST].rstrip("-"), 2
        while short in taken:
            end = f"-{i}"
            short, i = name[: _LONGEST - len(end)].rstrip("-") + end, i + 1
        taken.append(short)
    return taken
