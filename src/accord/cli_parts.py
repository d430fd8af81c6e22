"""What commands print with."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from accord.tasks import Task

_LITTLE = 0.5  # of the probability


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


def say_if_little(mass: float, of: str = "") -> None:
    """A warning where the mean probability on yes and no leaves the validator's log-odds little to mean."""
    if mass < _LITTLE:
        typer.echo(
            f"{of}Only {mass:.0%} of the probability is on yes and no: the validator's score means little.", err=True
        )


def say_how_read(tasks: "Iterable[Task]") -> None:
    """Which rows of the data files gave no item, and what else of them is not plain; once a file."""
    from accord.tasks import left_out

    for line in dict.fromkeys(map(left_out, tasks)):
        if line:
            typer.echo(line, err=True)


def say_left_out(tasks: "Iterable[Task]") -> None:
    """Which test sets lack items, because a repair learned from them."""
    from accord.repair.learned import left_out

    for task in tasks:
        if left := left_out(task):
            typer.echo(f"{task.name}, {task.split}: {left}", err=True)
