"""Workers as actors of Ray. Everything of Ray is in here, in `start` and in `room`."""

import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from accord.cluster.config import MachinesSection
from accord.cluster.pool import Event, Failed, Help, Helped, Joined, Lost, Made, Make, Moved, Order, Recall
from accord.cluster.ray_worker import RayWorker, environment
from accord.cluster.room import RoomForWorkers, alive, room
from accord.cluster.worker import Briefing, Done, Hello
from accord.errors import AccordError

_LOOK = 0.05  # seconds from one question how far a worker is to the next one's
_SAME = 2.0  # seconds from one to the same worker to the next
_REST = 15.0  # and where that one is idle: it may have died
_GROW = 15.0  # seconds between looks for machines that have joined
_PATIENCE = 300.0  # seconds until the first worker is there
_OTHERS = 45.0  # and from then until the run begins without the rest: longer than one looks whether it sees the folder
_COMING = 60.0  # seconds in which a worker that is asked for counts as one to come
_GRACE = 30.0  # seconds in which workers may leave by themselves
_DEATHS = 3  # of a worker in a row before it has joined


@dataclass
class _Actor:
    """One life of a worker."""

    handle: Any
    order: Order | None = None
    refs: dict[str, Any] = field(default_factory=dict)  # what it was asked and has not answered
    joined: bool = False
    held: bool = False  # it gets nothing, but keeps its place, so that no other is started there
    asked: float = 0.0
    born: float = field(default_factory=time.monotonic)

    @property
    def works(self) -> bool:
        """Whether it is at work."""
        return "make" in self.refs or "help" in self.refs


class RayPool:
    """Workers on the machines of a cluster; see `accord.cluster.pool.Pool`.

    Args:
        prints: name of a stage -> fingerprint of its recipe.
        memory: bytes that a worker takes, where there are no cards.
        say: told a line of what goes wrong with a machine.
    """

    def __init__(
        self,
        ray: Any,
        machines: MachinesSection,
        told: Briefing,
        prints: Mapping[str, str],
        *,
        memory: int = 0,
        say: Callable[[str], None] = lambda line: None,
        worker: type[RayWorker] = RayWorker,
    ) -> None:
        self._ray, self._machines, self._told, self._prints = ray, machines, told, prints
        self._memory, self._say, self._worker = memory, say, worker
        self._actors: dict[str, _Actor] = {}
        self._deaths: dict[str, int] = {}
        self._answers: queue.SimpleQueue[tuple[str, _Actor, str, Any]] = queue.SimpleQueue()
        self._events: deque[Event] = deque()
        self._ranks: dict[str, dict[str, Done]] = {}  # stage -> what those that train it have answered
        self._born = 0
        self._opened = False
        self._said: set[str] = set()
        self._turns: deque[tuple[str, _Actor]] = deque()  # whom to ask next how far it is
        self._looked = self._grown = time.monotonic()
        self._room = self._seen_room()
        if not self._room.workers:
            wanted = f"{machines.cpus_per_stage} CPUs"
            if self._room.cards:
                wanted = f"{machines.gpus_per_model} GPUs and {wanted}"
            raise AccordError(
                "No machine of the cluster has room for a worker.",
                got="; ".join(_resources(node) for node in alive(ray)) or "no machine",
                wanted=f"{wanted} on one machine" + (f", {memory} bytes of memory" if memory else ""),
                fix="ask for less: gpus_per_model, cpus_per_stage of [machines]",
            )
        self._grow(self._room)

    @property
    def workers(self) -> int:
        """How many there are or are to come: those that were asked for a while ago may never."""
        since = time.monotonic() - _COMING
        actors = [actor for actor in self._actors.values() if not actor.held]
        return sum(actor.joined or actor.born > since for actor in actors)

    # As `Pool` has it

    def start(self, order: Order) -> None:
        """Give an order. Before a stage, a worker is asked whether it is there: if not, the stage has not begun."""
        actor = self._actors.get(order.worker)
        if actor is None:
            return  # its end is told already, or will be
        if isinstance(order, Recall):
            actor.handle.leave.remote("help")
            return
        actor.order = order
        if isinstance(order, Help):
            self._ask(order.worker, "help", actor.handle.help.remote(order.stage, self._prints[order.stage]))
        else:
            for worker in order.with_:
                if (other := self._actors.get(worker)) is not None:
                    other.order = order
            self._ask(order.worker, "ready", actor.handle.how_far.remote())

    def wait(self, timeout: float) -> Sequence[Event]:
        """What happened since."""
        until = time.monotonic() + timeout
        while not self._events:
            self._look()
            left = until - time.monotonic()
            try:
                self._take(*self._answers.get(timeout=max(0.0, min(left, _LOOK))))
                while True:
                    self._take(*self._answers.get_nowait())
            except queue.Empty:
                if left <= 0:
                    break
        events = list(self._events)
        self._events.clear()
        return events

    def replace(self, worker: str) -> None:
        """End a worker at once; another comes in its place."""
        if worker in self._actors:
            self._end(worker)
            self._new(worker)

    def drop(self, worker: str) -> None:
        """Give a worker nothing more; it keeps its place, so that no other is started there."""
        if (actor := self._actors.get(worker)) is not None:
            if actor.works:
                actor.handle.leave.remote()
            self._hold(worker, "it failed what others then made")

    # Beginning and end

    def open(self) -> None:
        """Wait for the workers that there is room for; but not long for the rest, once one is there.

        Raises AccordError if none comes, or one cannot work in the run folder, or has too small a GPU.
        """
        until, there = time.monotonic() + _PATIENCE, False
        while not all(actor.joined or actor.held for actor in self._actors.values()) and time.monotonic() < until:
            with suppress(queue.Empty):
                self._take(*self._answers.get(timeout=min(1.0, _OTHERS)))
            if not there and any(actor.joined for actor in self._actors.values()):
                there, until = True, time.monotonic() + _OTHERS
        if not there and not any(actor.joined for actor in self._actors.values()):
            fix = "see what keeps them: ray status"
            raise AccordError(f"No worker has started in {_PATIENCE:.0f} s.", fix=fix)
        self._opened = True

    def close(self) -> None:
        """Have all workers leave what they are at, and end them: nothing is half written, and what is done stays."""
        for actor in self._actors.values():
            if actor.works:
                actor.handle.leave.remote()
        until = time.monotonic() + _GRACE
        while any(actor.works for actor in self._actors.values()) and time.monotonic() < until:
            with suppress(queue.Empty, KeyboardInterrupt):  # which comes again and again, see `accord.signals`
                _, actor, what, _ = self._answers.get(timeout=0.5)
                actor.refs.pop(what, None)
        for worker in [*self._actors]:
            with suppress(KeyboardInterrupt):
                self._end(worker)

    # Workers come and go

    def _seen_room(self) -> RoomForWorkers:
        return room(alive(self._ray), self._machines, self._memory, device=self._told.device)

    def _grow(self, now: RoomForWorkers) -> None:
        """Have as many workers as there is room for; those that are at work stay, as do those that are idle."""
        there = [*self._actors]
        for _ in range(now.workers - len(there)):
            self._born += 1
            self._new(f"worker {self._born}")
        coming = [worker for worker in there if not self._actors[worker].joined]
        coming.sort(key=lambda worker: self._actors[worker].held)
        for worker in coming[: max(0, len(there) - now.workers)]:  # of machines that have left
            self._end(worker)

    def _new(self, worker: str) -> None:
        machines, variables = self._machines, environment(self._machines.cpus_per_stage)
        resources: dict[str, Any] = {"num_cpus": machines.cpus_per_stage}
        if self._room.cards:
            resources["num_gpus"] = machines.gpus_per_model  # Ray gives an actor all of one machine
        else:
            resources["memory"] = self._memory or None
            variables["CUDA_VISIBLE_DEVICES"] = ""
        handle = (
            self._ray.remote(self._worker)
            .options(max_concurrency=2, max_restarts=0, runtime_env={"env_vars": variables}, **resources)
            .remote(worker, self._told)
        )
        self._actors[worker] = _Actor(handle)
        self._ask(worker, "hello", handle.hello.remote())

    def _end(self, worker: str) -> None:
        actor = self._actors.pop(worker)
        with suppress(Exception):  # it may be gone
            self._ray.kill(actor.handle)

    def _hold(self, worker: str, why: str) -> None:
        actor = self._actors[worker]
        actor.joined, actor.held, actor.order = False, True, None
        if all(actor.held for actor in self._actors.values()):
            fix = "mend that, then run again: it goes on from what is done"
            raise AccordError("No worker is left that can work.", got=why, fix=fix)

    def _tell(self, line: str) -> None:
        """Once: many workers of a machine have the same to say."""
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    # Questions and answers

    def _ask(self, worker: str, what: str, ref: Any) -> None:
        actor = self._actors[worker]
        actor.refs[what] = ref
        ref.future().add_done_callback(lambda answer: self._answers.put((worker, actor, what, answer)))

    def _take(self, worker: str, actor: _Actor, what: str, answer: Any) -> None:
        actor.refs.pop(what, None)
        if self._actors.get(worker) is not actor:
            return  # of an earlier life
        if actor.held:
            return
        error = answer.exception()
        if error is not None:
            if what != "far" or actor.order is None:  # else its death is told by what it was at
                self._fails(worker, actor, what, error)
        elif what == "hello":
            self._joins(worker, actor, answer.result())
        elif what == "far":
            far = answer.result()
            if actor.order is not None and not isinstance(actor.order, Recall | Help):
                self._events.append(Moved(worker, actor.order.stage, *far))
        elif what == "ready":
            assert isinstance(actor.order, Make)
            stage = actor.order.stage
            if actor.order.with_:
                self._ask(worker, "address", actor.handle.free_address.remote())
            else:
                self._ask(worker, "make", actor.handle.make.remote(stage, self._prints[stage]))
        elif what == "address":
            assert isinstance(actor.order, Make)
            self._start_ranks(actor.order, answer.result())
        else:
            self._ends(worker, actor, answer.result())

    def _joins(self, worker: str, actor: _Actor, hello: Hello) -> None:
        if hello.wrong:
            problem = f"Workers on {hello.host} cannot work in the run folder: {hello.wrong}."
            if not self._opened:
                fix = "name a folder with --out that all machines share, under the same path"
                raise AccordError(problem, where=f"{self._told.folder} on {hello.host}", fix=fix)
            self._tell(problem)
            self._hold(worker, problem)
            return
        if self._room.cards and hello.free < self._memory:
            problem = f"The largest stage needs {self._memory} bytes of a GPU's memory."
            if not self._opened:
                fix = "take larger GPUs, or more of them for a model: gpus_per_model of [machines]"
                raise AccordError(problem, where=hello.host, got=f"{hello.free} free", fix=fix)
            problem = f"Workers on {hello.host} are given nothing: {hello.free} bytes of a GPU are free. {problem}"
            self._tell(problem)
            self._hold(worker, problem)
            return
        actor.joined = True
        self._turns.append((worker, actor))
        self._deaths.pop(worker, None)
        self._events.append(Joined(worker, hello.host))

    def _ends(self, worker: str, actor: _Actor, done: Done) -> None:
        order, actor.order = actor.order, None
        if done.how == "unfit":
            if isinstance(order, Make):
                self._ranks.pop(order.stage, None)
            self._events.append(Lost(worker, f"it is given nothing more: {done.reason}", begun=False))
            self._hold(worker, done.reason)
        elif isinstance(order, Help):
            self._events.append(Helped(worker, order.stage))
        elif isinstance(order, Make):
            if order.with_ and done.how == "made":
                answers = self._ranks.setdefault(order.stage, {})
                answers[worker] = done
                if len(answers) <= len(order.with_):
                    return
                worker, done = order.worker, answers[order.worker]
            self._ranks.pop(order.stage, None)
            if done.how == "made":
                self._events.append(Made(worker, order.stage, done.seconds, done.found, done.lacking))
            elif done.how == "failed":
                self._events.append(Failed(worker, order.stage, done.reason))
            elif done.how == "left":
                self._events.append(Lost(worker, done.reason or "it left the stage"))
                self.replace(worker)

    def _fails(self, worker: str, actor: _Actor, what: str, error: BaseException) -> None:
        if what == "hello":
            self._deaths[worker] = self._deaths.get(worker, 0) + 1
            if self._deaths[worker] >= _DEATHS or not _is_death(self._ray, error):
                problem = f"A worker cannot start: {_first_line(error)} (see its log: ray logs cluster)"
                self._tell(problem)
                self._hold(worker, problem)
                return
        else:
            if isinstance(actor.order, Make):
                self._ranks.pop(actor.order.stage, None)
            self._events.append(Lost(worker, _why(error), begun=what != "ready"))
        self.replace(worker)

    def _look(self) -> None:
        """Ask one of the workers how far it is, idle ones seldom; and, seldom, whether there are more machines."""
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            for _ in range(len(self._turns)):
                worker, actor = self._turns.popleft()
                if self._actors.get(worker) is not actor or actor.held:
                    continue
                self._turns.append((worker, actor))
                if now - actor.asked >= (_REST if actor.order is None else _SAME) and "far" not in actor.refs:
                    actor.asked = now
                    self._ask(worker, "far", actor.handle.how_far.remote())
                    break
        if now - self._grown >= _GROW:
            self._grown = now
            self._grow(self._seen_room())

    def _start_ranks(self, order: Make, address: str) -> None:
        workers = (order.worker, *order.with_)
        for rank, worker in enumerate(workers):
            if (actor := self._actors.get(worker)) is not None:
                call = actor.handle.make.remote(order.stage, self._prints[order.stage], rank, len(workers), address)
                self._ask(worker, "make", call)


def _is_death(ray: Any, error: BaseException) -> bool:
    return isinstance(error, ray.exceptions.RayActorError)


def _why(error: BaseException) -> str:
    """Why a worker is gone, in words."""
    said = str(error)
    if "node has died" in said or "node is dead" in said.lower():
        return "its machine left"
    return "its process was killed, or memory ran out"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _resources(node: Mapping[str, float]) -> str:
    return ", ".join(f"{node[name]:g} {name}" for name in ("CPU", "GPU", "memory") if name in node)
