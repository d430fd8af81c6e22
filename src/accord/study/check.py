"""Is a run still what accord wrote? Every file is read and compared with its hash, and all that is wrong is told."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accord.arguments import checked
from accord.disk import aside
from accord.errors import AccordError
from accord.sealed import DIGEST
from accord.study.kept_plan import PLAN, KeptPlan, read_plan
from accord.study.made_from import report_is_intact
from accord.study.manifest import MANIFEST, faults, is_cut, open_manifest, read_manifest
from accord.study.run_folder import Run, misplaced
from accord.study.run_list import LIST, RunList, read_list
from accord.study.search_config import SEARCH
from accord.study.store import REPORT, STUDY, files_of
from accord.unfinished import check_finished

__all__ = ["Problem", "check"]


@dataclass(frozen=True)
class Problem:
    """One file or folder that is not as it was written.

    Attributes:
        what: what is wrong with it.
        mend: what to do.
    """

    path: Path
    what: str
    mend: str = ""


def stage_folders(folder: Path) -> list[Path]:
    """The stage folders with a manifest in a run folder, or `folder` itself if it is one; sorted by path."""
    folders = [manifest.parent for manifest in folder.rglob(MANIFEST)]
    return sorted(path for path in folders if not any(part.startswith(".") for part in path.relative_to(folder).parts))


@checked
def check(folder: Path) -> list[Problem]:
    """Compare all that accord wrote into a run folder, or stage folder, with the hashes of what it wrote.

    Raises AccordError if there are no results in `folder`.
    """
    stages = stage_folders(folder)
    unfinished = sorted(path for path in folder.rglob(".*.partial") if path.is_dir())
    runs = _run_folders(folder, LIST, PLAN)
    if not stages and not unfinished and not runs:
        check_finished(folder)
        raise AccordError(
            "There are no results here.",
            where=folder,
            wanted=f"a run folder of accord run, or a folder of accord gap --out (they hold a {MANIFEST})",
        )
    problems: list[Problem] = []
    everywhere = _run_folders(folder, LIST, PLAN, SEARCH, STUDY)  # also where the list is gone, or never was
    for run in everywhere:
        own = [stage for stage in stages if run in stage.parents[:2]]
        if not own and run not in runs and not any(run in other.parents for other in everywhere):
            continue  # killed when it was begun: before it had a list there was nothing else in it
        problems += _check_run(run, own)
        stages = [stage for stage in stages if stage not in own]
    for stage in stages:  # in no run
        problems += _check_stage(stage, "the command that made it makes it again")
    if not (folder / MANIFEST).exists():
        other, mend = "made from other results than those that are here now", _again(read_plan(folder)) + " --replace"
        problems += [Problem(folder / name, other, mend) for name in Run(folder).outdated]
    problems += [Problem(path, "unfinished", "the same command again goes on from it") for path in unfinished]
    replaced = sorted(path for path in folder.rglob(".*.old") if path.is_dir())
    return problems + [
        Problem(path, "replaced, and not yet removed", "the same command again ends it") for path in replaced
    ]


def _run_folders(folder: Path, *marks: str) -> list[Path]:
    """The run folders in a folder, by the files that stand beside the stages of one."""
    return sorted({path.parent for mark in marks for path in folder.rglob(mark)})


def _check_run(run: Path, there: list[Path]) -> Iterator[Problem]:
    plan, listed = read_plan(run), None
    again = _again(plan)
    try:
        listed = read_list(run)
    except AccordError:
        yield Problem(run / LIST, "changed", again)
    else:
        if listed is None:
            yield Problem(run / LIST, *_without_list(there, again))
    for name, what in [] if listed is None else listed.faults(run):
        yield Problem(run / name, what, f"accord open {run} draws it anew" if "/" in name else again)
    found = {stage.relative_to(run).as_posix() for stage in there}
    for name in () if listed is not None or plan is None else plan.stages:
        if name not in found and not aside(run / name, "partial").exists():  # which is told as unfinished
            yield Problem(run / name, f"not here; without {LIST} nothing tells whether it ever was", again)
    names = found | (listed or RunList()).stages.keys()
    for name in sorted(names):
        mend = again
        if plan is not None and name not in plan.stages:  # no run makes it again
            rm = f"accord rm {run} {name}"
            mend = rm if read_manifest(run / name) else f"put it back from a copy, or remove its folder; then: {again}"
        yield from _check_listed(run, name, listed, mend)
    yield from _check_report(run)


def _without_list(stages: list[Path], again: str) -> tuple[str, str]:
    if any(DIGEST in (read_manifest(stage) or {}) for stage in stages):
        return "missing", again
    what = "missing, as an earlier version of accord made this run: what was deleted since cannot be told"
    return what, f"{again}; where nothing else is to do, it only adds the list"


def _check_listed(run: Path, name: str, listed: RunList | None, mend: str) -> Iterator[Problem]:
    """A stage that is in a run folder, or in its list."""
    folder = run / name
    digest = None if listed is None else listed.stages.get(name)
    if digest is not None and not (folder / MANIFEST).exists():
        if not is_cut(folder, digest):
            yield Problem(folder / MANIFEST if folder.is_dir() else folder, "missing", mend)
        return
    found = list(_check_stage(folder, mend))
    manifest = read_manifest(folder)
    if manifest is not None and (what := misplaced(name, manifest)):
        found.append(Problem(folder / MANIFEST, what, mend))
    elif listed is not None and digest is None and not found:
        found.append(Problem(folder, "not made in this run", mend))
    yield from found


def _check_stage(folder: Path, mend: str) -> Iterator[Problem]:
    try:
        manifest = open_manifest(folder)
    except AccordError as error:
        yield Problem(folder / MANIFEST, str(error.got).removeprefix(f"{MANIFEST}: "), mend)
        return
    for name, what in faults(folder, manifest, anew=True):
        yield Problem(folder / name, what, mend)
    for name in files_of(folder):
        if name not in manifest["files"]:
            yield Problem(folder / name, "not written by accord", "move it elsewhere")
    yield from _check_report(folder)


def _check_report(folder: Path) -> Iterator[Problem]:
    if (folder / REPORT).exists() and not report_is_intact(folder):
        yield Problem(folder / REPORT, "changed, or of an earlier version", f"accord report {folder} writes it anew")


def _again(plan: KeptPlan | None) -> str:
    """The command that makes a run's stages again."""
    if plan is None or not plan.command.startswith("accord "):
        return "accord run STUDY.toml"
    return re.sub(r" --only[ =]\S+| --replace\b", "", plan.command)
