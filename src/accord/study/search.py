"""`accord search`: trials of a study with values drawn from its ranges, each through the stages of any study."""

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from accord import spread
from accord.disk import lock, read_object
from accord.errors import AccordError
from accord.progress import Display
from accord.study import config, engine, objective, store
from accord.study.capacity import check_capacity, check_downloads, check_may_write
from accord.study.config import StudyFile
from accord.study.graph import Graph, plan_study
from accord.study.remove import check_own
from accord.study.replaced import MadeOtherwise, not_replaced
from accord.study.run_list import begin_list, changed_list, write_listed
from accord.study.search_config import SEARCH, TABLE
from accord.study.search_file import SearchFile
from accord.study.search_file import load as load_search
from accord.study.search_result import SearchedRange, SearchResult
from accord.study.stage import Stage, settings_that_differ
from accord.study.trials import TRIALS, Claim, SearchTrial, Trials
from accord.study.work import Input, Models

BEST = "best.toml"


@dataclass(frozen=True)
class _Search:
    """A search before any work: its file, the stages that no range touches, and what its trials must have in common."""

    file: SearchFile
    folder: Path
    models: Models  # of all trials
    shared: Mapping[str, Stage]  # by name; made once, in the run folder
    fingerprint: str  # of all that the trials' values depend on: other than this, they cannot be compared
    replace: bool  # of another search, in the same folder


def search(
    path: Path, trials: int, out: Path | None = None, *, console: Console, replace: bool = False
) -> tuple[list[SearchTrial], Path]:
    """Bring the trials of a search to this number; all of them, best first and failed ones last, and the run folder.

    The folder is `out`, or runs/NAME below the current folder. It gets trials/NNNN/ (a run folder of the stages that
    the objective needs and a range touches, with its study file), trials.csv, best.toml (the study with the best
    values), search.json (what is sought, and where) and the report. Several processes may work on it at once; trials
    of processes that died are gone on with. A trial that fails counts, with its reason.

    Raises AccordError for anything wrong in the study file, its data or the model, and for what cannot be fetched,
    before any weights are loaded; when the folder holds something else, or, without `replace`, another search; and
    when no trial gives a value.
    """
    job = _prepare(load_search(path), out, replace)
    _open(job)
    with Display(job.file.name, console=console) as display:
        for stage in job.shared.values():
            _make(job, stage, lambda other: job.folder.absolute() / other.name, display)
        pool = Trials(job.folder, job.file.name, job.file.section, job.file.ranges)
        while _bring(job, pool, trials, display):
            pass
    finished = pool.finished()
    _conclude(job, finished)
    if finished and finished[0].value is None:
        raise AccordError("No trial gives a value.", where=job.folder / TABLE, got=finished[0].reason)
    return finished, job.folder


def _prepare(file: SearchFile, out: Path | None, replace: bool) -> _Search:
    """Check the study with every end of its ranges, fetch all that they need, and see which stages are the same
    whatever is drawn.
    """
    section, folder = file.section, out or Path("runs") / file.name
    begins = engine.is_new(folder, SEARCH)
    check_may_write(folder)

    def stages(study: StudyFile, fetch: bool) -> list[Stage]:
        graph = plan_study(study, fetch=fetch)
        check_downloads(graph.downloads)
        needed = graph.upstream(_targets(file, graph))
        if begins and fetch:  # what any end of a range asks for must fit
            check_capacity(needed, folder, study.study.backbone.device, graph.least)
        return needed

    file.each(lambda study: stages(study, False))  # all mistakes come out before anything is fetched
    first, *others = file.each(lambda study: stages(study, True))
    prints = [{stage.name: stage.recipe.fingerprint for stage in other} for other in others]
    shared = {s.name: s for s in first if all(other.get(s.name) == s.recipe.fingerprint for other in prints)}
    if len(shared) == len(first):
        where = file.where(("search", "objective"))
        raise AccordError("No range touches what the objective is made from.", where=where, got=section.objective)
    sought = {"ranges": [[span.name, span.values.model_dump()] for span in file.ranges], "objective": section.objective}
    fixed = [{**sought, "direction": section.direction}, [stage.recipe.fingerprint for stage in first]]
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    return _Search(file, folder, Models(), shared, digest, replace)


def _targets(file: SearchFile, graph: Graph) -> list[Stage]:
    """The stages that the objective is read from. Raises AccordError if the study has none."""
    return objective.target(graph.stages, file.section.objective, file.where(("search", "objective")))


def _open(job: _Search) -> None:
    """See that the folder is this search's own, and keep with it what is sought.

    Raises AccordError if it holds something else.
    """
    file, folder = job.file, job.folder
    fix = "name another with --out"
    with lock(folder.resolve(), wait=True):
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


def _other(job: _Search) -> MadeOtherwise:
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


def _bring(job: _Search, pool: Trials, count: int, display: Display) -> bool:
    """Bring one trial to its end; False if there is none left to begin."""
    with pool.claim(count) as claim:
        if claim is None:
            return False
        display.title = f"{job.file.name} · trial {claim.number} of {count}"
        display.say(f"trial {claim.number}: {say(claim.values)}")
        try:
            value = _value(job, claim, display)
        except AccordError as error:
            for partial in claim.folder.rglob(".*.partial"):  # nobody will go on from it
                spread.remove(partial)
            pool.finish(claim, None, str(error))
            display.say(f"trial {claim.number}: failed. {error}")
        else:
            pool.finish(claim, value)
            display.say(f"trial {claim.number}: {job.file.section.objective} = {value:.6g}")
        return True


def _value(job: _Search, claim: Claim, display: Display) -> float:
    """Run what a trial needs, in its folder, but for what all trials share; its objective."""
    claim.folder.mkdir(exist_ok=True)
    name = f"{job.file.name}-{claim.number:04}"
    write_listed(claim.folder, {store.STUDY: job.file.ready(claim.values, claim.folder, name)})
    begin_list(claim.folder, name, [store.STUDY])
    graph = plan_study(job.file.study(claim.values), fetch=True)

    def at(stage: Input) -> Path:
        same = stage.name in shared
        return ((job.folder if same else claim.folder) / stage.name).absolute()

    shared = {
        stage.name
        for stage in graph.stages
        if stage.name in job.shared and job.shared[stage.name].recipe.fingerprint == stage.recipe.fingerprint
    }
    targets = _targets(job.file, graph)
    for stage in graph.upstream(targets):
        _make(job, stage, at, display)
    return objective.read(targets, job.file.section.objective, at)


def _make(job: _Search, stage: Stage, at: Callable[[Input], Path], display: Display) -> None:
    """Make a stage, once whoever else is at it has left."""
    with display.step(stage.name) as progress:
        store.publish(stage, at(stage), at=at, models=job.models, progress=progress, replace=job.replace, wait=True,
                      say=display.say)  # fmt: skip


def _conclude(job: _Search, finished: list[SearchTrial]) -> None:
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


def _result(job: _Search) -> SearchResult:
    """What is sought, without its trials."""
    ranges = [SearchedRange(span.name, span.values) for span in job.file.ranges]
    return SearchResult(job.file.section, ranges, job.fingerprint)


def say(values: Mapping[str, Any]) -> str:
    """The values of a trial on one line.

    >>> say({"size": 16, "lr": 0.00123456})
    'size = 16, lr = 0.001235'
    """
    return ", ".join(f"{name} = {short(value)}" for name, value in values.items())


def short(value: Any) -> str:
    """A value in few digits, for tables."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
