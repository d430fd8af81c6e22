"""Commands on studies and their run folders: run, init, report, check, search."""

from pathlib import Path
from typing import Annotated

import typer

from accord.terminal import Replace, Study, print_table, progress_console

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a folder of `accord gap --out`.")]
_SHOWN = 20  # trials; all of them are in trials.csv


def run(
    study: Study,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the study file and its data, and say what there is to do.")
    ] = False,
    replace: Replace = False,
) -> None:
    """Run a study: what is new or changed in it, or was interrupted.

    Results that a changed study would give otherwise are replaced only with `--replace`.

    Examples:

    - `accord run study.toml`
    - `accord run study.toml --check`
    """
    from accord.study import engine, load, plan_study
    from accord.study.graph import made_otherwise

    if not check:
        typer.echo(engine.run(study, out, console=progress_console(), replace=replace))
        return
    file = load(study)
    graph, folder = plan_study(file), Path("runs") / file.study.name if out is None else out
    for note in graph.notes:
        typer.echo(note, err=True)
    for line in engine.described(graph, folder):
        typer.echo(line)
    engine.check_may_be_made(graph, folder, file.study.backbone.device)
    typer.echo(f"{study}: no problem found")
    if not replace and not graph.missing and (found := made_otherwise(graph.stages, folder)):
        typer.echo(f"{len(found)} of these would replace results of other settings: accord run {study} --replace")


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.toml"), replace: Replace = False
) -> None:
    """Write a study file to start from, every key explained.

    Example: `accord init my-study.toml`
    """
    from accord.study import write_template

    write_template(file, replace=replace)
    typer.echo(f"{file}: fill it in, then: accord run {file}")


def report(folder: RunFolder) -> None:
    """Write the report of a run again: one HTML file.

    Example: `accord report runs/demo`
    """
    from accord.report import write_report

    typer.echo(write_report(folder))


def check(folder: RunFolder) -> None:
    """Compare every file of a run with the hashes written when it was made; exit code 1 if any differs.

    Example: `accord check runs/demo`
    """
    from accord.study.check import check as check_files

    problems = check_files(folder)
    for problem in problems:
        typer.echo(f"{problem.path}: {problem.what}")
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{folder}: all files are as they were written")


def search(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A study file with ranges and [search].")],
    trials: Annotated[int, typer.Option(min=1, help="How many finished trials there shall be, those before included.")],
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    replace: Replace = False,
) -> None:
    """Search the best values of a study's ranges.

    A range stands in the study file in place of a value: `{ low = 1e-4, high = 1e-2, log = true }`,
    `{ low = 2, high = 8 }` for whole numbers, `{ choices = ["a", "b"] }`. `[search]` names the objective.
    The same command again goes on, in several terminals at once too.

    Example: `accord search study.toml --trials 20`
    """
    from accord.study.search import BEST, search, short

    finished, folder = search(study, trials, out, console=progress_console(), replace=replace)
    names = list(finished[0].values) if finished else []
    rows = [
        [
            str(trial.number),
            "failed" if trial.value is None else f"{trial.value:.6g}",
            *map(short, trial.values.values()),
        ]
        for trial in finished[:_SHOWN]
    ]
    print_table(("trial", "objective", *names), rows)
    if len(finished) > _SHOWN:
        typer.echo(f"and {len(finished) - _SHOWN} more, in {folder / 'trials.csv'}")
    if len(finished) < trials:
        typer.echo(f"{trials - len(finished)} trials are still under way in other processes", err=True)
    typer.echo(folder / BEST)


COMMANDS = (run, init, report, check, search)
