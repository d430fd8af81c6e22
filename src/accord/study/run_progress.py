"""How far a run is, as other processes see it: what it says of itself while it lives, and whether it still does."""

import math
import os
import platform
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from accord.amounts import moment
from accord.disk import is_locked, read_object
from accord.errors import AccordError
from accord.report.metric import plain

PROGRESS = "progress.json"  # in the run folder while a run lives; one that dies leaves it there
Life = Literal["running", "stopped", "elsewhere"]


@dataclass(frozen=True)
class RunProgress:
    """What a run said of itself last.

    Attributes:
        life: running; stopped: its process is gone, and this is what it left; elsewhere: it runs, or ran, on another
            machine, which cannot be asked.
        host: the machine it was started on.
        stage: the one that is being made; `number` of `of` that this run has to do.
        share: how much of that stage is done, from 0 to 1; None while that is not known.
        elapsed: seconds since the run began.
        left: seconds that the rest is expected to take; None where that is not known.
        updated: when it said so.
    """

    life: Life
    host: str
    stage: str
    number: int
    of: int
    share: float | None
    elapsed: float | None
    left: float | None
    updated: datetime | None


def read_progress(folder: Path) -> RunProgress | None:
    """What the run that works on a folder says; None where none does, and none was killed since the last one ended."""
    try:
        said = read_object(folder / PROGRESS)
    except AccordError:
        return None
    host, done, total = plain(str(said.get("host", ""))), _number(said.get("done")), _number(said.get("total"))
    return RunProgress(
        life=_life(folder, host, said.get("pid")),
        host=host,
        stage=plain(str(said.get("stage", ""))),
        number=int(_number(said.get("number")) or 0),
        of=int(_number(said.get("of")) or 0),
        share=min(1.0, max(0.0, done / total)) if done is not None and total else None,
        elapsed=_number(said.get("elapsed")),
        left=_number(said.get("left")),
        updated=moment(said.get("updated")),
    )


def _life(folder: Path, host: str, pid: Any) -> Life:
    """The system opens the lock of a run when its process dies, however it dies."""
    here = host == platform.node()
    if is_locked(folder.resolve()):
        return "running" if not here or _is_alive(pid) else "stopped"
    return "stopped" if here else "elsewhere"


def _is_alive(pid: Any) -> bool:
    """Whether there is a process of this number here; where the system cannot be asked, it counts as there."""
    if not isinstance(pid, int) or pid <= 0 or os.name == "nt":  # there, asking would interrupt it
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None
