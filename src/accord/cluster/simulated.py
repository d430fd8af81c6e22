"""Workers that only count seconds, on a clock that jumps: what a run would take, and what its driver costs."""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

from accord.cluster.pool import Event, Help, Helped, Joined, Made, Make, Order


class SimulatedPool:
    """Workers that take the given seconds for each stage; helpers leave at once.

    Attributes:
        workers: how many.
        now: seconds since the beginning, by its own clock.
        busy: seconds that workers were at work, all together.
        timeline: worker, stage, begin and end of all that was made.
    """

    def __init__(self, seconds: Mapping[str, float], workers: int) -> None:
        """`seconds`: what each stage takes."""
        self._seconds, self.workers = seconds, workers
        self._events: list[tuple[float, int, Event]] = []
        self._number = 0
        self.now = self.busy = 0.0
        self.timeline: list[tuple[str, str, float, float]] = []
        for number in range(1, workers + 1):
            self._at(0.0, Joined(f"worker {number}", "simulated"))

    def start(self, order: Order) -> None:
        """Give an order."""
        if isinstance(order, Make):
            seconds = self._seconds[order.stage]
            self.busy += seconds * (1 + len(order.with_))
            self.timeline.append((order.worker, order.stage, self.now, self.now + seconds))
            self._at(self.now + seconds, Made(order.worker, order.stage))
        elif isinstance(order, Help):
            self._at(self.now, Helped(order.worker, order.stage))

    def wait(self, timeout: float) -> Sequence[Event]:
        """Let time go on to the next event, and give it."""
        if not self._events:
            self.now += timeout
            return []
        self.now, _, event = heappop(self._events)
        return [event]

    def replace(self, worker: str) -> None:
        """Nobody dies here."""

    def drop(self, worker: str) -> None:
        """Nor does anyone fail."""

    def _at(self, moment: float, event: Event) -> None:
        self._number += 1
        heappush(self._events, (moment, self._number, event))


class Unheard:
    """Who is told of a run that only is played: nobody; see `accord.cluster.driver.Listener`."""

    def joined(self, worker: str, host: str) -> None:
        """Nothing."""

    def begun(self, stage: str, worker: str) -> None:
        """Nothing."""

    def moved(self, stage: str, done: int, total: int, doing: str, told: str) -> None:
        """Nothing."""

    def made(self, stage: str, seconds: float, found: str, lacking: str) -> None:
        """Nothing."""

    def again(self, stage: str, worker: str, reason: str) -> None:
        """Nothing."""

    def failed(self, stage: str, reason: str) -> None:
        """Nothing."""

    def lost(self, worker: str, why: str, stage: str) -> None:
        """Nothing."""
