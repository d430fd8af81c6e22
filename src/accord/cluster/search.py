"""A search on Ray: its trials brought to their end by the workers of a cluster, several at once."""

from collections.abc import Sequence

from rich.console import Console

from accord.cluster.config import MachinesSection
from accord.cluster.forecast import as_jobs
from accord.cluster.log import log_of
from accord.cluster.ray_pool import RayPool
from accord.cluster.ray_worker import RayWorker
from accord.cluster.run import OnDisplay, device_of_workers, drive
from accord.cluster.schedule import Job, StageSchedule
from accord.cluster.search_worker import PLACE, SearchWorker
from accord.cluster.shared import left_a_mark
from accord.cluster.start import connected
from accord.cluster.worker import Briefing
from accord.disk import lock
from accord.errors import AccordError
from accord.progress import Display
from accord.study import costs, store
from accord.study.graph import to_be_made
from accord.study.making import make
from accord.study.search_work import Search
from accord.study.stage import Stage
from accord.study.work import Models


class RaySearchWorker(SearchWorker, RayWorker):
    """Such a worker as an actor of Ray."""


def bring_all(job: Search, count: int, console: Console, machines: MachinesSection, memory: int) -> None:
    """Make what all trials share, then bring the trials to this number, each by one worker.

    Args:
        memory: bytes that the largest stage takes.

    Raises AccordError where a worker meets something else than a trial that fails: the rest could not be believed to
    fare better.
    """
    device, shared = device_of_workers(job.file.first), list(job.shared.values())
    with Display(job.file.name, console=console) as display, lock(job.folder.resolve(), wait=True):
        todo = to_be_made(shared, job.folder)
        for stage in shared:
            if stage not in todo and store.is_cut_short(job.folder / stage.name):
                make(stage, job.folder, Models(), say=display.say)
        done = len(job.trials().finished())
        jobs = as_jobs(todo, {stage.name: costs.expected(stage) for stage in todo})
        names = tuple(stage.name for stage in todo)
        # An order is not for a trial of a number: whoever takes it first goes on with what was left behind.
        places = [Job(f"{PLACE}{place}", names, model=job.model) for place in range(done + 1, count + 1)]
        if not jobs and not places:
            return
        prints = {stage.name: stage.recipe.fingerprint for stage in todo}
        prints.update({place.name: job.fingerprint for place in places})
        schedule = StageSchedule([*jobs, *places], ranks=machines.ranks)
        display.say(f"{job.file.name}: {max(0, count - done)} of {count} trials to do")
        display.doing("starting Ray")
        with left_a_mark(job.folder) as mark, connected(machines) as ray:
            told = Briefing.of(job.file, device, job.folder, mark, machines.cpus_per_stage, trials=count)
            pool = RayPool(ray, machines, told, prints, memory=memory, say=display.say, worker=RaySearchWorker)
            drive(schedule, pool, _TrialsOnDisplay(display, todo, job, done, count))


class _TrialsOnDisplay(OnDisplay):
    """Tells of trials, too, and ends the search where something is wrong with more than one trial."""

    def __init__(self, display: Display, stages: Sequence[Stage], job: Search, done: int, count: int) -> None:
        super().__init__(display, stages, job.folder)
        self._name, self._done, self._count = job.file.name, done, count
        self._tell()

    def made(self, stage: str, seconds: float, found: str, lacking: str) -> None:
        super().made(stage, seconds, found, lacking)
        if stage.startswith(PLACE) and found:
            self._done += 1
            self._tell()

    def failed(self, stage: str, reason: str) -> None:
        self._leave(stage)
        fix = "mend that; the same command goes on from what is done"
        what = "A trial" if stage.startswith(PLACE) else stage
        raise AccordError(
            f"{what} could not be brought to its end.", where=log_of(self._folder, stage), got=reason, fix=fix
        )

    def _tell(self) -> None:
        self._display.title = f"{self._name} · {self._done} of {self._count} trials"
