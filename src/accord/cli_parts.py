"""What commands print with."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table as wide as the terminal; without a terminal plain and complete, however wide."""
    plain = not Console().is_terminal
    console = Console(highlight=False, markup=False, width=10_000 if plain else None)
    table = Table(*header, title=None if plain else title, box=None if plain else box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def progress_console() -> Console:
    """Where progress goes, apart from results."""
    return Console(stderr=True)
