"""What commands print with."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.tasks import Task

Chat = Annotated[bool, typer.Option("--chat", help="Put the prompts into the model's chat template.")]
System = Annotated[str | None, typer.Option("--system", help="With --chat: the system message.")]
ChatOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--chat-option",
        metavar="KEY=VALUE",
        help="With --chat: what the template is given besides, such as enable_thinking=false; may be given again.",
    ),
]
OneMessage = Annotated[
    bool,
    typer.Option("--one-message", help="With --chat: worked examples in the question's own message, not in turns."),
]

AnswerScore = Annotated[
    Literal["auto", "whole", "first", "per_token"] | None,
    typer.Option(help="What of an answer counts in the generator's score; by default as the task has it, else auto."),
]
_LITTLE = 0.5  # of the probability


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table as wide as the terminal; without a terminal plain and complete, however wide."""
    plain = not Console().is_terminal
    console = Console(highlight=False, markup=False, width=10_000 if plain else None)
    table = Table(*header, title=None if plain else title, box=None if plain else box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def key_values(option: str, pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE options as a table; what is no JSON is a word."""
    table: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise AccordError(f"{option} takes a key and its value", got=pair, wanted="KEY=VALUE, such as delta=3")
        try:
            table[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            table[key.replace("-", "_")] = value
    return table


def progress_console() -> Console:
    """Where progress goes, apart from results."""
    return Console(stderr=True)


def say_if_little(mass: float, remedy: str, of: str = "") -> None:
    """A warning where the mean probability on the label words leaves the validator's log-odds little to mean.

    Args:
        remedy: the command that shows what would help.
        of: whose it is.
    """
    if mass < _LITTLE:
        said = f"{of}Only {mass:.0%} of the probability is on the label words: the validator's score means little."
        typer.echo(f"{said}\nWhat it says instead, and what helps: {remedy}", err=True)


def say_if_unknown(repaired: str | Path) -> None:
    """A remark where nothing tells which items a repaired model learned from: the tests may hold them."""
    from accord.repair.learned import links

    if not links(repaired):
        typer.echo(f"Nothing in {repaired} tells which items it learned from: they may be among the tests.", err=True)


def say_if_blank(blank: float | None, n: float) -> None:
    """A warning where answers begin with a token that is white space alone."""
    if blank:
        typer.echo(
            f"The first token of {blank:.0f} of {n:.0f} answers is white space alone: what is said of first "
            'tokens tells how likely a space is. A task in a language without spaces takes join = "".',
            err=True,
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
