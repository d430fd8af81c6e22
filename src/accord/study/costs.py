"""How long a stage is expected to take here, from what stages took before; kept in accord's cache."""

import hashlib
import json
from pathlib import Path
from statistics import median
from typing import Any

from accord.cache import COSTS, cache_root
from accord.disk import read_object, write_whole
from accord.errors import AccordError
from accord.study.stage import Stage

_KEPT = 2000  # stages of equal settings; the oldest are forgotten


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
    known = _known()
    stages = {key: value for key, value in known["stages"].items() if key != _key(stage)}
    stages[_key(stage)] = max(0.01, round(seconds, 2))
    known["stages"] = dict(list(stages.items())[-_KEPT:])
    known["paces"][_like(stage)] = max(0.0001, round(seconds / stage.seconds, 4))
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(known))
    except OSError:  # a cache that cannot be written: nothing is known of the next run
        pass


def _file() -> Path:
    return cache_root() / COSTS


def _known() -> dict[str, dict[str, Any]]:
    try:
        known = read_object(_file(), "stages", "paces")
    except AccordError:
        return {"stages": {}, "paces": {}}
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
