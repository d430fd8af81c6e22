"""The command that searches: trials of a study with values drawn from its ranges."""

from pathlib import Path
from typing import Annotated

import typer

from accord.cli_parts import print_table, progress_console

_SHOWN = 20  # trials; all of them are in trials.csv


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(search)


def search(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A study file with ranges and [search].")],
    trials: Annotated[int, typer.Option(min=1, help="How many finished trials there shall be, those before included.")],
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
) -> None:
    """Search the best values of a study's ranges.

    A range stands in the study file in place of a value: `{ low = 1e-4, high = 1e-2, log = true }`,
    `{ low = 2, high = 8 }` for whole numbers, `{ choices = ["a", "b"] }`. `[search]` names the objective.
    The same command again goes on, in several terminals at once too.

    Example: `accord search study.toml --trials 20`
    """
    from accord.study.search import BEST, search, short

    found, folder = search(study, trials, out, console=progress_console())
    names = list(found[0].values) if found else []
    rows = [
        [str(one.number), "failed" if one.value is None else f"{one.value:.6g}", *map(short, one.values.values())]
        for one in found[:_SHOWN]
    ]
    print_table(("trial", "objective", *names), rows)
    if len(found) > _SHOWN:
        typer.echo(f"and {len(found) - _SHOWN} more, in {folder / 'trials.csv'}")
    if len(found) < trials:
        typer.echo(f"{trials - len(found)} trials are still under way in other processes", err=True)
    typer.echo(folder / BEST)
