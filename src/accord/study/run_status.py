"""What runs there are and how each stands: read from what is in its folder. No study is planned, no model is loaded."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from accord.amounts import moment
from accord.arguments import checked
from accord.disk import aside, disk_use, is_locked
from accord.errors import AccordError
from accord.report.headline import headline
from accord.report.metric import called, plain
from accord.study.kept_plan import PLAN, KeptPlan, read_plan
from accord.study.made_from import report_is_new
from accord.study.manifest import MANIFEST, UNFINISHED, fault, read_manifest
from accord.study.run_folder import Run
from accord.study.run_list import kept_list
from accord.study.run_progress import PROGRESS, RunProgress, read_progress
from accord.study.search_config import SEARCH
from accord.study.store import REPORT, STUDY
from accord.unfinished import check_finished

StageState = Literal["whole", "unfinished", "outdated", "damaged", "begun", "to do", "left over"]
_TRIAL = "trials/*/trial.json"
_SUSPECT = (LookupError, TypeError, ValueError, AttributeError, OSError)  # what reading a damaged result may raise


@dataclass(frozen=True)
class StageStatus:
    """How a stage of a run stands.

    Attributes:
        name: its folder in the run folder.
        state: whole; unfinished: whole but for what `missing` says; outdated: made by settings that the study no longer
            has; damaged: it, its manifest or files of it are gone or changed; begun: interrupted, and gone on from; to
            do; left over: whole, but no longer in the study.
        finished: when it was made.
        seconds: of work that made it; None where that was not noted.
        bytes: of its files, those of a begun making included.
        made_from: the stages that it was made from.
        missing: what an unfinished stage lacks.
    """

    name: str
    state: StageState
    finished: datetime | None = None
    seconds: float | None = None
    bytes: int = 0
    made_from: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class RunStatus:
    """How a run stands.

    Attributes:
        folder: the run folder, or the folder of a single stage.
        stages: in the order in which they run.
        planned: whether it is known which stages the study has; else `stages` are those that there are.
        trials: of a search, how many are finished; None for a run that is no search.
        progress: what it says of itself if it runs, or was killed; None otherwise.
        busy: whether a process on this machine works on it now.
        command: by which it was run last; empty where that is not known.
    """

    folder: Path
    stages: tuple[StageStatus, ...]
    planned: bool
    trials: int | None
    progress: RunProgress | None
    busy: bool
    command: str

    def count(self, state: StageState) -> int:
        """How many stages are in a state."""
        return Counter(stage.state for stage in self.stages)[state]

    @property
    def done(self) -> int:
        """How many stages are whole; those that are no longer in the study do not count."""
        return self.count("whole")

    @property
    def of(self) -> int | None:
        """How many stages the study has; None where that is not known."""
        return len(self.stages) - self.count("left over") if self.planned else None

    @property
    def name(self) -> str:
        """The study's, or else the folder's."""
        named = self._study.get("name")
        return plain(named if isinstance(named, str) and named.strip() else self.folder.resolve().name)

    @property
    def model(self) -> str:
        """The model under study; of a path, its last part. Empty where nothing says it."""
        backbone = self._study.get("backbone")
        named = backbone.get("model") if isinstance(backbone, dict) else None
        if not isinstance(named, str):
            settings = (self._manifest(stage.name).get("settings") for stage in self.stages)
            named = next((name for of in settings if isinstance(of, dict) and (name := called(of.get("model")))), "")
        return plain(Path(named).name if named.startswith((".", "/", "~")) or named.count("/") > 1 else named)

    @property
    def finished(self) -> datetime | None:
        """When the last stage, or trial, was finished."""
        moments = [stage.finished for stage in self.stages if stage.finished is not None]
        for trial in self.folder.glob(_TRIAL):
            moments.append(datetime.fromtimestamp(trial.stat().st_mtime, UTC).astimezone())
        return max(moments, default=None)

    @cached_property
    def bytes(self) -> int:
        """Of everything in the folder."""
        return disk_use(self.folder)

    @property
    def report(self) -> Path | None:
        """The report's path; None where there is none yet."""
        path = self.folder / REPORT
        return path if path.is_file() else None

    @property
    def report_is_new(self) -> bool:
        """Whether there is a report that tells of all that is there."""
        try:
            return report_is_new(self._run)
        except AccordError:  # of a single stage that is damaged
            return False

    @property
    def finding(self) -> str:
        """The first headline of its page; empty where there is none yet, or a result is damaged."""
        return self._told[0]

    @property
    def problem(self) -> str:
        """What is damaged, in a line; empty where nothing is. `accord check` says what is wrong with it."""
        damaged = [stage.name for stage in self.stages if stage.state == "damaged"]
        with suppress(AccordError):  # of a single stage, which is among these
            damaged += [name for name in self._run.damaged if name not in damaged]
        more = f" and {len(damaged) - 2} more" if len(damaged) > 2 else ""
        return f"damaged: {', '.join(damaged[:2])}{more}" if damaged else self._told[1]

    @cached_property
    def _told(self) -> tuple[str, str]:
        """The first finding, and what keeps it from being told."""
        try:
            if self._run.damaged:
                return "", ""  # see `problem`
            return headline(self._run), ""
        except AccordError as error:
            return "", plain(f"damaged: {error.problem} {error.where or ''}")
        except _SUSPECT as error:
            return "", plain(f"damaged: {type(error).__name__}: {error}")

    @cached_property
    def _run(self) -> Run:
        return Run(self.folder, verified=True)

    @cached_property
    def _study(self) -> dict[str, Any]:
        with suppress(AccordError):
            if STUDY in self._run.damaged:
                return {}
        return _tables(self.folder / STUDY)

    def _manifest(self, name: str) -> Mapping[str, Any]:
        return read_manifest(place(self.folder, name)) or {}


@checked
def runs(folder: Path = Path("runs")) -> list[RunStatus]:
    """The runs in a folder, newest first: those of `accord run` and `accord search`, and folders of single stages.

    >>> [run.name for run in study.runs("runs")]  # doctest: +SKIP

    Raises AccordError if there is no such folder.
    """
    if not folder.is_dir():
        fix = "name another; accord run STUDY.toml makes runs/NAME"
        raise AccordError("There is no such folder.", where=folder, wanted="a folder with run folders in it", fix=fix)
    if is_run(folder):
        return [status(folder)]
    inside = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(map(_status, filter(is_run, inside)), key=_newest, reverse=True)


@checked
def status(folder: Path) -> RunStatus:
    """How a run stands, also while it runs.

    >>> study.status("runs/demo").stages  # doctest: +SKIP

    Raises AccordError if this is no run folder.
    """
    if not is_run(folder):
        check_finished(folder)
        wanted = "a run folder of accord run or search, or a folder of accord gap --out"
        raise AccordError("There is no run here.", where=folder, wanted=wanted)
    return _status(folder)


def is_run(folder: Path) -> bool:
    """Whether accord wrote a folder: a run, a search, or a single stage."""
    try:
        own = any((folder / name).is_file() for name in (MANIFEST, SEARCH, PLAN, PROGRESS))
        study = (folder / STUDY).is_file()  # of itself, it may be a file to run that somebody wrote
        return own or bool(_whole(folder, unreadable=study)) or (study and bool(_begun(folder)))
    except OSError:  # nothing in it can be seen
        return False


def place(folder: Path, stage: str) -> Path:
    """The folder of a stage of a run, or of the only one."""
    return folder if (folder / MANIFEST).is_file() else folder / stage


def _status(folder: Path) -> RunStatus:
    plan = None if (folder / MANIFEST).is_file() else read_plan(folder)
    stages = tuple(_stages(folder, plan))
    return RunStatus(
        folder=folder,
        stages=stages,
        planned=plan is not None,
        trials=len(list(folder.glob(_TRIAL))) if (folder / SEARCH).is_file() else None,
        progress=read_progress(folder),
        busy=is_locked(folder.resolve()),
        command=plain(plan.command) if plan is not None else _last_command(folder, stages),
    )


def _stages(folder: Path, plan: KeptPlan | None) -> Iterator[StageStatus]:
    """Those of the plan in its order, then others that there are; without a plan what there is, the oldest first."""
    there = list(dict.fromkeys([*_whole(folder), *_begun(folder), *kept_list(folder).stages]))
    if plan is None:
        stages = [_stage(folder, name, None) for name in there]
        yield from sorted(stages, key=lambda stage: (stage.finished is None, stage.finished, stage.name))
        return
    for name, fingerprint in plan.stages.items():
        yield _stage(folder, name, fingerprint)
    for name in there:
        if name not in plan.stages:
            yield _stage(folder, name, "")


def _stage(folder: Path, name: str, fingerprint: str | None) -> StageStatus:
    """A stage, beside the fingerprint that the study asks for; empty where it does not ask for the stage."""
    where = place(folder, name)
    partial = aside(where, "partial")
    begun = disk_use(partial) if where != folder else 0
    manifest = read_manifest(where)
    if manifest is None:
        if (where / MANIFEST).exists() or (not begun and name in kept_list(folder).stages):
            return StageStatus(name, "damaged", bytes=disk_use(where) + begun)
        return StageStatus(name, "begun" if begun else "to do", bytes=begun)
    missing = manifest.get("facts", {}).get(UNFINISHED)
    state: StageState = "whole" if missing is None else "unfinished"
    if fingerprint is not None and manifest["fingerprint"] != fingerprint:
        state = "outdated" if fingerprint else "left over"
    size, seconds = sum(file["bytes"] for file in manifest["files"].values()), manifest.get("seconds")
    if fault(where, manifest) is not None:
        state, size = "damaged", disk_use(where)
    return StageStatus(
        name,
        state,
        finished=moment(manifest.get("finished")),
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        bytes=size + begun,
        made_from=tuple(of["stage"] for of in manifest.get("inputs", {}).values()),
        missing=plain(str(missing or "")),
    )


def _whole(folder: Path, unreadable: bool = True) -> list[str]:
    """Names of the stages in a run folder that have a manifest; those too whose manifest is `unreadable`, or not.

    A stage is in a folder of its kind: in a folder of run folders, those of the runs do not count.
    """
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        return [f"{'stage' if manifest is None else manifest['stage']}/{folder.resolve().name}"]
    names = []
    for path in sorted(folder.glob(f"[!.]*/{MANIFEST}")) + sorted(folder.glob(f"[!.]*/[!.]*/{MANIFEST}")):
        name, manifest = path.parent.relative_to(folder).as_posix(), read_manifest(path.parent)
        kind, _, label = name.partition("/")
        if unreadable if manifest is None else manifest["stage"] == kind and (label or manifest.get("name") == kind):
            names.append(name)
    return names


def _begun(folder: Path) -> list[str]:
    """Names of the stages in a run folder whose making was begun and not ended."""
    found = [path for path in (*folder.glob(".*.partial"), *folder.glob("[!.]*/.*.partial")) if path.is_dir()]
    names = (path.relative_to(folder).with_name(path.name[1 : -len(".partial")]).as_posix() for path in found)
    return sorted(names)


def _last_command(folder: Path, stages: tuple[StageStatus, ...]) -> str:
    dated = [(stage.finished, stage.name) for stage in stages if stage.finished is not None]
    return plain(str((read_manifest(place(folder, max(dated)[1])) or {}).get("command", ""))) if dated else ""


def _newest(run: RunStatus) -> tuple[datetime, str]:
    heard = run.progress.updated if run.progress is not None else None
    moments = [at for at in (run.finished, heard) if at is not None]
    changed = datetime.fromtimestamp(run.folder.stat().st_mtime, UTC)
    return max(moments, default=changed), run.name


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
