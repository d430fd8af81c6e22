"""From a study file to a run folder: check everything, fetch, run what is not up to date, write the report."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBars

from accord.arguments import checked
from accord.disk import lock, write_whole
from accord.errors import AccordError
from accord.study import store
from accord.study.check import stage_folders
from accord.study.config import StudyFile, load, read
from accord.study.graph import Graph, plan_study, why
from accord.study.kept_plan import keep_plan
from accord.study.report_file import bring_report
from accord.study.search_config import SEARCH
from accord.study.stage import Stage
from accord.study.store import STUDY
from accord.study.work import Models, Progress

Bar = Callable[[str], Progress]


@checked
def run(path: Path, out: Path | None = None, *, console: Console, only: Sequence[str] = ()) -> Path:
    """Bring the run folder of a study up to date; returns the report's path.

    The folder is `out`, or runs/NAME below the current folder. Stages that are whole and unchanged are left
    alone; when all are, no weights are loaded. With `only`, nothing runs but the stages of these kinds or names, and
    what they are made from. Then, and for a study that makes nothing but embeddings, no report is written, and the run
    folder is returned.

    Raises AccordError for anything wrong in the study file, its data or the model, before weights are loaded,
    and when the folder holds something else or another process works on it.
    """
    file = load(path)
    folder = folder_of(file, out)
    kept: dict[str, Any] = {}
    graph = plan_study(file, kept=kept)
    for line in graph.notes:
        console.print(line, highlight=False, markup=False)
    graph.chosen(only)
    check_folder(folder, file)
    graph = plan_study(file, fetch=True, kept=kept)  # now that nothing is wrong with it, and it has a place
    todo = graph.chosen(only)
    with lock(folder.resolve()):
        _keep_study(file, folder)
        keep_plan(graph.stages, folder)
        for line in described(graph, folder, todo):
            console.print(line, highlight=False, markup=False)
        models = Models()
        with bars(console) as bar:
            for stage in todo:
                make(stage, folder, models, bar(stage.name))
                if missing := store.missing(folder / stage.name):
                    console.print(f"{stage.name}: {missing}", highlight=False)
        if only or all(stage.kind == "embeddings" for stage in graph.stages):
            return folder
        return bring_report(folder)


def folder_of(file: StudyFile, out: Path | None = None) -> Path:
    """The run folder of a study: `out`, or runs/NAME below the current folder."""
    return Path("runs") / file.study.name if out is None else out


def make(stage: Stage, folder: Path, models: Models, progress: Progress) -> bool:
    """Make a stage of a run folder, all of whose inputs are there; False if it is up to date."""
    return store.publish(
        stage, folder / stage.name, at=lambda other: folder.absolute() / other.name, models=models, progress=progress
    )


def described(graph: Graph, folder: Path, todo: Sequence[Stage] | None = None) -> Iterator[str]:
    """What `accord run` would do in a folder and why, a line each: what must be fetched, then stage by stage."""
    for name, what in graph.missing.items():
        yield f"{name}: {what}, to be fetched"
    for stage in graph.stages if todo is None else todo:
        yield f"{stage.name}: {why(stage, folder / stage.name)}"
    if folder.is_dir():
        planned = {folder / stage.name for stage in graph.stages}
        for left in stage_folders(folder):
            if left not in planned:
                yield f"{left.relative_to(folder)}: no longer in the study, left as it is"


@contextmanager
def bars(console: Console) -> Iterator[Bar]:
    """Progress bars: a function that makes one by name."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBars(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def bar(name: str) -> Progress:
            row = progress.add_task(name, total=None)
            return lambda done, total: progress.update(row, completed=done, total=total)

        yield bar


def is_new(folder: Path, first: str) -> bool:
    """Whether nothing is in a run folder yet, but for what a kill left of `first`, the file that is written first."""
    return not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {first + ".tmp"})


def check_folder(folder: Path, file: StudyFile) -> None:
    """AccordError if the run folder is, or may be, something of the user's own."""
    if is_new(folder, STUDY):
        return
    fix = "name another with --out"
    if not (folder / STUDY).is_file() or (folder / STUDY).samefile(file.path):
        raise AccordError("This is not a run folder of accord.", where=folder, fix=fix)
    if (folder / SEARCH).exists():
        raise AccordError("This folder holds a search.", where=folder, fix=fix)
    name = read(folder / STUDY)[1].get("name")
    if name != file.study.name:
        raise AccordError(
            "This folder holds the run of another study.",
            where=folder,
            got=name,
            wanted=file.study.name,
            fix=fix,
        )


def _keep_study(file: StudyFile, folder: Path) -> None:
    """Keep the study's text with its results."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / STUDY
    if not copy.exists() or copy.read_bytes() != file.text.encode():
        write_whole(copy, file.text)
