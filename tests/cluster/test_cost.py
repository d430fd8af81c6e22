"""What a stage costs the driver does not grow with the run."""

import io
import sys
from types import SimpleNamespace

from rich.console import Console

from accord.cluster.driver import Driver
from accord.cluster.run import OnDisplayAndPage
from accord.cluster.schedule import Job, StageSchedule
from accord.cluster.simulated import SimulatedPool
from accord.progress import Display
from accord.study.stage import Stage


def calls_a_stage(stages: int, folder) -> float:
    """Of Python's functions and generators, while a run is played before its real listener."""
    of = [Stage(f"kind{i % 5}", f"{i}", lambda work: None, {}, 0, 1) for i in range(stages)]
    names = [stage.name for stage in of]
    pool = SimulatedPool({name: 1.0 + i % 7 for i, name in enumerate(names)}, 8)
    calls = 0

    def count(frame, event, arg):
        nonlocal calls
        calls += event == "call"

    with Display("s", dict.fromkeys(names, 1.0), console=Console(file=io.StringIO())) as display:
        shown = OnDisplayAndPage(display, SimpleNamespace(todo=of, folder=folder, page=False))
        driver = Driver(StageSchedule([Job(name) for name in names]), pool, shown, clock=lambda: pool.now)
        sys.setprofile(count)
        try:
            driver.run()
        finally:
            sys.setprofile(None)
        shown.close()
    return calls / stages


def test_a_stage_of_a_long_run_costs_what_one_of_a_short_run_does(tmp_path):
    assert calls_a_stage(1000, tmp_path) < 1.5 * calls_a_stage(100, tmp_path)
