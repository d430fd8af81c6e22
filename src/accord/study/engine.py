"""From a study file to a run folder: check everything, plan, run what is not up to date, write the report."""

from collections.abc import Callable, Iterator
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
from accord.study.gap_stages import gap_stage
from accord.study.plan import stages_of
from accord.study.rows import BACKBONE
from accord.study.stage import Progress, Run, Stage, load_once
from accord.study.validate import backbone_of, check
from accord.tasks import Task, left_out

STUDY = "study.toml"  # in the run folder: the text of the study that made it
FIGURES = "figures"  # in the run folder: those of concept models and of perplexity, for papers and slides
SEARCH = "search.json"  # in the run folder of a search
Bar = Callable[[str], Progress]


# The steps of a study and the kinds of stages that each needs: those of its own, and what they are made from.
STEPS: dict[str, tuple[str, ...]] = {"embed": ("embeddings",)}
STEPS["train"] = (*STEPS["embed"], "concepts", "heads")
STEPS["generate"] = (*STEPS["train"], "texts")
STEPS["perplexity"] = (*STEPS["generate"], "perplexity")


@checked
def run(path: Path, out: Path | None = None, *, console: Console, step: str | None = None) -> Path:
    """Bring the run folder of a study up to date; returns the report's path.

    The folder is `out`, or runs/NAME below the current folder. Stages that are whole and unchanged are left
    alone; when all are, no weights are loaded. With a `step` of `STEPS`, only its stages run, and no report is
    written: the run folder is returned, as it is where there are but embeddings.

    Raises AccordError for anything wrong in the study file, its data or the model, before weights are loaded,
    and when the folder holds something else or another process works on it.
    """
    file = load(path)
    folder = Path("runs") / file.study.name if out is None else out
    tasks = check(file)
    for line in dict.fromkeys(filter(None, map(left_out, tasks))):
        console.print(line, highlight=False, markup=False)
    stages = plan(file, tasks, Run(folder.absolute(), backbone_of(file), load_once()))
    left = [] if step is None else [stage for stage in stages if stage.kind not in STEPS[step]]
    todo = [stage for stage in stages if stage not in left]
    if not todo:
        raise AccordError(f"This study has nothing to {step}.", where=path, wanted="a [text] section, and what follows")
    _check_folder(folder, file)
    with lock(folder.resolve()):
        _keep_study(file, folder)
        _show_plan(todo, stages, folder, console)
        with bars(console) as bar:
            for stage in todo:
                _run_stage(stage, folder, bar)
                if missing := store.missing(folder / stage.name):
                    console.print(f"{stage.name}: {missing}", highlight=False)
        if step is not None or all(stage.kind == "embeddings" for stage in stages):
            return folder
        report = folder / store.REPORT
        if not _is_newest(report, folder):
            from accord.report import write_concept_figures, write_report

            if file.study.text is not None:  # a gap's figures are in its own folder
                write_concept_figures(folder, folder / FIGURES)
            write_report(folder)
    return report


def plan(file: StudyFile, tasks: list[Task], run: Run) -> list[Stage]:
    """The stages of a checked study, in the order they run. Fetches the model if need be."""
    gaps = [
        gap_stage(section, task, run.backbone, file.study.seeds[0], run.weights)
        for section, task in zip(file.study.gap, tasks, strict=True)
        if section.model == BACKBONE
    ]
    return [*gaps, *stages_of(file, run, tasks)]


@contextmanager
def bars(console: Console) -> Iterator[Bar]:
    """Progress bars: a function that makes one by name."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBars(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:

        def bar(name: str) -> Progress:
            row = shown.add_task(name, total=None)
            return lambda done, total: shown.update(row, completed=done, total=total)

        yield bar


def _run_stage(stage: Stage, folder: Path, bar: Bar) -> None:
    store.publish(folder / stage.name, stage.recipe, lambda work: stage.build(work, bar(stage.name)))


def _check_folder(folder: Path, file: StudyFile) -> None:
    """AccordError if the run folder is, or may be, something of the user's own."""
    left_by_a_kill = STUDY + ".tmp"
    if not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {left_by_a_kill}):
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


def _show_plan(todo: list[Stage], stages: list[Stage], folder: Path, console: Console) -> None:
    for stage in todo:
        found = store.state(folder / stage.name, stage.recipe)
        said = _PLANNED.get(found, "to do")
        if found == "other" and store.rendered_otherwise(folder / stage.name, stage.recipe):
            said = "the chat template writes another text now (a date? chat_options can fix it), to do again"
        console.print(f"{stage.name}: {said}", highlight=False)
    asked = {folder / stage.name for stage in stages}
    for left in stage_folders(folder):
        if left not in asked:
            console.print(f"{left.relative_to(folder)}: no longer in the study, left as it is", highlight=False)


_PLANNED: dict[Any, str] = {
    "whole": "up to date",
    "unfinished": "something is missing, to go on",
    "other": "settings changed, to do again",
    "damaged": "files gone or changed, to do again",
}


def _is_newest(report: Path, folder: Path) -> bool:
    """Whether the report is younger than all that it tells of."""
    sources = [*(stage / store.MANIFEST for stage in stage_folders(folder)), folder / STUDY]
    return report.exists() and all(report.stat().st_mtime_ns >= path.stat().st_mtime_ns for path in sources)
