"""How long a stage is expected to take here, from what stages took before; kept in accord's cache."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from accord.cache import COSTS, cache_root
from accord.disk import read_object, write_whole
from accord.errors import AccordError
from accord.study.manifest import MANIFEST
from accord.study.stage import Stage

_KEPT = 2000  # stages of equal settings; the oldest are forgotten
_NOTHING: Mapping[str, Mapping[str, Any]] = {"stages": {}, "paces": {}}


def expected(stage: Stage) -> float:
    """Seconds that making a stage is expected to take on this machine.

    As `measured`; where no stage of the kind was made here, `stage.seconds` times the ratio at which those of all other
    kinds were slower or faster.
    """
    if (seconds := measured(stage)) is not None:
        return seconds
    paces = _known()["paces"]
    return stage.seconds * float(median(paces.values()) if paces else 1.0)


def measured(stage: Stage) -> float | None:
    """Seconds that a stage of the same settings took, whatever its seed and its inputs; else those of the demo's stage
    of the kind, times the ratio at which the last one of the kind was slower or faster here. None if there was none.
    """
    known = _known()
    if (seconds := known["stages"].get(_key(stage))) is not None:
        return float(seconds)
    pace = known["paces"].get(_like(stage))
    return None if pace is None else stage.seconds * float(pace)


def note(stage: Stage, seconds: float) -> None:
    """Keep what making a stage took, from its beginning."""
    _note([(stage, seconds)])


def note_made(stages: Sequence[Stage], folder: Path) -> None:
    """Keep what stages took that a run folder holds, as far as it tells what they take here: of the latest, those that
    one worker of this machine made alone, without helpers or other ranks.
    """
    _note(list(_alone(stages[-_KEPT:], folder)))


def _note(took: Sequence[tuple[Stage, float]]) -> None:
    if not took:
        return
    known = _known()
    stages, paces = dict(known["stages"]), dict(known["paces"])
    for stage, seconds in took:
        stages.pop(key := _key(stage), None)
        stages[key] = max(0.01, round(seconds, 2))
        paces[_like(stage)] = max(0.0001, round(seconds / stage.seconds, 4))
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"stages": dict(list(stages.items())[-_KEPT:]), "paces": paces}))
    except OSError:  # a cache that cannot be written: nothing is known of the next run
        pass


def _alone(stages: Sequence[Stage], folder: Path) -> Iterator[tuple[Stage, float]]:
    for stage in stages:
        try:
            manifest = read_object(folder / stage.name / MANIFEST, "machine", "spans", "seconds")
        except AccordError:  # gone or damaged meanwhile: nothing is learnt of it
            continue
        machine, spans = manifest["machine"], manifest["spans"]
        hosts = {span["host"] for span in spans}
        if hosts == {platform.node()} and "helpers" not in machine and "ranks" not in machine:
            yield stage, float(manifest["seconds"])


def _file() -> Path:
    return cache_root() / COSTS


def _known() -> Mapping[str, Mapping[str, Any]]:
    path = _file()
    try:
        found = path.stat()
    except OSError:
        return _NOTHING
    return _read(path, found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=1)  # a run asks for each of its stages
def _read(path: Path, *as_it_is: int) -> Mapping[str, Mapping[str, Any]]:
    try:
        known = read_object(path, "stages", "paces")
    except AccordError:
        return _NOTHING
    return {name: _numbers(known[name]) for name in ("stages", "paces")}


def _numbers(table: Any) -> dict[str, Any]:
    """The entries that are finite numbers above 0: anything else was not written by accord."""
    return {key: value for key, value in table.items() if _is_sound(value)} if isinstance(table, dict) else {}


def _is_sound(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


def _like(stage: Stage) -> str:
    """Its kind, and the models that it and what it is made from ran."""
    weights = {str(source.settings["weights"]) for source in stage.upstream() if "weights" in source.settings}
    return " ".join([stage.kind, *sorted(weights)])


def _key(stage: Stage) -> str:
    text = json.dumps([_like(stage), stage.version, stage.settings], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
