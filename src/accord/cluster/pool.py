"""What a driver and its workers say to each other, whatever the workers run on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Make:
    """Make a stage.

    Attributes:
        with_: workers that train it together with this one, which is the first rank; empty for a stage made alone.
    """

    worker: str
    stage: str
    with_: tuple[str, ...] = ()


@dataclass(frozen=True)
class Help:
    """Compute what nobody is at of a stage that another worker makes."""

    worker: str
    stage: str


@dataclass(frozen=True)
class Recall:
    """Leave the stage that is helped: there is something to make."""

    worker: str


Order = Make | Help | Recall


@dataclass(frozen=True)
class Joined:
    """A worker is there, and idle.

    Attributes:
        host: the machine that it is on.
    """

    worker: str
    host: str


@dataclass(frozen=True)
class Lost:
    """A worker is gone, or gets nothing more; and what it was doing is not done.

    Attributes:
        begun: whether it had begun what it was to make.
    """

    worker: str
    why: str
    begun: bool = True


@dataclass(frozen=True)
class Made:
    """A worker made a stage.

    Attributes:
        seconds: that it took, those before an interruption included.
        found: what came of it, in a few words.
        lacking: what it lacks, where it is not whole.
    """

    worker: str
    stage: str
    seconds: float = 0.0
    found: str = ""
    lacking: str = ""


@dataclass(frozen=True)
class Failed:
    """A worker could not make a stage; whether another can is seen by trying.

    Attributes:
        reason: in a line.
    """

    worker: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Helped:
    """A worker has nothing left to help with."""

    worker: str
    stage: str


@dataclass(frozen=True)
class Moved:
    """How far a worker is.

    Attributes:
        doing: what takes a while at the moment, such as loading a model.
        told: what else is to be known of it, see `accord.progress.tell`.
    """

    worker: str
    stage: str
    done: int = 0
    total: int = 0
    doing: str = ""
    told: str = ""


Event = Joined | Lost | Made | Failed | Helped | Moved


class Pool(Protocol):
    """Workers that take orders."""

    @property
    def workers(self) -> int:
        """How many that may run models there are, or are to come."""

    def start(self, order: Order) -> None:
        """Give an order to a worker that is idle, or to be recalled; returns at once."""

    def wait(self, timeout: float) -> Sequence[Event]:
        """What happened since; waits for something to happen, but no longer than `timeout` seconds."""

    def replace(self, worker: str) -> None:
        """End a worker at once, whatever it is doing: another comes in its place. It is not told as lost."""

    def drop(self, worker: str) -> None:
        """Give a worker nothing more, and have no other in its place. It is not told as lost."""
