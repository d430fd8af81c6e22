"""A driver and workers that only count seconds, or die, or never come."""

import random

import pytest

from accord.cluster.driver import Driver
from accord.cluster.pool import Failed, Help, Helped, Joined, Lost, Made, Make, Moved
from accord.cluster.schedule import Job, StageSchedule
from accord.cluster.simulated import SimulatedPool
from accord.errors import AccordError


class Notes:
    """Who is told: keeps it."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *about: self.told.append((name, *about))


class Scripted:
    """Workers that do what a function says: an order -> events; each call of `wait` is a second."""

    def __init__(self, workers, does):
        self.events = [Joined(worker, "here") for worker in workers]
        self.does, self.now = does, 0.0
        self.started, self.replaced = [], []
        self.workers = len(workers)

    def start(self, order):
        self.started.append(order)
        self.events += self.does(order)

    def wait(self, timeout):
        self.now += timeout
        events, self.events = self.events, []
        return events

    def replace(self, worker):
        self.replaced.append(worker)
        self.events.append(Joined(worker, "there"))


def run(jobs, pool, ranks=1):
    schedule, notes = StageSchedule(jobs, ranks=ranks), Notes()
    Driver(schedule, pool, notes, clock=lambda: pool.now).run()
    return schedule, notes.told


def sixty_stages():
    draw = random.Random(1)
    jobs = [Job(f"first{i}", (), draw.uniform(1, 5), "A") for i in range(10)]
    for i in range(50):
        inputs = tuple({draw.choice(jobs).name for _ in range(2)})
        jobs.append(Job(f"s{i}", inputs, draw.uniform(1, 5), draw.choice("AB"), spreads=True))
    return jobs


def test_sixty_stages_take_little_longer_than_their_longest_path():
    jobs = sixty_stages()
    pool = SimulatedPool({job.name: job.seconds for job in jobs}, workers=16)
    schedule, _ = run(jobs, pool)
    longest = max(schedule.path_seconds.values())
    assert longest - 1e-6 < pool.now < 1.3 * longest
    begun = {stage: begin for _, stage, begin, _ in pool.timeline}
    ended = {stage: end for _, stage, _, end in pool.timeline}
    assert len(begun) == 60
    assert all(begun[job.name] >= ended[name] for job in jobs for name in job.inputs)


def test_one_worker_takes_as_long_as_all_stages_together():
    jobs = sixty_stages()
    pool = SimulatedPool({job.name: job.seconds for job in jobs}, workers=1)
    run(jobs, pool)
    assert pool.now == pytest.approx(sum(job.seconds for job in jobs)) == pytest.approx(pool.busy)


def test_what_happens_is_told():
    def does(order):
        if order.stage == "bad":
            return [Moved(order.worker, "bad", 1, 2, "loading m", "loss 1"), Failed(order.worker, "bad", "why")]
        return [Made(order.worker, order.stage, 1.5, "found", "")]

    schedule, told = run([Job("bad", seconds=9), Job("good"), Job("lost", ("bad",))], Scripted(["w1"], does))
    assert told == [
        ("joined", "w1", "here"),
        ("begun", "bad", "w1"),
        ("moved", "bad", 1, 2, "loading m", "loss 1"),
        ("failed", "bad", "why"),
        ("begun", "good", "w1"),
        ("made", "good", 1.5, "found", ""),
    ]
    assert schedule.failed == {"bad": "why"} and [*schedule.waiting] == ["lost"]


def test_a_worker_that_dies_again_and_again_takes_its_stage_with_it():
    def does(order):
        return [Lost(order.worker, "killed"), Joined(order.worker, "here")]

    schedule, told = run([Job("a")], Scripted(["w1"], does))
    assert [one[0] for one in told].count("begun") == 3
    assert told[-2:] == [("failed", "a", "killed, 3 times"), ("joined", "w1", "here")]
    assert schedule.failed == {"a": "killed, 3 times"}


def test_those_who_trained_with_one_that_died_are_replaced_and_what_they_still_say_counts_for_nothing():
    def does(order):
        if isinstance(order, Help):
            return [Helped(order.worker, order.stage)]
        if len(pool.started) == 1:
            other = order.with_[0]
            return [Lost(order.worker, "killed"), Made(other, order.stage), Joined(order.worker, "here")]
        return [Made(order.worker, order.stage)]

    pool = Scripted(["w1", "w2"], does)
    schedule, told = run([Job("t", (), 1, "A", trains=True)], pool, ranks=2)
    assert pool.replaced == ["w2"]
    assert [(order.worker, order.with_) for order in pool.started] == [("w1", ("w2",)), ("w1", ("w2",))]
    assert not schedule.failed and [one for one in told if one[0] == "made"] == [("made", "t", 0.0, "", "")]


def test_what_one_said_before_it_was_replaced_counts_for_nothing():
    def does(order):
        if len(pool.started) == 1:
            both = [Lost(worker, "apart") for worker in (order.worker, *order.with_)]
            return [*both, Joined(order.worker, "here")]
        return [Made(order.worker, order.stage)]

    pool = Scripted(["w1", "w2"], does)
    _, told = run([Job("t", (), 1, "A", trains=True)], pool, ranks=2)
    assert [one for one in told if one[0] == "lost"] == [("lost", "w1", "apart", "t")]
    assert told[-1] == ("made", "t", 0.0, "", "")


def test_without_any_worker_it_ends_with_an_error():
    with pytest.raises(AccordError, match="no worker left"):
        run([Job("a")], Scripted([], lambda order: []))


def test_an_order_is_given_to_one_that_is_idle():
    def does(order):
        assert isinstance(order, Make)
        return [Made(order.worker, order.stage)]

    schedule, _ = run([Job(f"s{i}", tuple({f"s{i // 2}"} if i else ())) for i in range(30)], Scripted(["a", "b"], does))
    assert schedule.over and not schedule.failed
