"""The annotator behind a server, against a real one on this machine that fails in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from accord.errors import AccordError
from accord.naming.answers import ANSWERS, FAILURES, Answer, Request, ask, read_answers
from accord.naming.config import OpenAIAnnotator
from accord.naming.server import ServerAnnotator
from tests.naming.server import FAULTS, ChatServer


def requests(count):
    return [Request(f"name:{i}", f"Name concept number {i}.") for i in range(count)]


def annotator(server, **over):
    quick = {"concurrency": 8, "timeout": 0.4, "first_wait": 0.02, "longest_wait": 0.2, "attempts": 6}
    return ServerAnnotator(OpenAIAnnotator(model="local", base_url=server.url, **{**quick, **over}))


def failures(folder):
    return [json.loads(line) for line in (folder / FAILURES).read_text().splitlines()]


def test_two_hundred_requests_under_mixed_faults(tmp_path):
    with ChatServer(faulty=0.3, hang=0.8) as server:
        answered, failed = ask(annotator(server, attempts=4), requests(200), tmp_path)
    assert set(server.failed) == set(FAULTS)
    assert 0.2 < server.failed.total() / server.asked.total() < 0.4
    keys = {f"name:{i}" for i in range(200)}
    assert answered.keys() | failed.keys() == keys and not answered.keys() & failed.keys()
    assert all(failed.values()) and len(failed) < 10
    assert {one["key"] for one in failures(tmp_path)} == failed.keys()
    assert read_answers(tmp_path).keys() == answered.keys()
    assert max(server.answered.values()) == 1  # nothing asked again once it was answered
    assert server.most_open > 1

    before = server.asked.copy()
    with ChatServer() as calm:  # what failed is asked again, and only that
        again, still = ask(annotator(calm), requests(200), tmp_path)
    assert still == {} and again.keys() == keys
    assert set(calm.asked) == {key.partition(":")[2] for key in failed}
    assert server.asked == before and failures(tmp_path) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_ends_with_its_reason(tmp_path, fault):
    words = {
        "busy": "slow down", "error": "it broke", "hang": "timed out", "truncated": "broken JSON", "broken": "Error",
        "schema": "JSON of another form: concept", "empty": "no message", "disconnect": "Connection error",
    }  # fmt: skip
    with ChatServer(faulty=1.0, faults=(fault,), hang=0.3) as server:
        asking = annotator(server, attempts=2, timeout=0.15)
        replies = list(asking.replies(requests(2)))
        assert server.asked == {"0": 2, "1": 2}
    assert all(one.answer is None and one.attempts == 2 and words[fault] in one.reason for one in replies), replies
    gone = fault in ("busy", "error", "hang", "disconnect")
    assert [one.unreachable for one in replies] == [gone, gone]


def test_the_wait_that_a_server_asks_for_is_kept():
    with ChatServer(faulty=1.0, faults=("busy",)) as server:  # Retry-After: 0.05
        list(annotator(server, attempts=4, first_wait=0.0).replies(requests(1)))
        gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
        assert len(gaps) == 3 and min(gaps) >= 0.05
        [reply] = annotator(server, attempts=4, longest_wait=0.01).replies(requests(1))
        assert reply.attempts == 1 and "slow down" in reply.reason


def test_no_more_than_allowed_in_a_minute():
    with ChatServer() as server:
        list(annotator(server, per_minute=1200).replies(requests(6)))
    assert server.times[-1] - server.times[0] >= 5 * 0.05 - 0.02


def test_concurrency_is_the_limit():
    with ChatServer(faulty=1.0, faults=("hang",), hang=0.1) as server:
        list(annotator(server, concurrency=3, attempts=1, timeout=1.0).replies(requests(9)))
    assert server.most_open == 3


def test_a_server_that_is_gone_stops_the_asking(tmp_path):
    with ChatServer() as server:
        ask(annotator(server), requests(3), tmp_path)
    with pytest.raises(AccordError, match="cannot be reached") as caught:
        ask(annotator(server, attempts=1), requests(200), tmp_path)
    assert "20 failures in a row" in str(caught.value) and "goes on" in str(caught.value)
    assert len(read_answers(tmp_path)) == 3 and len(failures(tmp_path)) == 20


def test_the_key_is_sent_and_never_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-17")
    with ChatServer(key="sk-secret-17") as server:
        ask(annotator(server, key_variable="MY_KEY"), requests(2), tmp_path)
        assert server.answered == {"0": 1, "1": 1}
        monkeypatch.setenv("MY_KEY", "sk-wrong-18")
        with pytest.raises(AccordError, match="refuses") as caught:
            ask(annotator(server, key_variable="MY_KEY"), requests(4), tmp_path)
    assert "[key]" in str(caught.value)
    written = "".join(path.read_text() for path in tmp_path.iterdir()) + str(caught.value)
    assert "sk-" not in written
    assert server.asked == {"0": 1, "1": 1}  # a refusal is not tried again
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(AccordError, match="MY_KEY is not set"):
        ServerAnnotator(OpenAIAnnotator(model="m", base_url="https://example.org/v1", key_variable="MY_KEY"))


@pytest.mark.parametrize("url", ["ftp://x/v1", "localhost:8080", "http://me:pass@host/v1"])
def test_addresses_that_will_not_do(url):
    with pytest.raises(ValueError, match="address"):
        OpenAIAnnotator(model="m", base_url=url)


CHILD = """
import sys
from pathlib import Path
from tests.naming.test_server import annotator, requests
from accord.naming.answers import ask
class At: url = sys.argv[1]
ask(annotator(At, concurrency=4), requests(120), Path(sys.argv[2]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_a_killed_run_goes_on_with_what_is_missing(tmp_path):
    slow = lambda prompt: time.sleep(0.02) or {"concept": prompt}  # noqa: E731
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "src")])
    command = [sys.executable, "-c", CHILD]
    with ChatServer(faulty=0.3, faults=("busy", "error", "truncated"), answer=slow) as server:
        child = subprocess.Popen([*command, server.url, str(tmp_path)], env={**os.environ, "PYTHONPATH": paths})
        waited = time.monotonic() + 60
        while len(read_answers(tmp_path)) < 30 and time.monotonic() < waited:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        time.sleep(0.1)  # what was being answered
        first, kept = server.answered.copy(), read_answers(tmp_path)
        assert 30 <= len(kept) < 120
        with (tmp_path / ANSWERS).open("a") as file:
            file.write('{"key": "name:119", "answer": {"conc')  # as a power cut leaves it
        answered, failed = ask(annotator(server), requests(120), tmp_path)
    assert len(answered) + len(failed) == 120 and len(failed) < 5
    for key, record in kept.items():
        assert answered[key] == Answer.model_validate(record["answer"])
    second = Counter(server.answered)
    second.subtract(first)
    asked_again = {f"name:{who}" for who, times in second.items() if times}
    assert not asked_again & kept.keys()
    lost = {f"name:{who}" for who in first} - kept.keys()
    assert len(lost) <= 4  # at most what was under way
    assert [json.loads(line) for line in (tmp_path / ANSWERS).read_text().splitlines()]
