"""The pool of workers on a Ray that is played: machines leave, are unfit, or do not see the folder."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from accord import disk
from accord.cluster import ray_pool
from accord.cluster.config import MachinesSection
from accord.cluster.driver import Driver
from accord.cluster.pool import Make
from accord.cluster.ray_pool import RayPool
from accord.cluster.ray_worker import RayWorker
from accord.cluster.schedule import Job, StageSchedule
from accord.cluster.worker import Briefing, Done, Hello
from accord.errors import AccordError
from tests.cluster.fake_ray import FakeRay, RayActorError
from tests.cluster.test_driver import Notes

TOLD = Briefing("", "s.toml", "/tmp", "/tmp/run", "cpu", "mark", 1, ())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in {"_LOOK": 0.01, "_SAME": 0.02, "_REST": 0.02, "_GROW": 0.05, "_OTHERS": 0.3}.items():
        monkeypatch.setattr(ray_pool, name, seconds)


def made_by(ray, jobs, ranks=1, said=None):
    """The stages that failed, and what was told of a run of them."""
    machines = MachinesSection(engine="ray", ranks=ranks)
    say = (said if said is not None else []).append
    pool = RayPool(ray, machines, TOLD, {job.name: f"print of {job.name}" for job in jobs}, say=say)
    pool.open()
    schedule, notes = StageSchedule(jobs, ranks=ranks), Notes()
    Driver(schedule, pool, notes).run()
    pool.close()
    return schedule.failed, [about for about in notes.told if about[0] not in ("joined", "moved")], pool


def jobs(number):
    return [Job(f"s{i}", model="A") for i in range(number)]


def test_a_machine_that_would_make_something_else_fails_no_stage_and_keeps_its_place():
    def answers(actor, method, about):
        if method == "make":
            return Done("unfit", reason="another version") if actor.number == 0 else (0.01, Done("made"))

    ray = FakeRay([4], answers)
    failed, told, _ = made_by(ray, jobs(20))
    assert not failed and len([one for one in told if one[0] == "made"]) == 20
    assert [one for one in told if one[0] == "lost"] == [
        ("lost", "worker 1", "it is given nothing more: another version", "s0")
    ]
    assert len(ray.actors) == 4


def test_where_no_machine_is_fit_the_run_ends_with_the_reason():
    ray = FakeRay([2], lambda actor, method, about: Done("unfit", reason="no key") if method == "make" else None)
    with pytest.raises(AccordError, match="No worker is left that can work") as raised:
        made_by(ray, jobs(5))
    assert raised.value.got == "no key"


def test_a_worker_that_fails_what_others_make_is_dropped():
    def answers(actor, method, about):
        if method == "make":
            return (0.01, Done("failed", reason="CUDA error")) if actor.number == 0 else (0.03, Done("made"))

    ray = FakeRay([4], answers)
    failed, told, _ = made_by(ray, jobs(20))
    assert not failed and len([one for one in told if one[0] == "made"]) == 20
    assert 2 <= len([one for one in told if one[0] == "again"]) <= 3
    assert [one for one in told if one[0] == "lost"] == [("lost", "worker 1", "it failed what others then made", "")]
    assert len(ray.actors) == 4


def test_a_stage_that_fails_everywhere_is_tried_twice_and_nobody_is_dropped():
    ray = FakeRay([3], lambda actor, method, about: Done("failed", reason="no luck") if method == "make" else None)
    failed, told, _ = made_by(ray, jobs(6))
    assert failed == {f"s{i}": "no luck" for i in range(6)}
    makers = [(about[0], name) for name, method, about in ray.calls if method == "make"]
    assert len(makers) == len(set(makers)) == 12
    assert not [one for one in told if one[0] == "lost"]


def test_idle_workers_that_died_are_noticed_and_replaced():
    def answers(actor, method, about):
        if method == "make" and about[0] == "long":
            for other in ray.actors[1:]:
                other.dead = True
            return 0.4, Done("made")

    ray = FakeRay([4], answers)
    failed, told, _ = made_by(ray, [Job("long", model="A")])
    assert {one[1] for one in told if one[0] == "lost"} == {"worker 2", "worker 3", "worker 4"} and not failed
    assert len(ray.actors) == 7


def test_a_worker_that_died_before_it_began_costs_no_try(monkeypatch):
    monkeypatch.setattr(ray_pool, "_REST", 60.0)  # nobody notices

    def answers(actor, method, about):
        if method == "make" and about[0] == "first":
            for other in ray.actors[:5]:
                other.dead = True

    ray = FakeRay([5], answers)
    failed, told, _ = made_by(ray, [Job("first", model="A"), Job("next", ("first",), model="A")])
    assert not failed
    assert len([one for one in told if one[0] == "lost" and one[3] == "next"]) >= 3


def test_what_kills_its_worker_is_tried_three_times():
    ray = FakeRay([5], lambda actor, method, about: RayActorError("killed") if method == "make" else None)
    failed, _, _ = made_by(ray, jobs(1))
    assert failed == {"s0": "its process was killed, or memory ran out, 3 times"}


@pytest.mark.parametrize("method", ["free_address", "make"])
def test_ranks_that_cannot_meet_are_replaced_and_do_not_end_the_run(method):
    def answers(actor, asked, about):
        if asked == method and actor.number < 2:
            return RayActorError("died") if method == "free_address" else Done("left", reason="Rank 1 is gone.")
        return "here:1" if asked == "free_address" else None

    failed, told, _ = made_by(FakeRay([2], answers), [Job("t", model="A", trains=True)], ranks=2)
    assert not failed and ("made", "t", 0.0, "", "") in told
    why = "its process was killed, or memory ran out" if method == "free_address" else "Rank 1 is gone."
    assert [one[2] for one in told if one[0] == "lost"] == [why]


def test_ranks_are_told_where_the_first_listens():
    ray = FakeRay([2], lambda actor, method, about: "here:1" if method == "free_address" else None)
    made_by(ray, [Job("t", model="A", trains=True)], ranks=2)
    made = [about for _, method, about in ray.calls if method == "make"]
    assert made == [("t", "print of t", 0, 2, "here:1"), ("t", "print of t", 1, 2, "here:1")]


def slow(actor, method, about):
    """Makes for a while, so that there is time for others to come."""
    return (0.3, Done("made")) if method == "make" else None


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("CUDA error: unknown"), RayActorError("killed")])
def test_a_machine_on_which_no_worker_starts_is_told_and_does_not_end_the_run(late, error):
    def answers(actor, method, about):
        if method == "hello" and actor.number:
            return (0.5 if late and actor.number == 1 else 0.01), error
        return slow(actor, method, about)

    said = []
    ray = FakeRay([1, 1], answers)
    failed, _, _ = made_by(ray, [*jobs(1), Job("after", ("s0",), model="A")], said=said)
    assert not failed and len(said) == 1 and str(error) in said[0]
    assert len(ray.actors) == (2 if isinstance(error, RuntimeError) else 4)


def test_where_no_worker_starts_anywhere_the_run_ends():
    ray = FakeRay([2], lambda actor, method, about: RuntimeError("CUDA error") if method == "hello" else None)
    with pytest.raises(AccordError, match="CUDA error"):
        made_by(ray, jobs(1))


def blind(seconds):
    def answers(actor, method, about):
        if method == "hello" and actor.number:
            return seconds, Hello("there", 1, "it does not see there what the driver has written")
        return slow(actor, method, about)

    return FakeRay([1, 1], answers)


def test_a_machine_that_does_not_see_the_folder_is_an_error_before_anything_is_made():
    ray = blind(0.1)
    with pytest.raises(AccordError, match="does not see there"):
        made_by(ray, jobs(1))
    assert not [one for one in ray.calls if one[1] == "make"]


def test_a_machine_that_joins_later_and_does_not_see_the_folder_is_told_once():
    said, ray = [], blind(0.4)
    failed, _, pool = made_by(ray, [*jobs(1), Job("after", ("s0",), model="A")], said=said)
    assert not failed and len(said) == 1 and "Workers on there cannot work in the run folder" in said[0]
    assert len(ray.actors) == 2 and pool.workers == 0


def test_a_worker_has_one_turn_however_much_it_makes():
    ray = FakeRay([2])
    made_by(ray, jobs(300))
    pool = RayPool(ray, MachinesSection(engine="ray"), TOLD, dict.fromkeys("ab", ""))
    pool.open()
    for name in "abab":
        pool.start(Make("worker 1", name))
        while not any(getattr(event, "stage", "") == name for event in pool.wait(1.0)):
            pass
    assert len(pool._turns) == 2


def test_a_worker_that_loses_a_lock_ends_its_process(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(disk, "stop", None)
    ended = []
    monkeypatch.setattr("os._exit", ended.append)
    RayWorker("worker 1", replace(TOLD, cwd=str(tmp_path)))
    disk._lost(SimpleNamespace(lock_file="a.lock"))
    assert ended == [1]


def test_workers_look_for_models_where_the_command_has_them(monkeypatch):
    monkeypatch.setenv("ACCORD_HOME", "/shared/accord")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HF_HOME", raising=False)
    ray = FakeRay([1])
    made_by(ray, jobs(1))
    (variables,) = ray.variables
    assert variables["ACCORD_HOME"] == "/shared/accord" and not {"HF_HOME", "HF_TOKEN"} & set(variables)
