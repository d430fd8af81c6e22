"""`accord search`: trials of a study with values drawn from its ranges, each through the stages of any study."""

import shutil
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from accord.cluster.config import MachinesSection
from accord.disk import lock, read_object
from accord.errors import AccordError
from accord.progress import Display
from accord.screen import visible
from accord.study import config, engine, store
from accord.study.capacity import check_capacity, check_downloads, check_may_write, largest_need
from accord.study.config import StudyFile
from accord.study.graph import Graph
from accord.study.remove import check_own
from accord.study.replaced import MadeOtherwise, not_replaced
from accord.study.run_list import begin_list, changed_list, write_listed
from accord.study.search_config import SEARCH, TABLE
from accord.study.search_file import SearchFile
from accord.study.search_file import load as load_search
from accord.study.search_result import SearchedRange, SearchResult
from accord.study.search_work import Search, check_planned, planned
from accord.study.stage import Stage, settings_that_differ
from accord.study.trials import TRIALS, SearchTrial
from accord.study.work import Models

__all__ = ["search"]

BEST = "best.toml"


def search(
    path: Path,
    trials: int,
    out: Path | None = None,
    *,
    console: Console,
    replace: bool = False,
    machines: MachinesSection | None = None,
) -> tuple[list[SearchTrial], Path]:
    """Bring the trials of a search to this number; all of them, best first and failed ones last, and the run folder.

    The folder is `out`, or runs/NAME below the current folder. It gets trials/NNNN/ (a run folder of the stages that
    the objective needs and a range touches, with its study file), trials.csv, best.toml (the study with the best
    values), search.json (what is sought, and where) and the report. Several processes may work on it at once; trials
    of processes that died are gone on with. A trial that fails counts, with its reason. The trials are brought to their
    end on `machines`, by default those of the study; one process or many, they have the same values where draws are
    random.

    Raises AccordError for anything wrong in the study file, its data or the model, and for what cannot be fetched,
    before any weights are loaded; when the folder holds something else, or, without `replace`, another search; and
    when no trial gives a value.
    """
    file = load_search(path)
    machines = machines or engine.machines_of(file.first)
    alone = machines.engine == "serial"
    if not alone:
        from accord.cluster.start import import_ray

        import_ray(alone=not machines.address)  # if it is missing, that is told before anything is fetched
    needs = _Needs(out or Path("runs") / file.name, alone)
    job = _prepare(file, needs, replace)
    _open(job, lambda: console.print(Text(visible(f"{job.folder}: waiting for another search to leave it"))))
    if alone:
        _bring_all(job, trials, console)
    else:
        from accord.cluster.search import bring_all

        bring_all(job, trials, console, machines, needs.memory)
    finished = job.trials().finished()
    _conclude(job, finished)
    if finished and finished[0].value is None:
        raise AccordError("No trial gives a value.", where=job.folder / TABLE, got=finished[0].reason)
    return finished, job.folder


class _Needs:
    """Sees that there is room for what any end of a range asks for.

    Attributes:
        memory: bytes that the largest stage takes.
    """

    def __init__(self, folder: Path, alone: bool) -> None:
        self.folder, self.memory = folder, 0
        self._alone = alone  # else memory is that of the workers' machines
        self._begins = engine.is_new(folder, SEARCH)

    def check(self, study: StudyFile, graph: Graph, needed: list[Stage]) -> None:
        check_downloads(graph.downloads)
        if self._begins:
            check_capacity(needed, self.folder, study.study.backbone.device if self._alone else None, graph.least)
        if not self._alone:
            self.memory = max(self.memory, largest_need({each.name: each.needs() for each in needed}, graph.least())[1])


def _prepare(file: SearchFile, needs: _Needs, replace: bool) -> Search:
    """Check the study with every end of its ranges, and fetch all that they need."""
    check_may_write(needs.folder)
    check_planned(file, lambda graph: check_downloads(graph.downloads))  # all mistakes, before anything is fetched
    return planned(file, needs.folder, Models(), needs.check, replace)


def _bring_all(job: Search, trials: int, console: Console) -> None:
    """Make what all trials share, then bring one trial after the other to its end."""
    with Display(job.file.name, console=console) as display:
        for stage in job.shared.values():
            job.make(stage, lambda other: job.folder.absolute() / other.name, display)
        pool = job.trials()
        while job.bring(pool, trials, display):
            pass


def _open(job: Search, waits: Callable[[], None]) -> None:
    """See that the folder is this search's own, and keep with it what is sought.

    Args:
        waits: called before it waits for another process that holds the folder.

    Raises AccordError if it holds something else.
    """
    file, folder = job.file, job.folder
    fix = "name another with --out"
    with lock(folder.resolve(), wait=True, waits=waits):
        if (folder / SEARCH).is_file():
            if read_object(folder / SEARCH, "fingerprint")["fingerprint"] != job.fingerprint:
                if not job.replace:
                    raise not_replaced(_other(job), folder, "name another folder with --out")
                _remove_trials(folder)
        elif not engine.is_new(folder, SEARCH):
            raise AccordError("This is not the folder of a search.", where=folder, fix=fix)
        folder.mkdir(parents=True, exist_ok=True)
        write_listed(folder, {**_result(job).texts(), store.STUDY: file.text})
        begin_list(folder, file.name, [SEARCH, store.STUDY])


def _other(job: Search) -> MadeOtherwise:
    """How the search in the folder differs from this one."""
    before, now = config.read(job.folder / store.STUDY)[1], tomllib.loads(job.file.text)
    changed = [key for key, _, _ in settings_that_differ(before, now)] or ["the data, the model or accord itself"]
    return MadeOtherwise(job.folder.name, ", ".join(changed), None)


def _remove_trials(folder: Path) -> None:
    """Remove the trials of another search. Raises AccordError while another process works on one, and if somebody put
    something of their own among them.
    """
    with ExitStack() as held:
        for place in sorted((folder / TRIALS).glob("[0-9]*")):
            held.enter_context(lock(place.resolve()))
        check_own(folder, folder / TRIALS)
        shutil.rmtree(folder / TRIALS)
    with changed_list(folder) as listed:  # first: whatever stops this, what is listed is there
        for name in (TABLE, BEST):
            listed.files.pop(name, None)
    for name in (TABLE, BEST, store.REPORT):
        (folder / name).unlink(missing_ok=True)


def _conclude(job: Search, finished: list[SearchTrial]) -> None:
    """Write what all trials together tell: the table, the best study, the report."""
    from accord.report import write_report

    with lock(job.folder.resolve(), wait=True):
        texts = _result(job).with_trials(finished).texts()
        if finished and finished[0].value is not None:
            best = finished[0]
            about = f"# The best of {len(finished)} trials of accord search: trial {best.number}, "
            about += f"{job.file.section.objective} = {best.value:.6g}\n"
            texts[BEST] = about + job.file.ready(best.values, job.folder, f"{job.file.name}-best")
        write_listed(job.folder, texts)
        write_report(job.folder)


def _result(job: Search) -> SearchResult:
    """What is sought, without its trials."""
    ranges = [SearchedRange(span.name, span.values) for span in job.file.ranges]
    return SearchResult(job.file.section, ranges, job.fingerprint)
