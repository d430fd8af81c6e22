"""Commands on studies and their run folders: run, init, check, diff, search; runs, status, open, rm."""

import os
import sys
import webbrowser
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from accord.screen import tell
from accord.terminal import Replace, Study, confirmed, print_table, progress_console, refuse_damaged

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a folder of `accord gap --out`.")]
Engine = Annotated[
    str | None,
    typer.Option(help="serial: one after another, in this process; ray: several at once, by workers. See [machines]."),
]
Address = Annotated[
    str | None, typer.Option(help="Of a Ray cluster: HOST:PORT or auto. Else Ray starts on this machine.")
]
Workers = Annotated[int | None, typer.Option(help="How many workers at most.")]
_SHOWN = 20  # trials; all of them are in trials.csv


def run(
    study: Study,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only stages of this kind (damage), or this one (damage/readout-s0), and what they are made from; no "
            "report. May be given again."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "--check",
            help="Check the study file and its data, and say what there is to do and why, what it would replace, how "
            "long it takes, what must be fetched. Nothing is fetched or written.",
        ),
    ] = False,
    replace: Replace = False,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Run a study: what is new or changed in it, or was interrupted.

    Results that a changed study would give otherwise are replaced only with `--replace`.

    Examples:

    - `accord run study.toml`
    - `accord run study.toml --dry-run`
    - `accord run study.toml --only damage`
    - `accord run study.toml --engine ray --address auto`
    """
    from accord.study.config import load
    from accord.study.engine import machines_of

    machines = machines_of(load(study), engine=engine, address=address, workers=workers)
    if not dry_run:
        from accord.study.engine import run as run_study

        made = run_study(study, out, console=progress_console(), only=only or [], replace=replace, machines=machines)
        tell(made)
        refuse_damaged(made if made.is_dir() else made.parent)
        return
    from accord.study.preview import dry_run as preview
    from accord.study.shown import print_dry_run

    found = preview(study, out, only=only or [], machines=machines)
    for note in found.notes:
        tell(note, err=True)
    print_dry_run(found, replace=replace)
    tell(f"{study}: no problem found; nothing was fetched or written")


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.toml"), replace: Replace = False
) -> None:
    """Write a study file to start from, every key explained.

    Example: `accord init my-study.toml`
    """
    from accord.study import write_template

    write_template(file, replace=replace)
    tell(f"{file}: fill it in, then: accord run {file}")


def check(folder: RunFolder) -> None:
    """Compare all that accord wrote into a run with its hashes, and say what is wrong and how to mend it.

    Exit code 1 if anything is.

    Example: `accord check runs/demo`
    """
    from accord.study.check import check as check_files

    problems = check_files(folder)
    for mend, same in groupby(problems, lambda problem: (problem.path.parent, problem.mend)):
        for problem in same:
            tell(f"{problem.path}: {problem.what}")
        tell(f"    to mend: {mend[1]}")
    if problems:
        raise typer.Exit(1)
    tell(f"{folder}: all files are as they were written")


def diff(
    first: RunFolder,
    second: RunFolder,
    rerun: Annotated[
        bool,
        typer.Option("--rerun", help="Make the stage that explains it again, both ways, in a folder that is removed."),
    ] = False,
) -> None:
    """Compare two runs: what differs, which metrics with it, and which stage's difference explains that.

    Examples:

    - `accord diff runs/monday runs/tuesday`
    - `accord diff runs/monday runs/tuesday --rerun`
    """
    from accord.study.difference import diff as differences_of
    from accord.study.shown_difference import show, show_rerun

    difference = differences_of(first, second)
    if rerun:
        from accord.study.rerun import check_studies

        check_studies(difference)
    show(difference)
    if rerun:
        show_rerun(difference)
    refuse_damaged(first, second)


def search(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A study file with ranges and [search].")],
    trials: Annotated[int, typer.Option(min=1, help="How many finished trials there shall be, those before included.")],
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    replace: Replace = False,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Search the best values of a study's ranges.

    A range stands in the study file in place of a value: `{ low = 1e-4, high = 1e-2, log = true }`,
    `{ low = 2, high = 8 }` for whole numbers, `{ choices = ["a", "b"] }`. `[search]` names the objective.
    The same command again goes on, in several terminals at once too. With `--engine ray` workers on one machine or many
    bring trials to their end; drawn at random, they are the same trials.

    Examples:

    - `accord search study.toml --trials 20`
    - `accord search study.toml --trials 200 --engine ray --address auto`
    """
    from accord.study.engine import machines_of
    from accord.study.search import BEST, search
    from accord.study.search_file import load
    from accord.study.search_work import short

    machines = machines_of(load(study).first, engine=engine, address=address, workers=workers)
    finished, folder = search(study, trials, out, console=progress_console(), replace=replace, machines=machines)
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
        tell(f"and {len(finished) - _SHOWN} more, in {folder / 'trials.csv'}")
    if len(finished) < trials:
        tell(f"{trials - len(finished)} trials are still under way in other processes", err=True)
    tell(folder / BEST)


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the run folders.")] = Path(
        "runs"
    ),
) -> None:
    """List the runs in a folder, newest first: model, stages done, when, size, first finding, or what is damaged.

    Exit code 1 if any is damaged.

    Example: `accord runs`
    """
    from accord.study.run_status import runs as runs_in
    from accord.study.shown import print_runs

    if found := runs_in(folder):
        print_runs(found)
        if any(run.problem for run in found):
            raise typer.Exit(1)
    else:
        tell(f"{folder}: no runs in it; accord run STUDY.toml makes one", err=True)


def status(folder: RunFolder) -> None:
    """Show how a run stands, stage by stage; also while it runs, from another terminal.

    Exit code 1 if any of it is damaged.

    Example: `accord status runs/demo`
    """
    from accord.study.run_status import status as status_of
    from accord.study.shown import print_status

    print_status(standing := status_of(folder))
    if standing.problem:
        raise typer.Exit(1)


def open(folder: RunFolder) -> None:
    """Open the report of a run in the browser; written first if it is not there, or made from other results.

    Example: `accord open runs/demo`
    """
    from accord.disk import is_locked
    from accord.study.report_file import bring_report
    from accord.study.store import REPORT

    path = folder / REPORT
    if not (path.is_file() and is_locked(folder.resolve())):  # a run that lives writes it itself
        path = bring_report(folder)
    path = path.resolve()
    tell(path)
    if not _has_display() or not webbrowser.open(path.as_uri()):
        tell(f"There is no browser here to open it in. Its address: {path.as_uri()}", err=True)
    refuse_damaged(folder)


def rm(
    folder: RunFolder,
    stage: Annotated[
        str | None, typer.Argument(metavar="[STAGE]", help="Such as damage/readout-s0; without it, the whole run.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a stage of a run, or a whole run; never what accord did not write.

    Examples:

    - `accord rm runs/demo damage/readout-s0`
    - `accord rm runs/demo --yes`
    """
    from accord.study.remove import removal
    from accord.study.shown import print_removal

    found = removal(folder, stage)
    print_removal(found)
    if confirmed("Remove it?", yes):
        found.carry_out()
        tell(f"{found.folder}: removed")


def _has_display() -> bool:
    """Whether a window can be opened; without one, a browser of the terminal would take the terminal."""
    own = not sys.platform.startswith("linux")
    return own or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


COMMANDS = (run, init, check, diff, search, runs, status, open, rm)
