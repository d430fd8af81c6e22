"""The thread of the models: the latest question of each asker counts, and what is outdated ends where it can."""

import asyncio
import threading
import time

import pytest

from accord.explore.worker import ModelThread, Outdated
from accord.lm import Backbone, generate
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def thread():
    thread = ModelThread()
    yield thread
    thread.close()


def asked(*questions):
    """What each of the questions, (when, asker, work), came to: its answer, or the kind of error."""

    async def one(thread, when, who, work):
        await asyncio.sleep(when)
        try:
            return await thread.ask(who, work)
        except Exception as error:
            return type(error)

    async def all_(thread):
        return await asyncio.gather(*(one(thread, *question) for question in questions))

    return lambda thread: asyncio.run(all_(thread))


def test_of_one_asker_the_latest_counts_and_others_get_their_own(thread):
    begun = []

    def work(name):
        def run():
            begun.append(name)
            time.sleep(0.05)
            return name

        return run

    told = asked((0, "a", work("a0")), (0.01, "b", work("b0")), *((0.02, "a", work(f"a{i}")) for i in range(1, 6)))(
        thread
    )
    assert told == [Outdated, "b0", Outdated, Outdated, Outdated, Outdated, "a5"]
    assert begun == ["a0", "b0", "a5"]  # what is outdated is not begun


def test_an_error_is_the_askers_alone_and_the_thread_lives_on(thread):
    def fails():
        raise SystemError("gone")

    names = []
    told = asked((0, "a", fails), (0, "b", lambda: names.append(threading.current_thread().name) or 1))(thread)
    assert told == [SystemError, 1] and names[0].startswith("model")


def test_what_is_outdated_ends_at_the_next_forward_pass(thread):
    lm = Backbone(tiny_model(), tiny_tokenizer(), name="tiny")
    thread.watch(lm)
    passes = []

    def look(*_):
        passes.append(1)
        time.sleep(0.02)

    lm.blocks[-1].register_forward_hook(look)
    long = lambda: generate(lm, prompts=["a"], max_new_tokens=150)  # noqa: E731
    told = asked((0, "a", long), (0.1, "a", lambda: "new"), (0.12, "b", lambda: "other"))(thread)
    assert told == [Outdated, "new", "other"] and len(passes) < 40
    assert len(generate(lm, prompts=["a"], max_new_tokens=3)[0].ids) <= 3  # outside of the thread nothing is watched


def test_who_is_gone_gets_no_answer(thread):
    async def leave():
        waiting = asyncio.ensure_future(thread.ask(("a", "room"), lambda: time.sleep(0.1)))
        await asyncio.sleep(0.02)
        thread.forget(lambda who: who[0] == "a")
        with pytest.raises(Outdated):
            await waiting

    asyncio.run(leave())
