"""Which worker makes which stage next: the stage on the longest path, and a worker that has its model loaded.

Plain bookkeeping, which knows nothing of Ray, models or files. What an event takes grows with the logarithm of the
number of stages, and with nothing else but the stages that become ready by it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from accord.cluster.failures import Failures
from accord.cluster.help_queue import HelpQueue
from accord.cluster.idle import Idle
from accord.cluster.pool import Help, Make, Order, Recall
from accord.cluster.ready import Ready
from accord.study.work import KEPT

LOADING = 30.0
"""Seconds that loading a model counts as: a worker takes a stage for a model that it has, unless one for another model
is on a path that is longer by more."""

WAIT = 60.0
"""Seconds that a stage waits for ranks at least: a helper may come only at its next step, and what a stage takes is
little known before the first was made."""

TRIES = 3
"""How often a stage is begun, where the worker that makes it dies."""


@dataclass(frozen=True)
class Job:
    """A stage to be made.

    Attributes:
        inputs: the stages among those to be made that must be whole before.
        seconds: that it is expected to take.
        model: which it loads first of those that a worker keeps, by name; empty if it loads none of these.
        spreads: whether idle workers may help with it.
        trains: whether several may train it together.
    """

    name: str
    inputs: tuple[str, ...] = ()
    seconds: float = 1.0
    model: str = "backbone"
    spreads: bool = False
    trains: bool = False


@dataclass
class _Worker:
    models: dict[str, None] = field(default_factory=dict)  # those that it has loaded, the one used last at the end
    makes: str = ""
    helps: str = ""
    gathered: bool = False
    benched: bool = False  # it is in doubt, see `accord.cluster.failures`


class StageSchedule:
    """The stages of a run and its workers, told of what happens; gives the orders that follow from it.

    >>> schedule = StageSchedule([Job("a", seconds=2), Job("b", seconds=1), Job("c", ("a", "b"))])
    >>> schedule.join("worker 1"), [*schedule.orders()]
    (None, [Make(worker='worker 1', stage='a', with_=())])
    >>> schedule.made("a"), [*schedule.orders()]
    (None, [Make(worker='worker 1', stage='b', with_=())])

    Attributes:
        able: how many workers there are or are to come: no more ranks than that are waited for.
        path_seconds: stage -> seconds of the longest path that begins with it.
        failed: stage -> why it could not be made.
        waiting: stages that were not made because one of these is among what they are made from.
    """

    def __init__(self, jobs: Sequence[Job], *, ranks: int = 1) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._ranks = self.able = ranks
        self._lacks = {job.name: len(job.inputs) for job in jobs}
        self._users: dict[str, list[str]] = defaultdict(list)
        for job in jobs:
            for name in job.inputs:
                self._users[name].append(job.name)
        self.path_seconds = longest_paths(jobs)
        self._ready, self._idle = Ready(self.path_seconds), Idle()
        self._workers: dict[str, _Worker] = {}
        self._at: dict[str, list[str]] = {}  # stage under way -> its workers, the first rank first
        self._begun: dict[str, int] = defaultdict(int)  # how often
        self._failures = Failures()
        self._bench = Idle()  # workers in doubt, which may make what others failed
        self._retry: dict[str, str] = {}  # stage that failed once -> the worker on which it did
        self._help = HelpQueue(self.path_seconds)
        self._helpers: dict[str, None] = {}  # those that may be recalled
        self._recalled: set[str] = set()  # those that were, and have not left yet
        self._gathering, self._gathered = "", list[str]()  # a stage that waits for all its ranks, and those it has
        self._since = 0.0  # when it began to wait
        self.failed: dict[str, str] = {}
        self.waiting: dict[str, None] = {}
        self._unended = len(self._jobs)
        for name, lacks in self._lacks.items():
            if not lacks:
                self._make_ready(name)

    # What is known

    @property
    def over(self) -> bool:
        """Whether every stage was made, failed, or waits for one that did."""
        return self._unended == 0

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._workers)

    @property
    def unfit(self) -> list[str]:
        """Workers that failed what others then made; whoever drops them takes them out."""
        return self._failures.unfit

    def at(self, stage: str) -> Sequence[str]:
        """The workers that make a stage, the first rank first; empty while nobody does."""
        return self._at.get(stage, ())

    # What happens

    def join(self, worker: str) -> None:
        """A worker is there, and idle."""
        self._workers[worker] = _Worker()
        self._rest(worker)

    def made(self, stage: str) -> None:
        """A stage is whole: what waits for it alone is ready now."""
        if stage in self._at:
            before = self._failures.made(stage, self._at[stage][0])
            self._end(stage)
            self._unbench(before)
            for name in self._users[stage]:
                self._lacks[name] -= 1
                if not self._lacks[name] and name not in self.waiting:
                    self._make_ready(name)

    def fail(self, stage: str, reason: str, worker: str = "") -> Sequence[str]:
        """A stage was not made. Another worker tries it, if there is one; else it failed, and all that is made from it.

        Returns the workers that trained it together with the one that says so: they wait for it, and must be replaced;
        they are forgotten.
        """
        if stage not in self._at:
            return ()
        others = [other for other in self._at[stage] if other != worker] if worker else []
        for other in others:
            self._at[stage].remove(other)
            del self._workers[other]
        if worker and stage not in self._failures and (others or self._others(worker)):
            self._failures.first(stage, "" if others else worker)
            self._let_go(stage)
            if others:
                self._make_ready(stage)
            else:
                self._retry[stage] = worker
            return others
        before = self._failures.again(stage)
        self._end(stage)
        self._unbench(before)
        self.failed[stage] = reason
        below = [*self._users[stage]]
        while below:
            name = below.pop()
            if name not in self.waiting:
                self.waiting[name] = None
                self._unended -= 1
                below += self._users[name]
        return others

    def leave(self, worker: str, why: str = "", *, begun: bool = True) -> tuple[str, Sequence[str]]:
        """A worker is gone: its stage, and the workers that trained it with it, who are forgotten as in `fail`.

        The stage is begun again, unless it was as often as `TRIES`: then it failed.

        Args:
            begun: whether the worker had begun the stage; else that was no try.
        """
        gone = self._workers.pop(worker, None)
        if gone is None:
            return "", ()
        self._idle.remove(worker)
        self._bench.remove(worker)
        self._failures.forget(worker)
        self._helpers.pop(worker, None)
        self._recalled.discard(worker)
        if gone.gathered:
            self._gathered.remove(worker)
        if gone.helps:
            self._help.leave(gone.helps)
        if not (stage := gone.makes):
            return "", ()
        others = [other for other in self._at[stage] if other != worker]
        for other in others:
            del self._workers[other]
        if not begun:
            self._begun[stage] -= 1
        if self._begun[stage] >= TRIES:
            self._at[stage] = []
            self.fail(stage, f"{why or 'its worker died'}, {TRIES} times")
        else:
            del self._at[stage]
            self._help.remove(stage)
            self._make_ready(stage)
        return stage, others

    def helped(self, worker: str, now: float = 0.0) -> None:
        """A worker found nothing more to help with; others are sent there only after a while."""
        if (of := self._workers.get(worker)) is not None and of.helps:
            self._help.leave(of.helps, now)
            self._rest(worker, self._jobs[of.helps].model)

    # What follows

    def orders(self, now: float = 0.0) -> Iterator[Order]:
        """What idle workers shall do; each order counts as taken.

        Args:
            now: seconds on any clock that does not go back.
        """
        yield from self._retries()
        yield from self._match(now)
        yield from self._recalls()
        if self._gathering or self._ready:
            return
        while self._idle and (name := self._help.take(now)):
            worker = self._idle.take(self._jobs[name].model)
            self._workers[worker].helps = name
            self._helpers[worker] = None
            yield Help(worker, name)

    def _match(self, now: float) -> Iterator[Order]:
        while True:
            if self._gathering:
                yield from self._gather(now)
                if self._gathering:
                    return
            if not (self._ready and self._idle):
                return
            worker = self._idle.take(self._jobs[self._ready.first()].model)
            name = self._best(self._workers[worker].models)
            self._ready.remove(name, self._jobs[name].model)
            if self._ranks > 1 and self._jobs[name].trains:
                self._gathering, self._since = name, now
                self._keep(worker)
                continue
            yield self._begin(name, [worker])

    def _retries(self) -> Iterator[Order]:
        """What failed once is made by another worker; where no other is left, by the same one again."""
        for name, failed in [*self._retry.items()]:
            model, but = self._jobs[name].model, failed if self._others(failed) else ""
            worker = self._idle.take(model, but) or self._bench.take(model, but)
            if worker:
                del self._retry[name]
                self._workers[worker].benched = False
                yield self._begin(name, [worker])

    def _others(self, worker: str) -> bool:
        """Whether there are workers besides one, or are to come."""
        return self.able > len(self._workers) or any(other != worker for other in self._workers)

    def _unbench(self, worker: str) -> None:
        """Let a worker have new stages again, if it is in doubt no more."""
        of = self._workers.get(worker)
        if of is not None and of.benched and not self._failures.doubts(worker):
            self._bench.remove(worker)
            self._rest(worker)

    def _best(self, models: Iterable[str]) -> str:
        """The stage on the longest path, where one for a model that must be loaded counts as shorter."""
        first = self._ready.first()
        if not self._jobs[first].model:  # whoever makes it loads one
            return first
        ready = (name for model in models if (name := self._ready.first(model)))
        own = max(ready, key=self.path_seconds.__getitem__, default=first)
        return own if self.path_seconds[own] + LOADING >= self.path_seconds[first] else first

    def _gather(self, now: float) -> Iterator[Order]:
        """Bring workers together until there are as many as ranks, or no more are worth waiting for."""
        job = self._jobs[self._gathering]
        while self._idle and len(self._gathered) < self._ranks:
            self._keep(self._idle.take(job.model))
        there = len(self._gathered)
        if there and (there >= min(self._ranks, self.able) or now - self._since >= self._worth_waiting(job, there)):
            workers, self._gathering, self._gathered = self._gathered, "", []
            yield self._begin(job.name, workers)

    def _worth_waiting(self, job: Job, there: int) -> float:
        """Seconds that a stage waits for the rest of its ranks: what these would save, and a minute at least."""
        return max(WAIT, job.seconds / there - job.seconds / self._ranks)

    def _keep(self, worker: str) -> None:
        self._gathered.append(worker)
        self._workers[worker].gathered = True

    def _begin(self, name: str, workers: list[str]) -> Make:
        job = self._jobs[name]
        self._at[name] = workers
        self._begun[name] += 1
        for worker in workers:
            of = self._workers[worker]
            of.makes, of.gathered = name, False
        if job.spreads and len(workers) == 1:
            self._help.add(name)
        return Make(workers[0], name, tuple(workers[1:]))

    def _recalls(self) -> Iterator[Recall]:
        """Of those that help, as many as there are stages that wait for a worker."""
        waits = len(self._ready) + len(self._retry)
        waits += self._ranks - len(self._gathered) if self._gathering else 0
        while len(self._recalled) < waits and self._helpers:
            worker = next(iter(self._helpers))
            del self._helpers[worker]
            self._recalled.add(worker)
            yield Recall(worker)

    def _make_ready(self, name: str) -> None:
        self._ready.add(name, self._jobs[name].model)

    def _end(self, stage: str) -> None:
        """One stage less that is to be made."""
        self._let_go(stage)
        self._unended -= 1

    def _let_go(self, stage: str) -> None:
        """Forget who makes a stage, and let them rest."""
        for worker in self._at.pop(stage):
            self._rest(worker, self._jobs[stage].model)
        self._help.remove(stage)

    def _rest(self, worker: str, used: str = "") -> None:
        """A worker is idle; `used` is the model that it has just loaded or used."""
        of = self._workers[worker]
        of.makes = of.helps = ""
        if used:
            of.models.pop(used, None)
            of.models[used] = None
            for model in [*of.models][:-KEPT]:
                del of.models[model]
        self._helpers.pop(worker, None)
        self._recalled.discard(worker)
        of.benched = self._failures.doubts(worker) and not self._gathering  # which may wait for this one
        (self._bench if of.benched else self._idle).add(worker, of.models)


def longest_paths(jobs: Sequence[Job]) -> Mapping[str, float]:
    """Seconds from the beginning of each stage to the end of the last that follows from it, were there workers enough.

    >>> longest_paths([Job("a", seconds=2.0), Job("b", ("a",), seconds=3.0)])
    {'b': 3.0, 'a': 5.0}
    """
    known = {job.name: job for job in jobs}
    users: dict[str, list[str]] = {job.name: [] for job in jobs}
    for job in jobs:
        for name in job.inputs:
            users[name].append(job.name)
    path: dict[str, float] = {}
    for name in TopologicalSorter(users).static_order():
        path[name] = known[name].seconds + max((path[user] for user in users[name]), default=0.0)
    return path
