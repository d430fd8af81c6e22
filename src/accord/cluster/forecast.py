"""What a run on several workers would take: its schedule, played through with the seconds that stages took before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from accord.cluster.config import MachinesSection
from accord.cluster.driver import Driver
from accord.cluster.room import alive, room, this_machine
from accord.cluster.schedule import Job, StageSchedule
from accord.cluster.simulated import SimulatedPool, Unheard
from accord.study import costs
from accord.study.stage import Stage


@dataclass(frozen=True)
class ModelNeeds:
    """What the stages take that load the same model first.

    Attributes:
        model: see `accord.study.stage.Stage`.
        stages: how many there are.
        memory: bytes, of the one that takes most, as far as that is known before.
    """

    model: str
    stages: int
    memory: int


@dataclass(frozen=True)
class Forecast:
    """What a run on several workers would take.

    Attributes:
        workers: how many.
        cards: GPUs of each; 0 where they have none.
        seconds: from the beginning to the end.
        busy: seconds that workers are at work, all together.
        longest: the stages that follow from each other and take longest together, and `longest_seconds`, which no
            number of workers makes less.
        timeline: worker -> the stages that it makes, in their order.
        models: a line a model.
    """

    workers: int
    cards: int
    seconds: float
    busy: float
    longest: tuple[str, ...]
    longest_seconds: float
    timeline: Mapping[str, Sequence[str]]
    models: Sequence[ModelNeeds]

    @property
    def card_hours(self) -> float:
        """GPUs times hours that they are held; 0 where there are none."""
        return self.workers * self.cards * self.seconds / 3600


def forecast(
    stages: Sequence[Stage], machines: MachinesSection, least: Callable[[], int] = int, *, device: str = "auto"
) -> Forecast | None:
    """What making these stages would take; None if there are none. Asks a running cluster for its machines.

    Args:
        device: of the backbone, as the study names it.
        least: gives the bytes of memory that the backbone takes.

    Raises AccordError if no cluster answers at the address of `machines`.
    """
    if not stages:
        return None
    seconds = {stage.name: costs.expected(stage) for stage in stages}
    jobs = as_jobs(stages, seconds)
    always, known = least(), {stage.name: stage for stage in stages}
    memory = {job.name: max(known[job.name].needs().memory, always) for job in jobs}
    schedule = StageSchedule(jobs, ranks=machines.ranks)
    there = room(_nodes(machines), machines, max(memory.values()), device=device)
    pool = SimulatedPool(seconds, max(there.workers, 1))
    Driver(schedule, pool, Unheard(), clock=lambda: pool.now).run()
    timeline: dict[str, list[str]] = {}
    for worker, stage, _, _ in pool.timeline:
        timeline.setdefault(worker, []).append(stage)
    longest = longest_path(jobs, schedule.path_seconds)
    by_model: dict[str, list[int]] = {}
    for job in jobs:
        by_model.setdefault(job.model, []).append(memory[job.name])
    return Forecast(
        workers=there.workers,
        cards=machines.gpus_per_model if there.cards else 0,
        seconds=pool.now,
        busy=pool.busy,
        longest=longest,
        longest_seconds=sum(seconds[name] for name in longest),
        timeline=timeline,
        models=[ModelNeeds(model, len(of), max(of)) for model, of in by_model.items()],
    )


def as_jobs(stages: Sequence[Stage], seconds: Mapping[str, float]) -> list[Job]:
    """Stages that are to do as a schedule takes them; `seconds` are those that each is expected to take."""
    return [
        Job(
            name=stage.name,
            inputs=tuple({source.name: None for source in stage.inputs.values() if source.name in seconds}),
            seconds=seconds[stage.name],
            model=stage.model,
            spreads=stage.spreads,
            trains=stage.trains,
        )
        for stage in stages
    ]


def longest_path(jobs: Sequence[Job], path_seconds: Mapping[str, float]) -> tuple[str, ...]:
    """The stages of the longest path, in their order; `path_seconds` as `schedule.longest_paths` gives them.

    >>> jobs = [Job("a", seconds=2.0), Job("b", ("a",), seconds=3.0), Job("c", seconds=4.0)]
    >>> longest_path(jobs, {"a": 5.0, "b": 3.0, "c": 4.0})
    ('a', 'b')
    """
    users: dict[str, list[str]] = {}
    for job in jobs:
        for name in job.inputs:
            users.setdefault(name, []).append(job.name)
    names = [max(path_seconds, key=path_seconds.__getitem__)]
    while below := users.get(names[-1]):
        names.append(max(below, key=path_seconds.__getitem__))
    return tuple(names)


def _nodes(machines: MachinesSection) -> Sequence[Mapping[str, float]]:
    """The resources of each machine that a run would have."""
    if not machines.address:
        return [this_machine(machines)]
    from accord.cluster.start import connected

    with connected(machines) as ray:
        return alive(ray)
