"""How far a run is, as other processes see it: what it says of itself while it lives, and whether it still does."""

import math
import os
import platform
from collections.abc import Mapping
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


_QUIET = 120  # seconds without a word from another machine, from which on a run there may be gone


@dataclass(frozen=True)
class StageProgress:
    """How far a stage is that is being made.

    Attributes:
        stage: its name.
        at: by whom and where it is made, "worker 2 on node7"; empty where there are no workers.
        share: how much of it is done, from 0 to 1; None while that is not known.
        elapsed: seconds since it was begun; None where that is not known.
    """

    stage: str
    at: str
    share: float | None
    elapsed: float | None


@dataclass(frozen=True)
class RunProgress:
    """What a run said of itself last.

    Attributes:
        life: running; stopped: its process is gone, and this is what it left; elsewhere: it runs, or ran, on another
            machine, which cannot be asked.
        host: the machine it was started on.
        making: the stages that are being made, the one begun first is first.
        number: which one the first of them is of the `of` stages that this run has to do; `ended` of these are made.
        elapsed: seconds since the run began.
        left: seconds that the rest is expected to take; None where that is not known.
        updated: when it said so.
    """

    life: Life
    host: str
    making: tuple[StageProgress, ...]
    number: int
    ended: int
    of: int
    elapsed: float | None
    left: float | None
    updated: datetime | None

    @property
    def silent(self) -> float | None:
        """Seconds since it said so; None where that is not known."""
        if self.updated is None:
            return None
        return max(0.0, (datetime.now().astimezone() - self.updated).total_seconds())

    @property
    def lives(self) -> bool:
        """Whether it runs; of one on another machine, whether it was heard of in the last minutes."""
        silent = self.silent
        return self.life == "running" or (self.life == "elsewhere" and silent is not None and silent < _QUIET)


def read_progress(folder: Path) -> RunProgress | None:
    """What the run that works on a folder says; None where none does, and none was killed since the last one ended."""
    try:
        said = read_object(folder / PROGRESS)
    except AccordError:
        return None
    host, number = plain(str(said.get("host", ""))), int(_number(said.get("number")) or 0)
    listed = said.get("running")
    making = (
        listed if isinstance(listed, list) else [said | {"elapsed": None}]
    )  # as earlier versions of accord wrote it
    return RunProgress(
        life=_life(folder, host, said.get("pid")),
        host=host,
        making=tuple(_stage(of) for of in making if isinstance(of, dict) and of.get("stage")),
        number=number,
        ended=max(0, int(_number(said.get("ended", number - 1)) or 0)),
        of=int(_number(said.get("of")) or 0),
        elapsed=_number(said.get("elapsed")),
        left=_number(said.get("left")),
        updated=moment(said.get("updated")),
    )


def _stage(said: Mapping[str, Any]) -> StageProgress:
    done, total = _number(said.get("done")), _number(said.get("total"))
    return StageProgress(
        stage=plain(str(said["stage"])),
        at=plain(str(said.get("at", ""))),
        share=min(1.0, max(0.0, done / total)) if done is not None and total else None,
        elapsed=_number(said.get("elapsed")),
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
