"""From a study file to a run folder: check everything, fetch, run what is not up to date, write the report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from accord.arguments import checked
from accord.cluster.config import MachinesSection
from accord.disk import lock, sha256
from accord.errors import AccordError
from accord.screen import Screen, visible
from accord.study.capacity import check_capacity, check_downloads, check_may_write
from accord.study.config import StudyFile, from_options, load, read
from accord.study.graph import Graph, made_otherwise, plan_study, to_be_made
from accord.study.kept_plan import keep_plan
from accord.study.making import GrowingPage, ToMake, headline_of, make
from accord.study.manifest import MANIFEST, missing
from accord.study.replaced import not_replaced
from accord.study.report_file import bring_report
from accord.study.run_folder import Run
from accord.study.run_list import begin_list, changed_list, kept_list, write_listed
from accord.study.search_config import SEARCH
from accord.study.stage import Stage
from accord.study.store import STUDY
from accord.study.work import Models


@checked
def run(
    path: Path,
    out: Path | None = None,
    *,
    console: Console | None = None,
    only: Sequence[str] = (),
    replace: bool = False,
    machines: MachinesSection | None = None,
) -> Path:
    """Bring the run folder of a study up to date; returns the report's path.

    The folder is `out`, or runs/NAME below the current folder. Stages that are whole and unchanged are left
    alone; when all are, no weights are loaded. With `only`, nothing runs but the stages of these kinds or names, and
    what they are made from. Then, and for a study that makes nothing but embeddings, no report is written, and the run
    folder is returned. The stages are made on `machines`, by default those of the study.

    Raises AccordError, before weights are loaded, for anything wrong in the study file, its data or the model; when
    the folder holds something else, or another process works on it; and, without `replace`, when it holds whole
    results of other settings.
    """
    console = console or Screen(stderr=True)
    file = load(path)
    machines = machines or machines_of(file)
    folder = folder_of(file, out)
    if machines.engine == "ray":
        from accord.cluster.start import import_ray

        import_ray(alone=not machines.address)  # if it is missing, that is told before anything is fetched
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
        alone = machines.engine == "serial"  # else memory is that of the workers' machines
        check_capacity(to_make, folder, file.study.backbone.device if alone else None, graph.least)
        for stage in to_make:
            if stage.reach is not None and missing(folder / stage.name) is None:  # what lacks a part may go on
                stage.reach()
        folder.mkdir(parents=True, exist_ok=True)
        write_listed(folder, {STUDY: file.text})
        _keep_list(graph, file, folder)
        keep_plan(graph.stages, folder)
        make_on = _engine(machines) if to_make else make_all
        make_on(ToMake(file, graph, asked, to_make, folder, page=shown), console, machines)
        if not shown:
            return folder
        return bring_report(folder)


def machines_of(file: StudyFile, **given: Any) -> MachinesSection:
    """What a study is made on. Raises AccordError for what goes with no serial run.

    Args:
        given: keys in place of the study's; those that are None are not given.
    """
    keys = {key: value for key, value in given.items() if value is not None}
    section = file.study.machines or MachinesSection()
    chosen = from_options(MachinesSection, {**section.model_dump(), **keys})
    if chosen.engine == "serial" and (idle := [key for key in keys if key != "engine"]):
        got = ", ".join(f"--{key}" for key in idle)
        raise AccordError("A serial run has one worker, on this machine.", got=got, fix="add --engine ray")
    return chosen


def _engine(machines: MachinesSection) -> Callable[[ToMake, Console, MachinesSection], None]:
    if machines.engine == "serial":
        return make_all
    from accord.cluster.run import make_all as make_all_on_ray

    return make_all_on_ray


def folder_of(file: StudyFile, out: Path | None = None) -> Path:
    """The run folder of a study: `out`, or runs/NAME below the current folder."""
    return Path("runs") / file.study.name if out is None else out


def make_all(what: ToMake, console: Console, machines: MachinesSection) -> None:
    """Make the stages that are to do, one after the other."""
    with what.display(console) as display:
        models = Models(display.doing)
        page = GrowingPage(what)
        for stage in what.asked:
            if stage.name not in what.expected:
                what.clear(stage, display.say)
                continue
            with display.step(stage.name, lambda stage=stage: headline_of(stage, what.folder)) as progress:  # type: ignore[misc]
                make(stage, what.folder, models, progress, display.say)
            if lacking := missing(what.folder / stage.name):
                display.say(f"{stage.name}: {lacking}")
            if page.is_due(stage):
                page.write(page.coming)


def check_replaced(stages: Sequence[Stage], folder: Path, *, replace: bool) -> None:
    """AccordError if making these stages would replace whole results of other settings, without `replace`.

    Also, in any case, if something is in a stage's place that accord did not write.
    """
    found = made_otherwise(stages, folder)
    if found and not replace:
        raise not_replaced(found, folder, 'give the study another name (name = "…") or another folder (--out)')


def check_may_be_made(graph: Graph, folder: Path, device: str | None) -> None:
    """AccordError if a study could not be run in a folder: for what else is in it, or for want of memory or disk.

    `device`: see `accord.study.capacity.check_capacity`.
    """
    check_may_write(folder)
    check_replaced(graph.stages, folder, replace=True)
    check_downloads(graph.downloads)
    check_capacity(to_be_made(graph.stages, folder), folder, device, graph.least)


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
