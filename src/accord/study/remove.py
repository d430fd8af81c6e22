"""Taking results away: a stage of a run or a whole run folder, and nothing that accord did not write."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from accord import spread
from accord.arguments import checked
from accord.cluster.log import LOGS
from accord.cluster.shared import MARK
from accord.disk import aside, is_locked, lock
from accord.errors import AccordError
from accord.study.kept_plan import PLAN
from accord.study.manifest import MANIFEST, faults, read_manifest
from accord.study.run_list import LIST, list_stage
from accord.study.run_progress import PROGRESS
from accord.study.run_status import RunStatus, place, status
from accord.study.search_config import SEARCH
from accord.study.stage import nearest_stage
from accord.study.store import (
    EXPORT,
    LISTING,
    REPORT,
    STUDY,
    clear_old,
    exported_files,
    files_of,
    is_exported,
    on_stderr,
    remove_empty,
)
from accord.unfinished import RECORD

# What accord writes into a run folder beside stages; each may have been cut while it was written.
_TOP = (STUDY, PLAN, LIST, PROGRESS, REPORT, SEARCH, "trials.csv", "best.toml")
_TRIAL = (STUDY, LIST, "trial.json")
_JOURNAL = re.compile(r"trials/optuna\.log(\.lock.*)?")
_ASIDE = re.compile(r"\..+\.partial")  # folders in which accord makes others
_LOCK = re.compile(r"\..+\.lock")
_WAIT = "stop it, or wait for its end"
_NAMED = 3  # files that an error names


@dataclass(frozen=True)
class Removal:
    """What would be removed.

    Attributes:
        run: the run folder.
        stage: the stage's name; None for the whole run.
        folder: what goes.
        stages: how many stages that is.
        bytes: of all of it.
        finished: when the last of it was made; None where nothing of it is whole.
        seconds: of work that made it, where all of it was noted.
        made_from_it: stages that were made from it and stay.
        changed: files that are no longer as accord wrote them.
    """

    run: Path
    stage: str | None
    folder: Path
    stages: int
    bytes: int
    finished: datetime | None
    seconds: float | None
    made_from_it: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def carry_out(self, say: Callable[[str], None] | None = None) -> None:
        """Remove it. Raises AccordError if accord did not write all that is there now, or works on it.

        Args:
            say: told where what a replacement of the stage left of the user goes; on stderr by default.
        """
        with ExitStack() as held:
            for folder in dict.fromkeys([self.run.resolve(), self.folder.resolve()]):
                held.enter_context(lock(folder))
            _check(self.run, self.folder)
            if self.stage is None:
                _remove_run(self.run)
            else:
                partial = aside(self.folder, "partial")
                spread.close(partial)
                shutil.rmtree(partial, ignore_errors=True)
                clear_old(self.folder, self.stage, say or on_stderr)
                _remove_stage(self.folder)
                list_stage(self.run / self.stage, self.stage, None)
                (self.run / REPORT).unlink(missing_ok=True)  # it tells of what is no longer there
        if self.stage is not None and self.folder.parent != self.run:
            with suppress(OSError):  # of its kind there may be others
                self.folder.parent.rmdir()


@checked
def removal(run: Path, stage: str | None = None) -> Removal:
    """What removing a stage, or a whole run, would take away: `removal(run, stage).carry_out()` does it.

    >>> study.removal("runs/demo", "damage/readout-s0").carry_out()  # doctest: +SKIP

    Raises AccordError if there is no such run or stage, it holds something that accord did not write, it is reached
    through a link, or a process works on it.
    """
    standing = status(run)
    if run.is_symlink():
        raise _link(run)
    if stage is None:
        return _whole_run(run, standing)
    there = {one.name: one for one in standing.stages if one.state != "to do"}
    if (run / MANIFEST).is_file() and stage in there:
        raise AccordError("This folder holds one stage.", where=run, fix=f"remove all of it: accord rm {run}")
    if (found := there.get(stage)) is None:
        wanted = nearest_stage(stage, list(there))
        raise AccordError("There is no such stage in this run.", where=run, got=repr(stage), wanted=wanted)
    if (run / stage).resolve() != run.resolve() / stage:
        raise _link(run / stage)
    folder = run / stage
    _check_idle(run, folder)
    _check(run, folder)
    return Removal(
        run, stage, folder, 1, found.bytes, found.finished, found.seconds,
        tuple(_below(standing, stage)), tuple(_changed(folder)),
    )  # fmt: skip


def _link(path: Path) -> AccordError:
    fix = "remove the link yourself, or name the folder itself"
    return AccordError("This is a link, or behind one.", where=path, got=path.resolve(), fix=fix)


def _whole_run(run: Path, standing: RunStatus) -> Removal:
    _check_idle(run, run)
    _check(run, run)
    there = [stage for stage in standing.stages if stage.state != "to do"]
    seconds = [stage.seconds for stage in there if stage.state != "begun"]
    changed = [name for stage in there for name in _changed(place(run, stage.name))]
    return Removal(
        run, None, run, len(there), standing.bytes, standing.finished,
        sum(of for of in seconds if of is not None) if None not in seconds else None, (), tuple(changed),
    )  # fmt: skip


def _below(standing: RunStatus, name: str) -> Iterator[str]:
    """The stages that were made from one, those made from these too."""
    above = {name}
    for stage in [*standing.stages] * len(standing.stages):  # in whatever order they are
        if stage.name not in above and above & set(stage.made_from):
            above.add(stage.name)
    return (stage.name for stage in standing.stages if stage.name in above - {name})


def _changed(folder: Path) -> Iterator[str]:
    """Files of a stage that are not as its manifest says."""
    manifest = read_manifest(folder)
    yield from () if manifest is None else (name for name, _ in faults(folder, manifest) if (folder / name).exists())


def _check_idle(run: Path, folder: Path) -> None:
    """AccordError if a process works on a run, or on this folder of it."""
    for busy in dict.fromkeys([run, folder]):
        if is_locked(busy.resolve()):
            raise AccordError("A process works on this folder now.", where=busy, fix=_WAIT)


def _check(run: Path, folder: Path) -> None:
    """AccordError unless accord wrote all that is in a folder of a run, and no process works on a part of it."""
    if Path.cwd().is_relative_to(folder.resolve()):
        raise AccordError("The current folder is in this one.", where=folder, fix="cd elsewhere first")
    if os.path.ismount(folder):
        raise AccordError("This folder is a disk of its own.", where=folder, fix="remove what is in it yourself")
    for path in _all(folder):
        if _LOCK.fullmatch(path.name) and is_locked(path.resolve().with_name(path.name[1 : -len(".lock")])):
            raise AccordError("A process works on a part of this folder now.", where=path.parent, fix=_WAIT)
    check_own(run, folder)


def check_own(run: Path, folder: Path) -> None:
    """AccordError unless accord wrote all that is in a folder of a run."""
    if foreign := sorted(_foreign(run, folder)):
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise AccordError(
            "There is something in this folder that accord did not write.",
            where=folder,
            got=", ".join(map(repr, foreign[:_NAMED])) + more,
            fix="move it elsewhere first",
        )


def _foreign(run: Path, folder: Path) -> Iterator[str]:
    """What is in a folder of a run that accord did not write, each relative to the folder."""
    stages = {path.parent: _own_files(path.parent) for path in folder.rglob(MANIFEST)}
    for path in _all(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield name
            continue
        stage = next((above for above in path.parents if above in stages), None)
        if stage is not None and path.relative_to(stage).as_posix() in stages[stage]:
            continue
        if not _is_own(path.relative_to(run), path):
            yield name


def _own_files(stage: Path) -> set[str]:
    """What accord wrote into a stage folder, by its manifest; nothing where that is unreadable but the manifest."""
    listed = set((read_manifest(stage) or {"files": {}})["files"])
    return {*listed, MANIFEST, RECORD, REPORT, f"{MANIFEST}.tmp", f"{RECORD}.tmp", f".{REPORT}.partial"}


def _is_own(name: Path, path: Path) -> bool:
    """Whether accord writes a file of this name, relative to the run folder, beside its stages."""
    *above, last = name.parts
    if any(_ASIDE.fullmatch(part) for part in above) or _LOCK.fullmatch(last) or _JOURNAL.fullmatch(name.as_posix()):
        return True
    last = last.removesuffix(".tmp")
    if not above:
        return last in _TOP or last == f".{REPORT}.partial"
    if above[0] == "figures":  # each is there twice
        drawn = path.with_name(last)
        other = {".svg": ".png", ".png": ".svg"}.get(drawn.suffix)
        return other is not None and any(drawn.with_suffix(end).is_file() for end in (other, f"{other}.tmp"))
    if above[0] == LOGS:
        return last.endswith(".log") or last.startswith(MARK)
    if above[0] == EXPORT:
        exports = path.parents[len(above) - 1]
        inside = path.relative_to(exports).as_posix()
        return inside == LISTING or is_exported(exports, inside, exported_files(exports))
    return above[0] == "trials" and len(above) == 2 and last in _TRIAL


def _all(folder: Path) -> Iterator[Path]:
    """All files and links in a folder and below; links are not followed."""
    for above, folders, files in os.walk(folder):
        yield from (Path(above) / name for name in files)
        yield from (path for name in folders if (path := Path(above) / name).is_symlink())


def _remove_stage(folder: Path) -> None:
    """The manifest goes last: of a removal that is cut, a stage is left that is damaged, and made again."""
    for name in files_of(folder):
        (folder / name).unlink()
    _empty(folder)


def _remove_run(run: Path) -> None:
    """The plan and the study's text go last, so that what a cut removal leaves is still a run folder."""
    for manifest in sorted(run.rglob(MANIFEST)):
        _remove_stage(manifest.parent)
    last = [run / PLAN, run / LIST, run / STUDY]
    for path in [path for path in _all(run) if path not in last] + last:
        path.unlink(missing_ok=True)
    _empty(run)


def _empty(folder: Path) -> None:
    """Remove a folder with what accord's bookkeeping left in it; what came in meanwhile stays."""
    for name in (MANIFEST, f"{MANIFEST}.tmp", RECORD, f"{RECORD}.tmp", REPORT):
        (folder / name).unlink(missing_ok=True)
    remove_empty(folder)
