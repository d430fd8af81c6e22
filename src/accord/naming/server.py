"""The annotator behind a server: several requests at a time, none faster than allowed, each tried a few times."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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
from accord.naming.answers import Reply, Request, Unusable, parse
from accord.naming.config import OpenAIAnnotator

_Busy = openai.RateLimitError | openai.InternalServerError
# Whatever is asked, the answer will be the same.
_HOPELESS = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


class ServerAnnotator:
    """Asks a server; see `OpenAIAnnotator` for its section.

    Raises AccordError where a key is needed and the environment has none.
    """

    def __init__(self, section: OpenAIAnnotator) -> None:
        self.section = section
        self._key = section.key()
        self._stopped = threading.Event()
        self._pace = Pace(section.per_minute, self._stopped)
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=section.base_url,
            max_retries=0,  # retries are ours: the client's own would not count as attempts
            timeout=openai.Timeout(section.timeout),
        )

    def replies(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """See `Annotator.replies`."""
        self._stopped.clear()
        pool = ThreadPoolExecutor(self.section.concurrency)
        try:
            for future in as_completed([pool.submit(self._reply, request) for request in requests]):
                yield future.result()
        finally:  # also when the caller has had enough: what waits for its next attempt gives up at once
            self._stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)

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
        except _HOPELESS as error:
            raise AccordError(
                "The server refuses.", where=self.section.base_url, got=self._said(error),
                fix=f"look at base_url, model, and the key in {self.section.key_variable}",
            ) from None  # fmt: skip
        except (openai.OpenAIError, Unusable, ValueError) as error:
            seconds, gone = time.monotonic() - started, isinstance(error, openai.APIConnectionError | _Busy)
            return Reply(request.key, None, attempts, seconds, self._said(error), gone)

    def _ask(self, request: Request) -> BaseModel:
        self._pace.wait()
        completion = self._client.chat.completions.create(
            model=self.section.model,
            messages=[{"role": "user", "content": request.prompt}],
            temperature=0.0,
            max_tokens=self.section.max_tokens,
        )
        try:
            text = completion.choices[0].message.content
        except (AttributeError, IndexError, TypeError):  # the client does not check what it is sent
            text = None
        if not isinstance(text, str):
            raise Unusable("the server's answer has no message in it")
        return parse(text, request.form)

    def _worth_another(self, error: BaseException) -> bool:
        if isinstance(error, openai.APIStatusError):
            asked = retry_after(error)
            passing = error.status_code in (408, 409, 429) or error.status_code >= 500
            return passing and (asked is None or asked <= self.section.longest_wait)
        # ValueError: the body of the response is not whole JSON.
        return isinstance(error, openai.APIConnectionError | openai.APIResponseValidationError | Unusable | ValueError)

    def _wait(self, state: RetryCallState) -> float:
        """What the server asks for, else exponential with full jitter (Brooker, AWS Architecture Blog 2015)."""
        error = state.outcome.exception() if state.outcome else None
        asked = retry_after(error) if isinstance(error, openai.APIStatusError) else None
        limit = min(self.section.longest_wait, self.section.first_wait * 2.0 ** (state.attempt_number - 1))
        jitter = random.uniform(0, limit)
        return jitter if asked is None else min(asked + jitter, max(asked, self.section.longest_wait))

    def _said(self, error: Exception) -> str:
        """The error in one line, without the key."""
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return text.replace(self._key, "[key]") if self._key else text


def retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds that the server asks to wait, given as a number or a date; None where it says nothing readable."""
    value = error.response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


class Pace:
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
