"""Which worker makes which stage next."""

import random

import pytest

from accord.cluster.pool import Help, Make, Recall
from accord.cluster.schedule import LOADING, TRIES, WAIT, Job, StageSchedule, longest_paths


def given(schedule, now=0.0):
    """The orders that follow now: worker -> stage, those to help in brackets."""
    orders = list(schedule.orders(now))
    return {one.worker: f"({one.stage})" if isinstance(one, Help) else one.stage for one in orders}


def test_what_is_on_the_longest_path_comes_first():
    jobs = [Job("short", seconds=9), Job("first", seconds=1), Job("then", ("first",), seconds=10)]
    schedule = StageSchedule(jobs)
    schedule.join("w1")
    assert given(schedule) == {"w1": "first"}
    assert given(schedule) == {}
    schedule.made("first")
    assert given(schedule) == {"w1": "then"}
    schedule.made("then")
    assert given(schedule) == {"w1": "short"}
    assert not schedule.over
    schedule.made("short")
    assert schedule.over
    schedule.made("short")  # told twice
    assert schedule.over and not schedule.failed


def test_paths_are_those_of_a_plain_search():
    random.seed(0)
    jobs = []
    for i in range(60):
        inputs = tuple({f"{random.randrange(i)}" for _ in range(random.randrange(3))}) if i else ()
        jobs.append(Job(str(i), inputs, random.random()))

    def path(job):
        return job.seconds + max((path(other) for other in jobs if job.name in other.inputs), default=0)

    assert longest_paths(jobs) == pytest.approx({job.name: path(job) for job in jobs})


@pytest.mark.parametrize(("longer", "wanted"), [(LOADING - 1, "a2"), (LOADING + 1, "b")])
def test_a_worker_keeps_to_the_model_that_it_has_unless_another_path_is_much_longer(longer, wanted):
    schedule = StageSchedule([Job("a1", (), 200, "A"), Job("a2", (), 50, "A"), Job("b", (), 50 + longer, "B")])
    schedule.join("w1")
    assert given(schedule) == {"w1": "a1"}
    schedule.made("a1")
    assert given(schedule) == {"w1": wanted}


def test_of_idle_workers_one_that_has_the_model_is_taken():
    jobs = [Job("a", (), 9, "A"), Job("b", (), 8, "B"), Job("b2", ("a", "b"), 1, "B"), Job("a2", ("a", "b"), 2, "A")]
    schedule = StageSchedule(jobs)
    schedule.join("w1")
    schedule.join("w2")
    assert given(schedule) == {"w1": "a", "w2": "b"}
    schedule.made("b")
    schedule.made("a")
    assert given(schedule) == {"w1": "a2", "w2": "b2"}


def test_a_worker_has_only_the_models_that_it_still_keeps():
    jobs = [Job(f"{model}1", (), 100 - i, model) for i, model in enumerate("ABC")]
    schedule = StageSchedule([*jobs, Job("A2", (), 50, "A"), Job("B2", (), 49, "B")])
    schedule.join("w1")
    for stage in ("A1", "B1", "C1"):
        assert given(schedule) == {"w1": stage}
        schedule.made(stage)
    assert given(schedule) == {"w1": "B2"}  # B and C are loaded, and A no longer is


def test_what_loads_a_model_of_its_own_is_put_off_by_no_other():
    schedule = StageSchedule([Job("a1", (), 90, "A"), Job("own", (), 50, ""), Job("a2", (), 49, "A")])
    schedule.join("w1")
    for stage in ("a1", "own", "a2"):
        assert given(schedule) == {"w1": stage}
        schedule.made(stage)


def test_what_fails_takes_with_it_what_is_made_from_it_and_nothing_else():
    jobs = [Job("bad"), Job("good"), Job("x", ("bad",)), Job("y", ("x", "good")), Job("z", ("good",))]
    schedule = StageSchedule(jobs)
    schedule.join("w1")
    done = []
    while not schedule.over:
        for stage in given(schedule).values():
            if stage == "bad":
                assert schedule.fail(stage, "why", "w1") == []
            else:
                schedule.made(stage)
                done.append(stage)
    assert sorted(done) == ["good", "z"]
    assert schedule.failed == {"bad": "why"}
    assert [*schedule.waiting] == ["x", "y"]


def test_the_stage_of_a_worker_that_dies_is_begun_again_a_few_times():
    schedule = StageSchedule([Job("a"), Job("b", ("a",))])
    for number in range(TRIES):
        assert not schedule.over
        schedule.join(f"w{number}")
        assert given(schedule) == {f"w{number}": "a"}
        assert schedule.leave(f"w{number}", "killed") == ("a", [])
    assert schedule.over
    assert schedule.failed == {"a": f"killed, {TRIES} times"}
    assert [*schedule.waiting] == ["b"]
    assert schedule.leave("w0") == ("", ())


def test_idle_workers_help_with_what_can_be_shared_and_come_back_for_what_is_ready():
    jobs = [Job("shared", (), 20, "A", spreads=True), Job("alone", (), 8, "A"), Job("next", ("alone",), 1, "A")]
    schedule = StageSchedule(jobs)
    for name in ("w1", "w2", "w3", "w4"):
        schedule.join(name)
    assert given(schedule) == {"w1": "shared", "w2": "alone", "w3": "(shared)", "w4": "(shared)"}
    schedule.helped("w4", now=1.0)  # there was nothing to do
    assert given(schedule, 2.0) == {}
    assert given(schedule, 60.0) == {"w4": "(shared)"}
    schedule.made("alone")
    assert given(schedule, 60.0) == {"w2": "next"}
    schedule.made("next")
    assert given(schedule, 61.0) == {"w2": "(shared)"}
    schedule.made("shared")
    assert schedule.over


def test_of_shared_stages_the_one_with_fewest_helpers_gets_the_next():
    jobs = [Job(name, (), seconds, "A", spreads=True) for name, seconds in (("a", 9), ("b", 8))]
    schedule = StageSchedule(jobs)
    for name in ("w1", "w2", "w3", "w4"):
        schedule.join(name)
    assert given(schedule) == {"w1": "a", "w2": "b", "w3": "(a)", "w4": "(b)"}
    schedule.leave("w3")
    schedule.join("w5")
    assert given(schedule) == {"w5": "(a)"}


def test_helpers_are_called_back_only_as_many_as_are_needed_and_once():
    jobs = [Job("a", (), 9, "A", spreads=True), Job("b", (), 8, "A"), *(Job(f"n{i}", ("b",), 1, "A") for i in range(2))]
    schedule = StageSchedule(jobs)
    for name in ("w1", "w2", "w3", "w4", "w5"):
        schedule.join(name)
    given(schedule)
    schedule.made("b")
    orders = list(schedule.orders())
    assert [one for one in orders if isinstance(one, Make)] == [Make("w2", "n0")]
    assert [one for one in orders if isinstance(one, Recall)] == [Recall("w3")]
    assert list(schedule.orders()) == []
    schedule.helped("w3")
    assert list(schedule.orders()) == [Make("w3", "n1")]


def test_ranks_are_gathered_before_a_stage_is_trained():
    jobs = [Job("t", (), 9, "A", trains=True), Job("a", (), 8, "A"), Job("b", (), 7, "A")]
    schedule = StageSchedule(jobs, ranks=2)
    schedule.join("w1")
    assert given(schedule) == {}  # another is to come
    schedule.able = 1
    assert given(schedule) == {"w1": "t"}
    schedule = StageSchedule([Job("a0", (), 10, "A"), *jobs], ranks=2)
    schedule.join("w1")
    schedule.join("w2")
    assert given(schedule) == {"w1": "a0"}  # w2 waits for another
    schedule.made("a0")
    assert list(schedule.orders()) == [Make("w2", "t", ("w1",))]
    assert schedule.leave("w1", "gone") == ("t", ["w2"])  # which waits for w1 in vain
    schedule.join("w3")
    schedule.join("w4")
    assert list(schedule.orders()) == [Make("w3", "t", ("w4",))]
    assert schedule.fail("t", "why", "w4") == ["w3"]
    schedule.join("w5")
    assert list(schedule.orders()) == [Make("w4", "t", ("w5",))]  # once more, with another
    assert schedule.fail("t", "why", "w4") == ["w5"]
    assert given(schedule) == {"w4": "a"}


def test_a_rank_that_leaves_while_others_are_gathered_is_waited_for_no_longer():
    schedule = StageSchedule([Job("a", (), 9, "A"), Job("t", (), 8, "A", trains=True)], ranks=2)
    schedule.join("w1")
    schedule.join("w2")
    assert given(schedule) == {"w1": "a"}
    schedule.leave("w2")
    schedule.able = 1
    schedule.made("a")
    assert list(schedule.orders()) == [Make("w1", "t")]


@pytest.mark.parametrize("model", ["A", ""])
def test_ranks_that_do_not_come_are_waited_for_no_longer_than_they_would_save(model):
    """Of 4 ranks 2 are there; a stage of 1,000 seconds takes 500 by these, and 250 by all."""
    schedule = StageSchedule([Job("t", (), 1000, model, trains=True), Job("a", (), 1, "A")], ranks=4)
    schedule.able = 9  # some of which never come, or make something that takes hours
    schedule.join("w1")
    assert given(schedule, 1000.0) == {}
    schedule.join("w2")
    assert given(schedule, 1249.0) == {}
    assert list(schedule.orders(1251.0)) == [Make("w1", "t", ("w2",))]
    schedule.join("w3")
    assert given(schedule, 1252.0) == {"w3": "a"}


def test_ranks_of_a_short_stage_are_waited_for_a_minute():
    schedule = StageSchedule([Job("t", (), 1, "A", trains=True)], ranks=2)
    schedule.join("w1")
    assert given(schedule, 0.0) == given(schedule, WAIT - 1) == {}
    assert given(schedule, WAIT + 1) == {"w1": "t"}


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_every_stage_ends_in_one_way(seed):
    """Workers die, come back, fail and help at random; nothing is made before what it is made from, or twice."""
    draw = random.Random(seed)
    jobs = []
    for i in range(40):
        inputs = tuple({f"s{draw.randrange(i)}" for _ in range(draw.randrange(3))}) if i else ()
        model = draw.choice(["", "A", "B"])
        trains = draw.random() < 0.2
        jobs.append(Job(f"s{i}", inputs, draw.random() * 90, model, not trains and draw.random() < 0.5, trains))
    schedule, born, now = StageSchedule(jobs, ranks=2), 0, 0.0
    made, under_way, helping = set(), {}, {}

    def forget(workers):
        for worker in workers:
            for there in (under_way, helping):
                there.pop(worker, None)

    for _ in range(4000):
        if schedule.over:
            break
        now += 1
        schedule.able = draw.choice([1, 2])
        if schedule.workers < 4 or not (under_way or helping):
            born += 1
            schedule.join(f"w{born}")
        for order in schedule.orders(now):
            if isinstance(order, Make):
                job = next(job for job in jobs if job.name == order.stage)
                assert set(job.inputs) <= made and order.stage not in made
                assert order.worker not in under_way and order.worker not in helping
                under_way[order.worker] = order.stage
                assert not {*order.with_} & {*under_way, *helping}
                under_way |= dict.fromkeys(order.with_, order.stage)
            elif isinstance(order, Help):
                assert order.stage in under_way.values() and order.worker not in {**under_way, **helping}
                helping[order.worker] = order.stage
        if under_way and draw.random() < 0.8:
            worker, stage = draw.choice(sorted(under_way.items()))
            how = draw.random()
            if how < 0.75:
                forget(schedule.at(stage))
                schedule.made(stage)
                made.add(stage)
            elif how < 0.8:
                forget([worker, *schedule.fail(stage, "bad", worker)])
            else:
                gone, others = schedule.leave(worker)
                assert gone == stage
                forget([worker, *others])
        elif helping:
            worker = draw.choice(sorted(helping))
            del helping[worker]
            schedule.helped(worker, now) if draw.random() < 0.8 else schedule.leave(worker)
    assert schedule.over
    assert made.isdisjoint(schedule.failed) and made.isdisjoint(schedule.waiting)
    assert made | {*schedule.failed} | {*schedule.waiting} == {job.name for job in jobs}
    assert made


def test_what_failed_is_made_by_another_and_who_fails_what_others_make_is_unfit():
    schedule = StageSchedule([Job(name, model="A") for name in "abc"])
    schedule.join("w1")
    schedule.join("w2")
    assert given(schedule) == {"w1": "a", "w2": "b"}
    schedule.fail("a", "why", "w1")
    assert given(schedule) == {"w1": "c"}  # not again the same
    schedule.fail("c", "why", "w1")
    assert given(schedule) == {} and schedule.unfit == []
    schedule.made("b")
    assert given(schedule) == {"w2": "a"}  # and w1, in doubt, waits
    schedule.made("a")
    assert schedule.unfit == []
    assert given(schedule) == {"w2": "c"}
    schedule.made("c")
    assert schedule.unfit == ["w1"] and schedule.over and not schedule.failed


def test_whose_failures_another_shares_is_in_doubt_no_more():
    schedule = StageSchedule([Job(name, model="A") for name in "abcd"])
    schedule.join("w1")
    schedule.join("w2")
    assert given(schedule) == {"w1": "a", "w2": "b"}
    schedule.fail("a", "why", "w1")
    assert given(schedule) == {"w1": "c"}
    schedule.fail("c", "why", "w1")
    schedule.made("b")
    assert given(schedule) == {"w2": "a"}
    schedule.fail("a", "why too", "w2")
    assert schedule.failed == {"a": "why too"}
    assert given(schedule) == {"w2": "c", "w1": "d"}


def test_what_failed_waits_for_another_worker_that_is_to_come_and_not_for_longer():
    schedule = StageSchedule([Job("a", model="A")])
    schedule.join("w1")
    schedule.able = 2
    assert given(schedule) == {"w1": "a"}
    schedule.fail("a", "why", "w1")
    assert given(schedule) == {} and not schedule.over
    schedule.able = 1  # it did not come
    assert given(schedule) == {"w1": "a"}
    schedule.fail("a", "why", "w1")
    assert schedule.failed == {"a": "why"} and schedule.over


def test_what_had_not_begun_was_no_try():
    schedule = StageSchedule([Job("a", model="A")])
    for number in range(5):
        schedule.join(f"w{number}")
        assert given(schedule) == {f"w{number}": "a"}
        assert schedule.leave(f"w{number}", "gone", begun=False) == ("a", [])
    assert not schedule.failed
