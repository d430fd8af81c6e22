"""A run on Ray: its stages made by the workers of a cluster, while this process plans, tells and writes the page."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.console import Console

from accord.cluster.config import MachinesSection
from accord.cluster.driver import Driver
from accord.cluster.forecast import as_jobs
from accord.cluster.log import logs_of
from accord.cluster.ray_pool import RayPool
from accord.cluster.schedule import StageSchedule
from accord.cluster.shared import left_a_mark
from accord.cluster.start import connected
from accord.cluster.worker import Briefing
from accord.errors import AccordError
from accord.progress import Display, Progress, tell
from accord.report.wording import count
from accord.study import costs
from accord.study.capacity import largest_need
from accord.study.config import StudyFile
from accord.study.making import GrowingPage, ToMake
from accord.study.report_file import bring_report
from accord.study.stage import Stage

_NAMED = 20  # stages that failed, as an error lists them


def make_all(what: ToMake, console: Console, machines: MachinesSection) -> None:
    """Make the stages that are to do, each as soon as what it is made from is there.

    Raises AccordError if any could not be made, once all others are; where Ray is not installed, does not start or
    answer; and where a machine does not see the run folder, or is too small.
    """
    device = device_of_workers(what.file)
    _, memory = largest_need({stage.name: stage.needs() for stage in what.todo}, what.graph.least())
    schedule = StageSchedule(as_jobs(what.todo, what.expected), ranks=machines.ranks)
    prints = {stage.name: stage.recipe.fingerprint for stage in what.todo}
    with what.display(console) as display, left_a_mark(what.folder) as mark:
        for stage in what.asked:
            if stage.name not in what.expected:
                what.clear(stage, display.say)
        display.doing("starting Ray")
        with connected(machines) as ray:
            told = Briefing.of(what.file, device, what.folder, mark, machines.cpus_per_stage)
            pool = RayPool(ray, machines, told, prints, memory=memory, say=display.say)
            drive(schedule, pool, OnDisplayAndPage(display, what))
    if schedule.failed:
        failed = _failed(what.folder, schedule.failed, schedule.waiting)
        if what.page:
            try:
                bring_report(what.folder)
            except AccordError:  # there may be nothing to show
                pass
            except Exception as error:
                raise failed from error
        raise failed


def drive(schedule: StageSchedule, pool: RayPool, shown: "OnDisplay") -> None:
    """Have a schedule made by the workers of a pool, which end with it."""
    try:
        pool.open()
        Driver(schedule, pool, shown).run()
    finally:
        pool.close()
        shown.close()


def device_of_workers(file: StudyFile) -> str:
    """The device that a study names. Raises AccordError if it is a card of one machine."""
    device = file.study.backbone.device
    if ":" in device:
        fix = f'write device = "{device.partition(":")[0]}": each worker has cards of its own'
        raise AccordError("A worker cannot be given the card of a number.", got=device, fix=fix)
    return device


class OnDisplay:
    """Tells on the display what a driver is told."""

    def __init__(self, display: Display, stages: Iterable[Stage], folder: Path) -> None:
        self._display, self._folder = display, folder
        self._stages = {stage.name: stage for stage in stages}
        self._hosts: dict[str, str] = {}
        self._open: dict[str, tuple[ExitStack, Progress]] = {}
        self._found: dict[str, str] = {}
        self._made: list[Stage] = []

    def joined(self, worker: str, host: str) -> None:
        """A worker is there."""
        self._hosts[worker] = host
        self._display.workers = len(self._hosts)

    def begun(self, stage: str, worker: str) -> None:
        """A line of its own for the stage, until it has ended."""
        at = f"{worker} on {self._hosts.get(worker, '')}"
        steps = ExitStack()
        progress = steps.enter_context(self._display.step(stage, lambda: self._found.pop(stage, ""), at=at))
        self._open[stage] = steps, progress

    def moved(self, stage: str, done: int, total: int, doing: str, told: str) -> None:
        """How far a stage is."""
        if stage in self._open:
            tell(self._open[stage][1], told)
        if doing:
            self._display.doing(doing, stage)
        elif total and stage in self._open:
            self._open[stage][1](done, total)

    def made(self, stage: str, seconds: float, found: str, lacking: str) -> None:
        """A stage is whole."""
        if stage in self._stages:
            self._made.append(self._stages[stage])
        self._found[stage] = found
        self._open.pop(stage)[0].close()
        if lacking:
            self._display.say(f"{stage}: {lacking}")

    def again(self, stage: str, worker: str, reason: str) -> None:
        """A worker could not make a stage, which another is to try."""
        self._leave(stage)
        at = f"{worker} on {self._hosts.get(worker, '')}"
        self._display.say(f"{stage} failed on {at}: {reason}; another worker tries it")

    def failed(self, stage: str, reason: str) -> None:
        """A stage cannot be made."""
        self._leave(stage)
        self._display.say(f"{stage} failed: {reason}{_logged(self._folder, stage)}")

    def lost(self, worker: str, why: str, stage: str) -> None:
        """A worker is gone, or gets nothing more."""
        self._leave(stage)
        host = self._hosts.pop(worker, "")
        self._display.workers = max(1, len(self._hosts))
        again = f"; {stage} is made again elsewhere" if stage else ""
        self._display.say(f"{worker} on {host} is out: {why}{again}")

    def close(self) -> None:
        """Nothing is under way any more."""
        costs.note_made(self._made, self._folder)  # not each at once, as workers wait for who tells
        for stage in [*self._open]:
            self._leave(stage)

    def _leave(self, stage: str) -> None:
        """End the line of a stage that has not been made."""
        if stage in self._open:
            with suppress(_Left):
                self._open.pop(stage)[0].__exit__(_Left, _Left(), None)


class OnDisplayAndPage(OnDisplay):
    """Lets the page of the run grow, too."""

    def __init__(self, display: Display, what: ToMake) -> None:
        super().__init__(display, what.todo, what.folder)
        self._page, self._pages = GrowingPage(what), ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def made(self, stage: str, seconds: float, found: str, lacking: str) -> None:
        """A stage is whole, and the page may be due."""
        super().made(stage, seconds, found, lacking)
        if self._page.is_due(self._stages[stage]) and (self._writing is None or self._writing.done()):
            self._writing = self._pages.submit(self._write, self._page.coming)  # workers do not wait for it

    def close(self) -> None:
        """Nothing is under way any more, the page included."""
        self._pages.shutdown()
        super().close()

    def _write(self, coming: Sequence[str]) -> None:
        with suppress(AccordError, OSError):  # a stage may be replaced meanwhile, and the last page comes in any case
            self._page.write(coming)


class _Left(Exception):
    """A stage was left before its end: the display then does not tell what came of it."""


def _logged(folder: Path, stage: str) -> str:
    """Where what was printed is to be read, if it is."""
    logs = logs_of(folder, stage)
    return f" ({'log' if len(logs) == 1 else 'logs'}: {', '.join(map(str, logs))})" if logs else ""


def _failed(folder: Path, failed: Mapping[str, str], waiting: Mapping[str, None]) -> AccordError:
    """What a run ends with that could not make all of its stages."""
    lines = [f"{name}: {reason}{_logged(folder, name)}" for name, reason in [*failed.items()][:_NAMED]]
    if len(failed) > _NAMED:
        lines.append(f"and {len(failed) - _NAMED} more")
    rest = f", and {len(waiting)} more wait for what they would be made from" if waiting else ""
    return AccordError(
        "\n  ".join([f"{count(len(failed), 'stage')} could not be made{rest}; all others are.", *lines]),
        fix="mend that; the same command goes on from what is done",
    )
