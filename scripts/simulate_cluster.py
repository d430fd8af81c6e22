"""The planner's schedule and the driver against workers that only count seconds: what they cost, and what a run takes.

    .venv/bin/python scripts/simulate_cluster.py            # the table of docs/cluster.md
    .venv/bin/python scripts/simulate_cluster.py --stages 20000 --workers 1000

Nothing is computed: durations are drawn around those that were measured, and a clock jumps from one event to the next.
What is real is what the driver does for each stage: which is ready, who makes it, what follows, what is told of it in a
log and in progress.json, and what is learnt of it. Planning, and the page, are not in it.
"""

import argparse
import os
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

from accord.amounts import in_bytes, in_time
from accord.cluster.driver import Driver
from accord.cluster.pool import Event, Joined, Lost, Order
from accord.cluster.run import OnDisplay
from accord.cluster.schedule import Job, StageSchedule
from accord.cluster.simulated import SimulatedPool
from accord.progress import Display
from accord.study.stage import Stage

_DEATHS = 0.001  # of the stages that are begun, a worker dies over so many


@dataclass(frozen=True)
class Simulated:
    """What a simulation gave: seconds, by the jumping clock but for `cost`, which are of this machine.

    Attributes:
        cost: that schedule, driver and display took a stage.
        grown: bytes of memory that they took while stages were made, beyond what the schedule took at the beginning.
        wall: from beginning to end.
        path: of the longest path, which no number of workers makes shorter.
        busy: share of the workers' time in which they worked.
    """

    stages: int
    workers: int
    cost: float
    grown: int
    wall: float
    path: float
    busy: float


class Mortal(SimulatedPool):
    """Some workers die over a stage, and another comes in the place of each."""

    def __init__(self, seconds: dict[str, float], workers: int, draw: random.Random) -> None:
        super().__init__(seconds, workers)
        self._draw = draw
        self._doomed: set[str] = set()

    def start(self, order: Order) -> None:
        """Give an order."""
        super().start(order)
        if self._draw.random() < _DEATHS:
            self._doomed.add(order.worker)

    def wait(self, timeout: float) -> Sequence[Event]:
        """The next event; instead of its end, that of the worker."""
        events = super().wait(timeout)
        if events and events[0].worker in self._doomed and not isinstance(events[0], Joined):
            worker = events[0].worker
            self._doomed.remove(worker)
            return [Lost(worker, "died"), Joined(worker, "simulated")]
        return events


def study(repairs: int, seeds: int, concepts: int, layers: int, pace: float, draw: random.Random) -> list[Job]:
    """The stages of a study as accord plans them; each takes about `pace` times what the demo's takes on two cores."""
    jobs: list[Job] = []

    def stage(name: str, seconds: float, inputs: Sequence[str] = (), *, spreads: bool = True) -> str:
        drawn = seconds * pace * draw.lognormvariate(0, 0.4)
        jobs.append(Job(name, tuple(inputs), drawn, "backbone", spreads, trains=not spreads))
        return name

    texts = stage("embeddings", 40)
    for i in range(4):
        stage(f"gap/{i}", 45)
    answers, observation = stage("answers", 20), stage("observation", 12)
    for seed in range(seeds):
        for layer in range(layers):
            for i in range(concepts):
                end = f"{i}-L{layer}-s{seed}"
                made = stage(f"concepts/{end}", 20, [texts], spreads=False)
                for row in ("latents", "original", "new"):
                    head = stage(f"heads/{end}-{row}", 10, [texts, made], spreads=False)
                    written = stage(f"texts/{end}-{row}", 4, [head])
                    stage(f"perplexity/{end}-{row}", 10, [written, head, texts])
                if not seed:
                    stage(f"names/{end}", 5, [texts, made], spreads=False)
                    stage(f"steering/{end}", 20, [texts, made])
                    stage(f"explain/{end}", 20, [made], spreads=False)
        for i in range(repairs):
            repair = stage(f"repair/{i}-s{seed}", 40, spreads=False)
            verdict = stage(f"verdict/{i}-s{seed}", 15, [answers, repair])
            stage(f"damage/{i}-s{seed}", 10, [observation, repair, verdict])
            if not seed:
                stage(f"pathway/{i}", 70, [repair])
    return jobs


def simulate(jobs: Sequence[Job], workers: int, seed: int = 0) -> Simulated:
    """Play a run of these stages."""
    tracemalloc.start()
    schedule, pool, grown, _ = _play(jobs, workers, seed)
    tracemalloc.stop()
    *_, cost = _play(jobs, workers, seed)
    assert not schedule.failed
    return Simulated(
        stages=len(jobs),
        workers=workers,
        cost=cost / len(jobs),
        grown=grown,
        wall=pool.now,
        path=max(schedule.path.values()),
        busy=pool.busy / (workers * pool.now),
    )


def _play(jobs: Sequence[Job], workers: int, seed: int) -> tuple[StageSchedule, Mortal, int, float]:
    """Play a run; its schedule and pool, bytes that it took if they are traced, and seconds."""
    stages = [Stage(job.name.partition("/")[0], job.name.partition("/")[2], _never, {}, 0, 1) for job in jobs]
    schedule = StageSchedule(jobs)
    pool = Mortal({job.name: job.seconds for job in jobs}, workers, random.Random(seed))
    pool.timeline = _Forgetful()
    expected = {job.name: job.seconds for job in jobs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Path(os.devnull).open("w") as log,
            Display("a run", expected, console=Console(file=log), note=folder / "progress.json") as display,
        ):
            shown = OnDisplay(display, SimpleNamespace(todo=stages, folder=folder, page=False))  # type: ignore[arg-type]
            before, begun = tracemalloc.get_traced_memory()[0], time.perf_counter()
            Driver(schedule, pool, shown, clock=lambda: pool.now).run()
            shown.close()
            seconds = time.perf_counter() - begun
            return schedule, pool, tracemalloc.get_traced_memory()[1] - before, seconds


def _never(work: object) -> None:
    raise AssertionError("stages that are played are not made")


class _Forgetful(list[tuple[str, str, float, float]]):
    """A timeline that keeps nothing: the memory of the simulation is none of accord's."""

    def append(self, entry: tuple[str, str, float, float]) -> None:
        """Nothing."""


def main() -> None:
    """Print a line for each size; see docs/cluster.md for what the paces stand for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, help="about how many")
    parser.add_argument("--workers", type=int, default=64)
    chosen = parser.parse_args()
    sizes: list[tuple[str, Callable[[random.Random], list[Job]], Sequence[int]]] = [
        ("one like the demo", lambda draw: study(3, 1, 2, 1, 1.0, draw), (1, 2, 8)),
        ("7B, 8 repairs, 3 seeds", lambda draw: study(8, 3, 6, 4, 3.0, draw), (1, 8, 64)),
        ("70B, 100 repairs, 3 seeds", lambda draw: study(100, 3, 6, 4, 30.0, draw), (16, 64)),
        ("7B, 1,500 repairs, 4 seeds", lambda draw: study(1500, 4, 6, 6, 3.0, draw), (64, 1000)),
    ]
    if chosen.stages:
        sizes = [("a study", lambda draw: study(chosen.stages // 14, 4, 1, 1, 20.0, draw), (chosen.workers,))]
    print("| study | stages | workers | wall time | longest path | busy | cost a stage | memory |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for name, make, many in sizes:
        for workers in many:
            of = simulate(make(random.Random(0)), workers)
            print(
                f"| {name} | {of.stages:,} | {of.workers:,} | {in_time(of.wall)} | {in_time(of.path)} "
                f"| {of.busy:.0%} | {1000 * of.cost:.2f} ms | {in_bytes(of.grown)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
