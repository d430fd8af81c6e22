"""The annotator behind a server, against a real one on this machine that fails in every way."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import pytest

from accord.errors import AccordError
from accord.names.answers import ANSWERS, FAILURES, Answer, Request, ask, read_answers
from accord.names.config import OpenAIAnnotator
from accord.names.server import ServerAnnotator
from tests.names.server import FAULTS, ChatServer, completion


def requests(count):
    return [Request(f"name:{i}", f"Name concept number {i}.") for i in range(count)]


def annotator(server, **over):
    quick = {"concurrency": 8, "timeout": 0.8, "first_wait": 0.02, "longest_wait": 0.2, "attempts": 6}
    return ServerAnnotator(OpenAIAnnotator(model="local", base_url=server.url, **{**quick, **over}))


def failures(folder):
    return [json.loads(line) for line in (folder / FAILURES).read_text().splitlines()]


def test_two_hundred_requests_under_mixed_faults(tmp_path):
    with ChatServer(faulty=0.3, hang=2.0) as server:
        answered, failed = ask(annotator(server, attempts=4, timeout=1.5), requests(200), tmp_path)
    assert set(server.failed) == set(FAULTS)
    assert 0.2 < server.failed.total() / server.requests.total() < 0.4
    keys = {f"name:{i}" for i in range(200)}
    assert answered.keys() | failed.keys() == keys and not answered.keys() & failed.keys()
    assert all(failed.values()) and len(failed) < 10
    assert {failure["key"] for failure in failures(tmp_path)} == failed.keys()
    assert read_answers(tmp_path).keys() == answered.keys()
    assert max(server.answered.values()) == 1  # nothing asked again once it was answered
    assert server.most_open > 1

    before = server.requests.copy()
    asked_again = {failure["key"] for failure in failures(tmp_path) if not failure["for_good"]}
    with ChatServer() as calm:  # what the server may do better next time is asked again, and only that
        again, still = ask(annotator(calm), requests(200), tmp_path)
    assert still.keys() == failed.keys() - asked_again and again.keys() == keys - still.keys()
    assert set(calm.requests) == {key.partition(":")[2] for key in asked_again}
    assert server.requests == before and {failure["key"] for failure in failures(tmp_path)} == still.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_ends_with_its_reason(tmp_path, fault):
    words = {
        "busy": "slow down", "error": "it broke", "hang": "timed out", "truncated": "broken JSON", "broken": "Error",
        "schema": "JSON of another form: concept", "empty": "no message", "disconnect": "Connection error",
    }  # fmt: skip
    with ChatServer(faulty=1.0, faults=(fault,), hang=0.3) as server:
        asking = annotator(server, attempts=2, timeout=0.15)
        replies = list(asking.replies(requests(2)))
        assert server.requests == {"0": 2, "1": 2}
    assert all(reply.answer is None and reply.attempts == 2 for reply in replies), replies
    assert all(words[fault] in reply.reason for reply in replies), replies
    gone = fault in ("busy", "error", "hang", "disconnect")
    assert [reply.unreachable for reply in replies] == [gone, gone]


def test_the_wait_that_a_server_asks_for_is_kept():
    with ChatServer(faulty=1.0, faults=("busy",)) as server:  # Retry-After: 0.05
        list(annotator(server, attempts=4, first_wait=0.0).replies(requests(1)))
        gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
        assert len(gaps) == 3 and min(gaps) >= 0.05
        [reply] = annotator(server, attempts=4, longest_wait=0.01).replies(requests(1))
        assert reply.attempts == 1 and "slow down" in reply.reason


def test_no_more_than_allowed_in_a_minute():
    with ChatServer() as server:
        list(annotator(server, per_minute=600).replies(requests(6)))
    assert server.times[-1] - server.times[0] >= 5 * 0.1 - 0.2  # a first request may be late on a busy machine


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
    assert len(read_answers(tmp_path)) == 3 and 20 <= len(failures(tmp_path)) <= 20 + 7  # and what was under way


def test_the_key_is_sent_and_never_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-17")
    with ChatServer(key="sk-secret-17") as server:
        ask(annotator(server, key_variable="MY_KEY"), requests(2), tmp_path)
        assert server.answered == {"0": 1, "1": 1}
        monkeypatch.setenv("MY_KEY", "sk-wrong-18")
        (tmp_path / "other").mkdir()
        with pytest.raises(AccordError, match="refuses") as caught:
            ask(annotator(server, key_variable="MY_KEY"), requests(4), tmp_path / "other")
    assert "[key]" in str(caught.value)
    written = "".join(path.read_text() for path in tmp_path.rglob("*.jsonl")) + str(caught.value)
    assert "sk-" not in written
    assert server.requests == {"0": 1, "1": 1}  # a refusal is not tried again
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(AccordError, match="MY_KEY is not set"):
        ServerAnnotator(OpenAIAnnotator(model="m", base_url="https://example.org/v1", key_variable="MY_KEY"))


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "localhost:8080", "http://me:pass@host/v1", "http://host/v1?key=a", "http://host/v1#a"]
)
def test_addresses_that_will_not_do(url):
    with pytest.raises(ValueError, match="address"):
        OpenAIAnnotator(model="m", base_url=url)


def by_number(answers):
    """A server's `whole` that answers some numbers of `requests` in its own way."""
    good = (200, completion('{"concept": "x"}'))
    return lambda body: answers.get(int(body["messages"][0]["content"].split()[-1][:-1]), good)


def test_one_prompt_that_the_server_cannot_bear_stops_nothing(tmp_path):
    broken = (500, {"error": {"message": "it broke"}})
    with ChatServer(whole=by_number({2: broken})) as server:
        for run in range(1, 6):  # in three runs others are answered, and it is not; then it is asked no more
            answered, failed = ask(annotator(server, attempts=1), requests(5 + run), tmp_path)
            assert len(answered) == 4 + run and failed.keys() == {"name:2"}
            assert [record["for_good"] for record in failures(tmp_path)] == [run >= 3]
        assert server.requests == {"2": 3} | {str(i): 1 for i in range(10) if i != 2}


def test_nothing_is_for_good_before_anything_was_answered(tmp_path):
    with ChatServer(whole=lambda body: (400, {"error": {"message": "no such model"}})) as server:
        assert len(ask(annotator(server), requests(3), tmp_path)[1]) == 3
        server.whole = lambda body: None
        assert len(ask(annotator(server), requests(3), tmp_path)[0]) == 3


@pytest.mark.parametrize("content", [(400, {"error": {"message": "no"}}), (200, completion("no"))])
def test_what_failed_for_good_is_not_asked_again(tmp_path, content):
    with ChatServer(whole=by_number({1: content})) as server:
        for _ in range(3):
            answered, failed = ask(annotator(server, attempts=2), requests(3), tmp_path)
            assert len(answered) == 2 and failed.keys() == {"name:1"} and len(failures(tmp_path)) == 1
        once = 1 if content[0] == 400 else 2
        assert server.requests == {"0": 1, "1": once, "2": 1}
        other = [*requests(1), Request("name:1", "Name concept number 7."), *requests(3)[2:]]  # is another question
        assert ask(annotator(server), other, tmp_path)[1] == {} and failures(tmp_path) == []


def test_many_such_prompts_are_told_once_and_then_asked_last(tmp_path):
    broken = (500, {"error": {"message": "it broke"}})
    with ChatServer(whole=by_number(dict.fromkeys(range(1, 26), broken))) as server:
        asking = annotator(server, attempts=1, concurrency=1)
        with pytest.raises(AccordError, match="20 failures in a row"):
            ask(asking, requests(40), tmp_path)
        answered, failed = ask(asking, requests(40), tmp_path)
    assert len(answered) == 15 and len(failed) == 25 and len(failures(tmp_path)) == 25


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_prompt_costs_no_answer_and_refused_prompts_alone_stop_the_asking(tmp_path, status):
    def whole(body):
        if "number 2." in body["messages"][0]["content"]:
            return status, {"error": {"message": "flagged"}}
        return time.sleep(0.1) or (200, completion('{"concept": "x"}'))

    with ChatServer(whole=whole) as server:
        answered, failed = ask(annotator(server, timeout=5.0, concurrency=4), requests(9), tmp_path)
        assert len(answered) == 8 == len(read_answers(tmp_path)) and "flagged" in failed["name:2"]
        server.whole = lambda body: (status, {"error": {"message": "flagged"}})
        other = tmp_path / "other"
        other.mkdir()
        with pytest.raises(AccordError, match="refuses"):
            ask(annotator(server, concurrency=1), requests(50), other)
        assert len(failures(other)) == 20 and read_answers(other) == {}


def test_what_is_under_way_when_it_is_given_up_is_kept(tmp_path):
    """The last of those begun is answered, late, after twenty refusals."""

    def whole(body):
        if "number 0." in body["messages"][0]["content"]:
            return time.sleep(1.5) or (200, completion('{"concept": "late"}'))
        return 401, {"error": {"message": "no"}}

    with ChatServer(whole=whole) as server, pytest.raises(AccordError, match="refuses"):
        ask(annotator(server, concurrency=2, timeout=20.0), requests(300), tmp_path)
    assert read_answers(tmp_path).keys() == {"name:0"} and len(failures(tmp_path)) < 299


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (completion('{"concept":' + "[" * 200_000), "broken JSON"),
        (b"[" * 200_000, "RecursionError"),
        (completion('{"concept": "x", "alternatives": ["\\udfff"]}'), "surrogates not allowed"),
        (completion("\udfff"), "no JSON"),
        (completion('{"concept": "x", "alternatives": ["' + "A" * 5000 + '"]}'), "at most 120"),
        (b" " * 3_000_000, "more than 1,048,576 bytes"),
        (completion("{" * 1_000_000), "broken JSON"),
        (completion('{"' * 250_000), "broken JSON"),
        (completion('{"a":[' * 120_000), "broken JSON"),
        (b'{"choices": [' + b"{}," * 300_000 + b"{}]}", "no message"),
        (b'{"choices": [' + b"9" * 5000 + b"]}", "ValueError"),
    ],
    ids=["deep answer", "deep body", "half a letter", "half a letter alone", "long", "large", "braces", "keys",
         "lists", "choices", "digits"],
)  # fmt: skip
def test_bad_answers_are_failures_of_their_request_alone(tmp_path, content, reason):
    begun = time.monotonic()
    with ChatServer(whole=by_number({1: (200, content)})) as server:
        answered, failed = ask(annotator(server, attempts=2, timeout=20.0), requests(3), tmp_path)
    assert len(answered) == 2 and reason in failed["name:1"], failed
    assert server.requests == {"0": 1, "1": 2, "2": 1}
    assert failures(tmp_path)[0]["attempts"] == 2 and time.monotonic() - begun < 15


def bomb(layers):
    """An answer that is some kilobytes, and 100 MB unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b" " * 2**20) for _ in range(100)]
    data = b"".join([*parts, packer.compress(json.dumps(completion('{"concept": "x"}')).encode()), packer.flush()])
    for _ in range(layers - 1):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize(
    ("packing", "layers", "reason"),
    [
        ("gzip", 1, "more than 1,048,576 bytes"), ("gzip, gzip", 2, "packed as 'gzip, gzip'"),
        ("deflate", 1, "packed as 'deflate'"), ("gzip", 0, "cannot be unpacked"),
    ],
)  # fmt: skip
def test_an_answer_is_measured_unpacked(packing, layers, reason):
    data = bomb(layers) if layers else b"no gzip"
    with ChatServer(whole=lambda body: (200, data, {"Content-Encoding": packing})) as server:
        tracemalloc.start()
        [reply] = annotator(server, attempts=2, timeout=20.0).replies(requests(1))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert reason in reply.reason and reply.attempts == 2 and not reply.unreachable
    assert most < 30 * 2**20


def test_an_answer_may_be_packed():
    packed = gzip.compress(json.dumps(completion('{"concept": "x"}')).encode())
    with ChatServer(whole=lambda body: (200, packed, {"Content-Encoding": "gzip"})) as server:
        [reply] = annotator(server).replies(requests(1))
    assert reply.answer.concept == "x"


def drip(part, first=b"HTTP/1.1 200 OK\r\n"):
    """A response that shows signs of life for as long as somebody listens, and never ends."""

    def write(handler):
        handler.wfile.write(first)
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(part)
                time.sleep(0.05)

    return lambda body: write


@pytest.mark.parametrize(
    "whole",
    [
        drip(b"1\r\n \r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), drip(b"x: y\r\n"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n", b""), drip(b"x: ", b"HTTP/1.1 200 OK\r\n"),
    ],
    ids=["body", "headers", "continue", "header"],
)  # fmt: skip
def test_an_answer_has_a_deadline_as_a_whole(whole):
    with ChatServer(whole=whole) as server:
        begun = time.monotonic()
        [reply] = annotator(server, attempts=2, timeout=0.5).replies(requests(1))
    assert "timed out" in reply.reason and reply.attempts == 2 and time.monotonic() - begun < 5


def test_reaching_a_server_has_a_deadline_too(monkeypatch):
    monkeypatch.setattr("accord.names.server._REACHED", 0.5)
    monkeypatch.setattr("tests.names.server._Handler.do_GET", lambda self: drip(b"x: y\r\n")(None)(self))
    with ChatServer() as server, pytest.raises(AccordError, match=r"does not answer(.|\n)*timed out"):
        annotator(server).reach()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_prompt_goes_to_no_other_server(status, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-17")
    with ChatServer() as other:
        place = {"Location": f"{other.url}/chat/completions"}
        with ChatServer(whole=lambda body: (status, {}, place)) as server:
            [reply] = annotator(server, key_variable="MY_KEY").replies(requests(1))
        assert not other.requests and reply.attempts == 1 and reply.unreachable
        assert f"redirects to {other.url}" in reply.reason and "base_url" in reply.reason


def test_another_path_of_the_same_server_may_answer():
    def whole(body):
        place = {"Location": "/v1/chat/completions?here"}
        return (307, {}, place) if server.requests["0"] == 1 else (200, completion('{"concept": "x"}'))

    with ChatServer(whole=whole) as server:
        [reply] = annotator(server).replies(requests(1))
    assert reply.answer.concept == "x" and server.requests == {"0": 2}


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
def test_who_has_had_enough_does_not_wait():
    with ChatServer(faulty=1.0, faults=("hang",), hang=20.0) as server:
        replies = annotator(server, timeout=60.0).replies(requests(2))
        threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(replies)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 +2359"])
def test_a_date_that_is_none_asks_for_no_wait(tmp_path, date):
    with ChatServer(whole=by_number({1: (429, {}, {"Retry-After": date})})) as server:
        answered, failed = ask(annotator(server, attempts=2), requests(3), tmp_path)
    assert len(answered) == 2 and failed.keys() == {"name:1"} and server.requests["1"] == 2


def test_no_part_of_the_key_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", key := "sk-SECRET" + "0123456789" * 3)
    with ChatServer() as server:
        asking = annotator(server, key_variable="MY_KEY", attempts=1)
        paddings = range(0, 320, 10)  # the message is cut somewhere in the key
        padded = {n: (400, {"error": {"message": "x" * n + key}}) for n in paddings}
        padded |= {n + 1: (200, completion("x" * (n % 80) + key)) for n in paddings}
        server.whole = by_number({**padded, 2: (200, completion(json.dumps({"concept": key})))})
        asked = [request for i, request in enumerate(requests(312)) if i in (*padded, 2)]
        answered, failed = ask(asking, asked, tmp_path)
        assert len(failed) == 2 * len(paddings) and "sk-" not in (tmp_path / FAILURES).read_text()
        assert answered["name:2"].concept == "[key]"


def test_parameters_that_a_server_turns_down_are_sent_no_more(tmp_path):
    sent = []

    def whole(body):
        sent.append(body.keys() & {"max_tokens", "max_completion_tokens", "temperature"})
        for name, said in (("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
                           ("temperature", "Unsupported value: 'temperature' does not support 0.")):  # fmt: skip
            if name in body:
                return 400, {"error": {"message": said}}
        return 200, completion('{"concept": "x"}')

    with ChatServer(whole=whole) as server:
        asking = annotator(server, concurrency=1)
        assert len(ask(asking, requests(3), tmp_path)[0]) == 3
    assert sent == [
        {"max_tokens", "temperature"}, {"max_completion_tokens", "temperature"}, *[{"max_completion_tokens"}] * 3
    ]  # fmt: skip


CHILD = """
import sys
from pathlib import Path
from tests.names.test_server import annotator, requests
from accord.names.answers import ask
class At: url = sys.argv[1]
ask(annotator(At, concurrency=4), requests(120), Path(sys.argv[2]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="of kill -9 (on a system that has it)")
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
