"""The annotator behind a server: several requests at a time, none faster than allowed, each tried a few times."""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

import httpx2
import openai
from pydantic import BaseModel
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
)

from accord.errors import AccordError
from accord.names.answers import Reply, Request, Unusable, parse
from accord.names.config import OpenAIAnnotator

# The server may be gone, or refuse whatever is asked; or it is this one prompt that it cannot bear.
_GONE = (
    openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError,
    openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError,
)  # fmt: skip
_LARGEST = 2**20  # bytes of a response
_REACHED = 10.0  # seconds that a first sign of life is waited for


class ServerAnnotator:
    """Asks a server; see `OpenAIAnnotator` for its section.

    Raises AccordError where a key is needed and the environment has none.
    """

    def __init__(self, section: OpenAIAnnotator) -> None:
        self.section = section
        self._key = section.key()
        self._stopped = threading.Event()
        self._pace = RequestPace(section.per_minute, self._stopped)
        self._refused: set[str] = set()  # parameters that this server has turned down
        self._client: openai.OpenAI

    def replies(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See `Annotator.replies`."""
        self._stopped.clear()
        self._client = self._connect()
        pool = ThreadPoolExecutor(self.section.concurrency)
        waiting, running = iter(requests), set[Future[Reply]]()
        try:
            while True:
                free = self.section.concurrency - len(running)
                running |= {pool.submit(self._reply, request) for request in islice(waiting, free)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:  # also when the caller has had enough: what waits for its next attempt gives up at once
            self._stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._client.close()

    def reach(self) -> None:
        """AccordError if the server does not answer, or does not take the key. Nothing is asked of its model."""
        client = self._connect()
        try:
            client.with_options(timeout=_REACHED).models.with_raw_response.list()
        except openai.AuthenticationError as error:
            fix = f"check the environment variable {self.section.key_variable}"
            where, got = self.section.base_url, self._said(error)
            raise AccordError("The server does not take this key.", where=where, got=got, fix=fix) from error
        except openai.APIConnectionError as error:
            problem, got = "The server that names concepts does not answer.", self._said(error)
            fix = "start it, check base_url, or name the concepts later: leave out [names] for now"
            raise AccordError(problem, where=self.section.base_url, got=got, fix=fix) from error
        except (openai.OpenAIError, ValueError):  # it answers; not every server lists its models
            pass
        finally:
            client.close()

    def _connect(self) -> openai.OpenAI:
        return openai.OpenAI(
            api_key=self._key or "none",
            base_url=self.section.base_url,
            max_retries=0,  # retries are ours: the client's own would not count as attempts
            timeout=openai.Timeout(self.section.timeout),
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [_bound]}),
        )

    def _reply(self, request: Request) -> Reply:
        started = time.monotonic()
        retrying = Retrying(
            stop=stop_after_attempt(self.section.attempts) | stop_when_event_set(self._stopped),
            wait=self._wait,
            retry=retry_if_exception(self._worth_another),
            sleep=sleep_using_event(self._stopped),
            reraise=True,
        )
        attempts = 0
        try:
            for attempt in retrying:
                attempts = attempt.retry_state.attempt_number
                with attempt:
                    answer = self._ask(request)
            return Reply(request.key, answer, attempts, time.monotonic() - started)
        except (openai.OpenAIError, Unusable, ValueError, RecursionError) as error:
            seconds = time.monotonic() - started
            return Reply(request.key, None, attempts, seconds, self._said(error), isinstance(error, _GONE))

    def _ask(self, request: Request) -> BaseModel:
        try:
            text = self._complete(request.prompt).choices[0].message.content
        except (AttributeError, IndexError, TypeError):  # the client does not check what it is sent
            text = None
        if not isinstance(text, str):
            raise Unusable("the server's answer has no message in it")
        return parse(self._hide(text), request.form)

    def _complete(self, prompt: str) -> Any:
        """The response; a parameter that the server turns down is left out, or called as newer models call it."""
        while True:
            limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
            keys: dict[str, Any] = {limit: self.section.max_tokens, "temperature": 0.0}
            keys = {name: value for name, value in keys.items() if name not in self._refused}
            self._pace.wait()
            try:
                return self._client.chat.completions.create(
                    model=self.section.model, messages=[{"role": "user", "content": prompt}], **keys
                )
            except openai.BadRequestError as error:
                turned_down = {name for name in ("max_tokens", "temperature") if name in keys and name in str(error)}
                if not turned_down:
                    raise
                self._refused |= turned_down

    def _worth_another(self, error: BaseException) -> bool:
        if isinstance(error, openai.APIStatusError):
            seconds = retry_after(error)
            passing = error.status_code in (408, 409, 429) or error.status_code >= 500
            return passing and (seconds is None or seconds <= self.section.longest_wait)
        # ValueError, RecursionError: the body of the response is not whole JSON, or nested too deeply.
        bad = openai.APIResponseValidationError | Unusable | ValueError | RecursionError
        return isinstance(error, openai.APIConnectionError | bad)

    def _wait(self, state: RetryCallState) -> float:
        """What the server asks for, else exponential with full jitter (Brooker, AWS Architecture Blog 2015)."""
        error = state.outcome.exception() if state.outcome else None
        seconds = retry_after(error) if isinstance(error, openai.APIStatusError) else None
        limit = min(self.section.longest_wait, self.section.first_wait * 2.0 ** (state.attempt_number - 1))
        jitter = random.uniform(0, limit)
        return jitter if seconds is None else min(seconds + jitter, max(seconds, self.section.longest_wait))

    def _said(self, error: Exception) -> str:
        """The error and what it came from, in one line, without the key."""
        cause = f" ({error.__cause__})" if isinstance(error, openai.APIConnectionError) and error.__cause__ else ""
        text = " ".join(self._hide(f"{type(error).__name__}: {error}{cause}").split())[:300]
        return text.encode(errors="replace").decode()

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _bound(response: httpx2.Response) -> None:
    """Have the reading of a response end with an error where it is too large."""
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._stream:
            size += len(part)
            if size > _LARGEST:
                raise httpx2.ReadError(f"a response of more than {_LARGEST:,} bytes")
            yield part

    def close(self) -> None:
        self._stream.close()


def retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds that the server asks to wait, given as a number or a date; None where it says nothing readable."""
    value = error.response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


class RequestPace:
    """Lets so many begin in a minute, evenly spaced."""

    def __init__(self, per_minute: int | None, stopped: threading.Event) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next, self._lock, self._stopped = 0.0, threading.Lock(), stopped

    def wait(self) -> None:
        """Until this one may begin."""
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + self._gap
        self._stopped.wait(begin - now)
