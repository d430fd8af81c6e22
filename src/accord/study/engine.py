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
from accord.study.capacity import check_capacity, check_downloads, check_may_write
from accord.study.check import stage_folders
from accord.study.config import StudyFile, load, read
from accord.study.differences import not_replaced
from accord.study.graph import Graph, made_otherwise, plan_study, to_be_made, why
from accord.study.search_result import SEARCH
from accord.study.stage import Stage
from accord.study.store import STUDY
from accord.study.work import Input, Models, Progress

Bar = Callable[[str], Progress]

# The steps of a study and the kinds of stages that each is for; what these are made from is made, too.
STEPS: dict[str, tuple[str, ...]] = {
    "embed": ("embeddings",),
    "train": ("concepts", "heads"),
    "generate": ("texts",),
    "perplexity": ("perplexity",),
}


@checked
def run(
    path: Path, out: Path | None = None, *, console: Console, step: str | None = None, replace: bool = False
) -> Path:
    """Bring the run folder of a study up to date; returns the report's path.

    The folder is `out`, or runs/NAME below the current folder. Stages that are whole and unchanged are left
    alone; when all are, no weights are loaded. With a `step` of `STEPS`, only its stages run. Then, and for a study
    that makes nothing but embeddings, no report is written, and the run folder is returned.

    Raises AccordError, before weights are loaded, for anything wrong in the study file, its data or the model; when
    the folder holds something else, or another process works on it; and, without `replace`, when it holds whole
    results of other settings.
    """
    file = load(path)
    folder = Path("runs") / file.study.name if out is None else out
    kept: dict[str, Any] = {}
    graph = plan_study(file, kept=kept)
    for line in graph.notes:
        console.print(line, highlight=False, markup=False)
    _check_folder(folder, file)
    check_downloads(graph.downloads)
    graph = plan_study(file, fetch=True, kept=kept)  # now that nothing is wrong with it, and it has a place
    todo = list(graph.stages)
    if step is not None:
        todo = graph.upstream([stage for stage in todo if stage.kind in STEPS[step]])
    if not todo:
        raise AccordError(f"This study has nothing to {step}.", where=path, wanted="a [text] section, and what follows")
    with lock(folder.resolve()):
        check_replaced(todo, folder, replace=replace)
        to_make = to_be_made(todo, folder)
        check_capacity(to_make, folder, file.study.backbone.device, graph.least)
        for stage in to_make:
            if stage.reach is not None and store.missing(folder / stage.name) is None:  # what lacks a part may go on
                stage.reach()
        _keep_study(file, folder)
        for line in described(graph, folder, todo):
            console.print(line, highlight=False, markup=False)
        models = Models()
        with bars(console) as bar:
            for stage in todo:
                make(stage, folder, models, bar(stage.name), replace=replace)
                if missing := store.missing(folder / stage.name):
                    console.print(f"{stage.name}: {missing}", highlight=False)
        if step is not None or all(stage.kind == "embeddings" for stage in graph.stages):
            return folder
        report = folder / store.REPORT
        if not _is_newest(report, folder):
            from accord.report import write_figures, write_report

            write_figures(folder)
            write_report(folder)
    return report


def check_replaced(stages: Sequence[Stage], folder: Path, *, replace: bool) -> None:
    """AccordError if making these stages would replace whole results of other settings, without `replace`.

    Also, in any case, if something is in a stage's place that accord did not write.
    """
    found = made_otherwise(stages, folder)
    if found and not replace:
        raise not_replaced(found, folder, 'give the study another name (name = "…") or another folder (--out)')


def check_may_be_made(graph: Graph, folder: Path, device: str) -> None:
    """AccordError if a study could not be run in a folder: for what else is in it, or for want of memory or disk."""
    check_may_write(folder)
    check_replaced(graph.stages, folder, replace=True)
    check_downloads(graph.downloads)
    check_capacity(to_be_made(graph.stages, folder), folder, device, graph.least)


def make(stage: Stage, folder: Path, models: Models, progress: Progress, *, replace: bool = False) -> bool:
    """Make a stage of a run folder, all of whose inputs are there; False if it is up to date."""

    def at(other: Input) -> Path:
        return folder.absolute() / other.name

    return store.publish(stage, at(stage), at=at, models=models, progress=progress, replace=replace)


def described(graph: Graph, folder: Path, todo: list[Stage] | None = None) -> Iterator[str]:
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


def _check_folder(folder: Path, file: StudyFile) -> None:
    """AccordError if the run folder is, or may be, something of the user's own, or cannot be written."""
    check_may_write(folder)
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


def _is_newest(report: Path, folder: Path) -> bool:
    """Whether the report is younger than all that it tells of."""
    sources = [*(stage / store.MANIFEST for stage in stage_folders(folder)), folder / STUDY]
    return report.exists() and all(report.stat().st_mtime_ns >= path.stat().st_mtime_ns for path in sources)
