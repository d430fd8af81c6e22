"""What `accord run` would do: which stages and why, what that replaces, how long it takes, what must be fetched."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median

from accord.amounts import moment
from accord.arguments import checked
from accord.cached import Download, cache_root, download_of
from accord.cluster.config import MachinesSection
from accord.cluster.forecast import Forecast, forecast
from accord.disk import aside, disk_use, free_disk, is_locked, standing
from accord.loading import weights_bytes
from accord.study import costs, store
from accord.study.check import stage_folders
from accord.study.config import load
from accord.study.engine import check_folder, check_may_be_made, folder_of, machines_of
from accord.study.graph import Graph, made_otherwise, plan_study, why
from accord.study.manifest import MANIFEST, read_manifest
from accord.study.stage import Stage
from accord.unfinished import RECORD


@dataclass(frozen=True)
class Replaced:
    """Results that a stage would replace."""

    folder: Path
    made: datetime | None
    seconds: float | None
    bytes: int


@dataclass(frozen=True)
class ToDo:
    """A stage as a run would treat it.

    Attributes:
        name: its folder in the run folder.
        why: "up to date", or what there is to do and why.
        up_to_date: whether there is nothing to do.
        replaces: what is there now and would be replaced.
        begun: bytes that an interrupted making left, and that the next goes on from.
        seconds: that it is expected to take; None where nothing like it was measured.
        bytes: that it will take on the disk; None where that is not known.
    """

    name: str
    why: str
    up_to_date: bool
    replaces: Replaced | None = None
    begun: int = 0
    seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Room:
    """Free space on a disk, and how much of it would be needed: exactly, or at least."""

    place: Path
    needed: int
    at_least: bool
    free: int


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        folder: the run folder.
        stages: those that were asked for, and what they are made from, in the order in which they run.
        of: how many stages the study has in all.
        downloads: what must be fetched first.
        left: stages in the folder that the study no longer has; they are left as they are.
        notes: what there is to know of the data files, a line each.
        otherwise: how many stages would replace whole results of other settings, which takes `replace`.
        busy: whether a process works on the folder now, so that a run would be refused.
        rooms: one for each disk that something is written to.
        forecast: what it takes on several workers; None for a serial run, or where nothing is to do.
    """

    folder: Path
    stages: tuple[ToDo, ...]
    of: int
    downloads: tuple[Download, ...]
    left: tuple[str, ...]
    notes: tuple[str, ...]
    otherwise: int
    busy: bool
    rooms: tuple[Room, ...]
    forecast: Forecast | None = None

    @property
    def to_do(self) -> list[ToDo]:
        """The stages that are not up to date."""
        return [stage for stage in self.stages if not stage.up_to_date]

    @property
    def seconds(self) -> float:
        """That the stages take of which that is known."""
        return sum(stage.seconds or 0.0 for stage in self.to_do)

    @property
    def unknown(self) -> int:
        """How many stages there are to do of which nobody knows how long they take."""
        return sum(stage.seconds is None for stage in self.to_do)


@checked
def dry_run(
    path: Path, out: Path | None = None, *, only: Sequence[str] = (), machines: MachinesSection | None = None
) -> DryRun:
    """What `accord run` would do with a study, on these machines or the study's; nothing is fetched or written.

    >>> study.dry_run("study.toml", only=["damage"]).to_do  # doctest: +SKIP

    Raises AccordError as the run would: for what is wrong in the study file, its data or the choice of stages, and for
    a folder that holds something else.
    """
    file = load(path)
    folder = folder_of(file, out)
    graph = plan_study(file)
    chosen = graph.chosen(only)
    check_folder(folder, file)
    alone = machines is None or machines.engine == "serial"
    check_may_be_made(graph, folder, file.study.backbone.device if alone else None)
    stages = tuple(_to_do(stage, folder) for stage in chosen)
    downloads = tuple(_download(name, what, graph.downloads.get(name)) for name, what in graph.missing.items())
    machines, device = machines or machines_of(file), file.study.backbone.device
    done = {stage.name for stage in stages if stage.up_to_date}
    to_do = [stage for stage in chosen if stage.name not in done]
    planned = {folder / stage.name for stage in graph.stages}
    left = [] if not folder.is_dir() else [there for there in stage_folders(folder) if there not in planned]
    return DryRun(
        folder=folder,
        stages=stages,
        of=len(graph.stages),
        downloads=downloads,
        left=tuple(there.relative_to(folder).as_posix() for there in left),
        notes=(*graph.notes, *_unknown_sizes(graph)),
        otherwise=0 if graph.missing else len(made_otherwise(chosen, folder)),
        busy=is_locked(folder.resolve()),
        rooms=tuple(_rooms(folder, stages, downloads)),
        forecast=forecast(to_do, machines, graph.least, device=device) if machines.engine == "ray" else None,
    )


def _unknown_sizes(graph: Graph) -> Iterator[str]:
    """Which models nobody can say the size of, so that memory may not suffice after all."""
    for name, what in graph.missing.items():
        if what == "a model" and not weights_bytes(name):
            yield f"{name}: the hub does not say how large it is. Whether memory suffices is seen once it is fetched."


def _download(name: str, what: str, size: Callable[[], tuple[int, Path]] | None) -> Download:
    """What fetching something takes; what is on the hub is asked there."""
    found = download_of(name, what)
    return replace(found, bytes=size()[0] or None) if found.bytes is None and size is not None else found


def _to_do(stage: Stage, folder: Path) -> ToDo:
    where = folder / stage.name
    state, manifest = store.state(where, stage.recipe), read_manifest(where)
    if state == "whole":
        return ToDo(stage.name, why(stage, where), True)
    replaces = None
    if manifest is not None:
        took = manifest.get("seconds")
        seconds = float(took) if isinstance(took, int | float) else None
        replaces = Replaced(where, moment(manifest.get("finished")), seconds, disk_use(where))
    partial = aside(where, "partial")
    begun = store.read_json(partial / RECORD) or read_manifest(partial) or {}
    reason = why(stage, where, most=None)
    if state == "other" and _waits(stage):
        reason = "known once what it needs is fetched, else to do again"
    room = stage.needs().disk or _like(stage, folder)
    return ToDo(
        name=stage.name,
        why=reason,
        up_to_date=False,
        replaces=replaces,
        begun=disk_use(partial) if begun.get("fingerprint") == stage.recipe.fingerprint else 0,
        seconds=costs.measured(stage),
        bytes=room if replaces is None else replaces.bytes,
    )


def _waits(stage: Stage) -> bool:
    """Whether its recipe is not known before a model is fetched, as the weights are part of it."""
    return any(_unknown(source.settings) for source in stage.upstream())


def _unknown(settings: object) -> bool:
    if not isinstance(settings, dict):
        return False
    return ("weights" in settings and settings["weights"] is None) or any(map(_unknown, settings.values()))


def _like(stage: Stage, folder: Path) -> int | None:
    """The bytes that stages of the same kind take that are there, the middle one."""
    sizes = [disk_use(manifest.parent) for manifest in folder.glob(f"{stage.kind}/*/{MANIFEST}")]
    return int(median(sizes)) if sizes else None


def _rooms(folder: Path, stages: Sequence[ToDo], downloads: Sequence[Download]) -> Iterator[Room]:
    """What is needed of each disk. An old stage goes when the new one is whole: for a while, both are there."""
    to_do = [stage for stage in stages if not stage.up_to_date]
    old = [stage.replaces.bytes for stage in to_do if stage.replaces is not None]
    results = sum(stage.bytes or 0 for stage in to_do) - sum(old) + max(old, default=0)
    fetched = sum((download.bytes or 0) + (download.stored or 0) for download in downloads)
    parts = [
        (standing(folder), results, any(stage.bytes is None for stage in to_do)),
        (standing(cache_root()), fetched, any(download.bytes is None for download in downloads)),
    ]
    disks: dict[int, tuple[Path, int, bool]] = {}
    for place, needed, at_least in parts:
        device = place.stat().st_dev
        first, before, unsure = disks.get(device, (place, 0, False))
        disks[device] = first, before + needed, unsure or at_least
    for place, needed, at_least in disks.values():
        if needed or at_least:
            yield Room(place, needed, at_least, free_disk(place))
