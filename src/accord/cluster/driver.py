"""The driver: gives out stages until all are made that can be; what comes of it is told as it happens."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from accord.cluster.pool import Event, Failed, Helped, Joined, Lost, Made, Make, Moved, Pool
from accord.cluster.schedule import StageSchedule
from accord.errors import AccordError

_BEAT = 1.0  # seconds that it waits for events at most
_PATIENCE = 600.0  # seconds without a single worker


class Listener(Protocol):
    """Who is told what happens."""

    def joined(self, worker: str, host: str) -> None:
        """A worker is there."""

    def begun(self, stage: str, worker: str) -> None:
        """A worker begins a stage."""

    def moved(self, stage: str, done: int, total: int, doing: str, told: str) -> None:
        """How far a stage is."""

    def made(self, stage: str, seconds: float, found: str, lacking: str) -> None:
        """A stage is whole; what it took, what came of it, and what it lacks."""

    def again(self, stage: str, worker: str, reason: str) -> None:
        """A worker could not make a stage, which another is to try."""

    def failed(self, stage: str, reason: str) -> None:
        """A stage cannot be made."""

    def lost(self, worker: str, why: str, stage: str) -> None:
        """A worker is gone; the stage that is to be begun again for that, if there is one."""


class Driver:
    """Has the stages of a schedule made by the workers of a pool."""

    def __init__(
        self, schedule: StageSchedule, pool: Pool, told: Listener, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._schedule, self._pool, self._told, self._clock = schedule, pool, told, clock
        self._replaced: set[str] = set()

    def run(self) -> None:
        """Until nothing is left that can be made; `schedule.failed` and `schedule.waiting` say what was not.

        Raises AccordError where there has been no worker for ten minutes.
        """
        seen = self._clock()
        while not self._schedule.over:
            self._schedule.able = self._pool.workers
            for order in self._schedule.orders(self._clock()):
                self._pool.start(order)
                if isinstance(order, Make):
                    self._told.begun(order.stage, order.worker)
            self._replaced.clear()
            for event in self._pool.wait(_BEAT):
                if event.worker not in self._replaced:  # else it is of its life before
                    self._take(event)
            if self._schedule.workers:
                seen = self._clock()
            elif self._clock() - seen > _PATIENCE:
                fix = "see that the cluster has machines with room for one, then run again: it goes on"
                raise AccordError("There is no worker left, and none has come for ten minutes.", fix=fix)

    def _take(self, event: Event) -> None:
        schedule = self._schedule
        if isinstance(event, Joined):
            schedule.join(event.worker)
            self._told.joined(event.worker, event.host)
        elif isinstance(event, Lost):
            stage, others = schedule.leave(event.worker, event.why, begun=event.begun)
            self._replace(others)
            self._told.lost(event.worker, event.why, "" if stage in schedule.failed else stage)
            if stage in schedule.failed:
                self._told.failed(stage, schedule.failed[stage])
        elif isinstance(event, Helped):
            schedule.helped(event.worker, self._clock())
        elif event.worker not in schedule.at(event.stage):
            pass  # of one that was replaced
        elif isinstance(event, Made):
            schedule.made(event.stage)
            self._told.made(event.stage, event.seconds, event.found, event.lacking)
            self._drop_unfit()
        elif isinstance(event, Failed):
            self._replace(schedule.fail(event.stage, event.reason, event.worker))
            if event.stage in schedule.failed:
                self._told.failed(event.stage, event.reason)
            else:
                self._told.again(event.stage, event.worker, event.reason)
        elif isinstance(event, Moved):
            self._told.moved(event.stage, event.done, event.total, event.doing, event.told)

    def _drop_unfit(self) -> None:
        """Give nothing more to workers that failed what others then made."""
        while self._schedule.unfit:
            worker = self._schedule.unfit.pop()
            self._pool.drop(worker)
            self._take(Lost(worker, "it failed what others then made", begun=False))

    def _replace(self, workers: Sequence[str]) -> None:
        self._replaced.update(workers)
        for worker in workers:
            self._pool.replace(worker)
