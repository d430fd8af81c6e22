"""From a study file to a run folder: check everything, fetch, run what is not up to date, write the report."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from accord.arguments import checked
from accord.disk import lock, sha256
from accord.errors import AccordError
from accord.progress import Display, Progress, clock
from accord.screen import Screen, visible
from accord.study import costs, store
from accord.study.capacity import check_capacity, check_downloads, check_may_write
from accord.study.check import stage_folders
from accord.study.config import StudyFile, load, read
from accord.study.graph import TO_DO, Graph, made_otherwise, plan_study, to_be_made, why
from accord.study.kept_plan import keep_plan
from accord.study.manifest import MANIFEST, missing, read_manifest
from accord.study.replaced import not_replaced
from accord.study.report_file import bring_report
from accord.study.run_folder import Run, capability_of, result_types
from accord.study.run_list import begin_list, changed_list, kept_list, write_listed
from accord.study.run_progress import PROGRESS
from accord.study.search_config import SEARCH
from accord.study.stage import Stage
from accord.study.store import STUDY
from accord.study.work import Input, Models

_PAGE_SHARE = 20  # a page that took a second is not written again for so many


@checked
def run(
    path: Path,
    out: Path | None = None,
    *,
    console: Console | None = None,
    only: Sequence[str] = (),
    replace: bool = False,
) -> Path:
    """Bring the run folder of a study up to date; returns the report's path.

    The folder is `out`, or runs/NAME below the current folder. Stages that are whole and unchanged are left
    alone; when all are, no weights are loaded. With `only`, nothing runs but the stages of these kinds or names, and
    what they are made from. Then, and for a study that makes nothing but embeddings, no report is written, and the run
    folder is returned.

    Raises AccordError, before weights are loaded, for anything wrong in the study file, its data or the model; when
    the folder holds something else, or another process works on it; and, without `replace`, when it holds whole
    results of other settings.
    """
    console = console or Screen(stderr=True)
    file = load(path)
    folder = folder_of(file, out)
    kept: dict[str, Any] = {}
    graph = plan_study(file, kept=kept)
    for line in graph.notes:
        console.print(Text(visible(line)))
    graph.chosen(only)
    check_folder(folder, file)
    check_downloads(graph.downloads)
    graph = plan_study(file, fetch=True, kept=kept)  # now that nothing is wrong with it, and it has a place
    asked = graph.chosen(only)
    shown = not only and any(stage.kind != "embeddings" for stage in graph.stages)  # on a page
    with lock(folder.resolve()):
        check_replaced(asked, folder, replace=replace)
        to_make = to_be_made(asked, folder)
        check_capacity(to_make, folder, file.study.backbone.device, graph.least)
        for stage in to_make:
            if stage.reach is not None and missing(folder / stage.name) is None:  # what lacks a part may go on
                stage.reach()
        folder.mkdir(parents=True, exist_ok=True)
        write_listed(folder, {STUDY: file.text})
        _keep_list(graph, file, folder)
        keep_plan(graph.stages, folder)
        _make_all(file.study.name, graph, asked, to_make, folder, console, page=shown)
        if not shown:
            return folder
        return bring_report(folder)


def folder_of(file: StudyFile, out: Path | None = None) -> Path:
    """The run folder of a study: `out`, or runs/NAME below the current folder."""
    return Path("runs") / file.study.name if out is None else out


def _make_all(
    title: str, graph: Graph, asked: Sequence[Stage], todo: list[Stage], folder: Path, console: Console, *, page: bool
) -> None:
    """Make the stages that are to do, and write the page whenever a capability has all of its own."""
    reasons = {stage.name: why(stage, folder / stage.name) for stage in todo}
    expected = {stage.name: costs.expected(stage) for stage in todo}
    with Display(title, expected, console=console, note=folder / PROGRESS) as display:
        display.say(f"{title}: {_counted(len(todo), len(asked), sum(expected.values()))}")
        for name, reason in reasons.items():
            if reason != TO_DO:
                display.say(f"{name}: {reason}")
        for line in _left_over(graph, folder):
            display.say(line)
        models = Models(display.doing)
        written, took = -math.inf, 0.0  # the page: when, and in how many seconds
        for stage in asked:
            if stage.name not in expected:
                if store.is_cut_short(folder / stage.name):
                    make(stage, folder, models, say=display.say)  # ends what was cut, and removes what is not asked for
                continue
            with display.step(stage.name, lambda stage=stage: _headline(stage, folder)) as progress:  # type: ignore[misc]
                make(stage, folder, models, progress, display.say)
            if lacking := missing(folder / stage.name):
                display.say(f"{stage.name}: {lacking}")
            todo.remove(stage)
            coming = list(dict.fromkeys(capability_of(other.kind) for other in todo))
            if not (page and coming) or capability_of(stage.kind) in coming:
                continue
            if (begun := time.monotonic()) - written >= _PAGE_SHARE * took:
                from accord.report import write_report

                write_report(folder, coming=coming)
                written, took = time.monotonic(), time.monotonic() - begun


def make(
    stage: Stage,
    folder: Path,
    models: Models,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> bool:
    """Make a stage of a run folder, all of whose inputs are there; False if it is up to date. `say`: see `publish`."""

    def at(other: Input) -> Path:
        return folder.absolute() / other.name

    # What would be replaced unasked was refused before, see `check_replaced`.
    new = store.publish(stage, at(stage), at=at, models=models, progress=progress, replace=True, say=say)
    if new and (manifest := read_manifest(folder / stage.name)) is not None:
        costs.note(stage, manifest["seconds"])
    return new


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


def _headline(stage: Stage, folder: Path) -> str:
    """What a stage found, in a few words."""
    result = result_types().get(stage.kind)
    if result is None or not hasattr(result, "headline"):
        return ""
    return str(result.read(folder / stage.name).headline())


def _counted(todo: int, asked: int, seconds: float) -> str:
    if not todo:
        return f"all {asked} stages are up to date"
    rest = f", {asked - todo} up to date" if todo < asked else ""
    return f"{todo} of {asked} stages to do{rest}" + (f", about {clock(seconds)}" if seconds >= 1 else "")


def _left_over(graph: Graph, folder: Path) -> Iterator[str]:
    """The results in a run folder that the study no longer asks for, a line each."""
    if folder.is_dir():
        planned = {folder / stage.name for stage in graph.stages}
        for left in stage_folders(folder):
            if left not in planned:
                yield f"{left.relative_to(folder)}: no longer in the study, left as it is"


def is_new(folder: Path, first: str) -> bool:
    """Whether nothing is in a run folder yet, but for what a kill left of `first`, the file that is written first."""
    return not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {first + ".tmp"})


def check_folder(folder: Path, file: StudyFile) -> None:
    """AccordError if the run folder is, or may be, something of the user's own, or cannot be written."""
    check_may_write(folder)
    if is_new(folder, STUDY):
        return
    fix = "name another with --out"
    listed = kept_list(folder).study
    if not (listed or (folder / STUDY).is_file()) or file.path.resolve() == (folder / STUDY).resolve():
        raise AccordError("This is not a run folder of accord.", where=folder, fix=fix)
    if (folder / SEARCH).exists():
        raise AccordError("This folder holds a search.", where=folder, fix=fix)
    name = listed or read(folder / STUDY)[1].get("name")
    if name != file.study.name:
        raise AccordError(
            "This folder holds the run of another study.",
            where=folder,
            got=name,
            wanted=file.study.name,
            fix=fix,
        )


def _keep_list(graph: Graph, file: StudyFile, folder: Path) -> None:
    """Bring the run's list up to date: what is whole here and not in it, of an earlier version perhaps, is taken in;
    what is gone, and no longer in the study, is left out.
    """
    begin_list(folder, file.study.name, [STUDY])
    run, planned = Run(folder, verified=True), {stage.name for stage in graph.stages}
    whole = {name: sha256(folder / name / MANIFEST) for name in run.manifests}
    with changed_list(folder) as listed:
        stages = {name: of for name, of in listed.stages.items() if name in planned or (folder / name).exists()}
        listed.stages = {**whole, **stages}
