"""From a study file to a run folder: check everything, fetch, run what is not up to date, write the report."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from accord.arguments import checked
from accord.disk import lock, write_whole
from accord.errors import AccordError
from accord.progress import Display, Progress, clock
from accord.study import costs, store
from accord.study.check import stage_folders
from accord.study.config import StudyFile, load, read
from accord.study.graph import TO_DO, UP_TO_DATE, Graph, plan_study, why
from accord.study.run_folder import capability_of, result_types
from accord.study.search_result import SEARCH
from accord.study.stage import Stage
from accord.study.store import STUDY
from accord.study.work import Models

_PAGE_SHARE = 10  # a page that took a second is not written again for so many
NOTE = "progress.json"  # in a run folder while the run lives: how far it is (see accord.progress.Display)

# The steps of a study and the kinds of stages that each is for; what these are made from is made, too.
STEPS: dict[str, tuple[str, ...]] = {
    "embed": ("embeddings",),
    "train": ("concepts", "heads"),
    "generate": ("texts",),
    "perplexity": ("perplexity",),
}


@checked
def run(path: Path, out: Path | None = None, *, console: Console | None = None, step: str | None = None) -> Path:
    """Bring the run folder of a study up to date; returns the report's path.

    The folder is `out`, or runs/NAME below the current folder. Stages that are whole and unchanged are left
    alone; when all are, no weights are loaded. With a `step` of `STEPS`, only its stages run. Then, and for a study
    that makes nothing but embeddings, no report is written, and the run folder is returned.

    Raises AccordError for anything wrong in the study file, its data or the model, before weights are loaded,
    and when the folder holds something else or another process works on it.
    """
    console = console or Console(stderr=True)
    file = load(path)
    folder = Path("runs") / file.study.name if out is None else out
    kept: dict[str, Any] = {}
    for line in plan_study(file, kept=kept).notes:
        console.print(line, highlight=False, markup=False)
    _check_folder(folder, file)
    graph = plan_study(file, fetch=True, kept=kept)  # now that nothing is wrong with it, and it has a place
    asked = list(graph.stages)
    if step is not None:
        asked = graph.upstream([stage for stage in asked if stage.kind in STEPS[step]])
    if not asked:
        raise AccordError(f"This study has nothing to {step}.", where=path, wanted="a [text] section, and what follows")
    shown = step is None and any(stage.kind != "embeddings" for stage in graph.stages)  # on a page
    with lock(folder.resolve()):
        _keep_study(file, folder)
        _make_all(file.study.name, graph, asked, folder, console, page=shown)
        if not shown:
            return folder
        report = folder / store.REPORT
        if not _is_newest(report, folder):
            from accord.report import write_figures, write_report

            write_figures(folder)
            write_report(folder)
    return report


def _make_all(title: str, graph: Graph, asked: Sequence[Stage], folder: Path, console: Console, *, page: bool) -> None:
    """Make the stages that are not up to date, and write the page whenever a capability has all of its own."""
    reasons = {stage.name: why(stage, folder / stage.name) for stage in asked}
    todo = [stage for stage in asked if reasons[stage.name] != UP_TO_DATE]
    expected = {stage.name: costs.expected(stage) for stage in todo}
    with Display(title, expected, console=console, note=folder / NOTE) as display:
        display.say(f"{title}: {_counted(len(todo), len(asked), sum(expected.values()))}")
        for name, reason in reasons.items():
            if reason not in (UP_TO_DATE, TO_DO):
                display.say(f"{name}: {reason}")
        for line in _left_over(graph, folder):
            display.say(line)
        models = Models(display.doing)
        written, took = -math.inf, 0.0  # the page: when, and in how many seconds
        for stage in asked:
            if stage.name not in expected:
                make(stage, folder, models)  # also removes what an interrupted one with other settings left
                continue
            with display.step(stage.name, lambda stage=stage: _headline(stage, folder)) as progress:  # type: ignore[misc]
                make(stage, folder, models, progress)
            if missing := store.missing(folder / stage.name):
                display.say(f"{stage.name}: {missing}")
            todo.remove(stage)
            coming = list(dict.fromkeys(capability_of(other.kind) for other in todo))
            if not (page and coming) or capability_of(stage.kind) in coming:
                continue
            if (begun := time.monotonic()) - written >= _PAGE_SHARE * took:
                from accord.report import write_report

                write_report(folder, coming=coming)
                written, took = time.monotonic(), time.monotonic() - begun


def make(stage: Stage, folder: Path, models: Models, progress: Progress | None = None) -> bool:
    """Make a stage of a run folder, all of whose inputs are there; False if it is up to date."""
    new = store.publish(
        stage, folder / stage.name, at=lambda other: folder.absolute() / other.name, models=models, progress=progress
    )
    if new and (manifest := store.read_manifest(folder / stage.name)) is not None:
        costs.note(stage, manifest["seconds"])
    return new


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


def described(graph: Graph, folder: Path) -> Iterator[str]:
    """What `accord run` would do in a folder and why, a line each: what must be fetched, then stage by stage."""
    for name, what in graph.missing.items():
        yield f"{name}: {what}, to be fetched"
    for stage in graph.stages:
        yield f"{stage.name}: {why(stage, folder / stage.name)}"
    yield from _left_over(graph, folder)


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


def _check_folder(folder: Path, file: StudyFile) -> None:
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


def _is_newest(report: Path, folder: Path) -> bool:
    """Whether the report is younger than all that it tells of."""
    sources = [*(stage / store.MANIFEST for stage in stage_folders(folder)), folder / STUDY]
    return report.exists() and all(report.stat().st_mtime_ns >= path.stat().st_mtime_ns for path in sources)
