"""The annotator behind a server: several requests at a time, none faster than allowed, each tried a few times.

A server is not trusted. Its answer has a deadline as a whole, a size, and no second address: see `_checked`.
"""

import json
import random
import time
import zlib
from collections.abc import Awaitable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

import anyio
import httpx2
import openai
from anyio.from_thread import start_blocking_portal
from pydantic import BaseModel
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from accord.errors import AccordError
from accord.names.answers import Reply, Request, Unusable, parse
from accord.names.config import OpenAIAnnotator


class Redirected(Exception):
    """The server sends what it is asked on to another one, which nobody named."""


# The server may be gone, or refuse whatever is asked; or it is this one prompt that it cannot bear.
_GONE = (
    openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError, openai.AuthenticationError,
    openai.PermissionDeniedError, openai.NotFoundError, TimeoutError, Redirected,
)  # fmt: skip
_LARGEST = 2**20  # bytes of a response, unpacked
_REACHED = 10.0  # seconds that a first sign of life is waited for


class ServerAnnotator:
    """Asks a server; see `OpenAIAnnotator` for its section.

    Raises AccordError where a key is needed and the environment has none.
    """

    def __init__(self, section: OpenAIAnnotator) -> None:
        self.section = section
        self._key = section.key()
        self._pace = RequestPace(section.per_minute)
        self._refused: set[str] = set()  # parameters that this server has turned down

    def replies(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See `Annotator.replies`."""
        waiting, running = iter(requests), set[Future[Reply]]()
        # Where the caller has had enough, what is under way is cancelled, whatever it waits for.
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._connect()) as client:
            while True:
                free = self.section.concurrency - len(running)
                running |= {portal.start_task_soon(self._reply, client, request) for request in islice(waiting, free)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()

    def reach(self) -> None:
        """AccordError if the server does not answer, or does not take the key. Nothing is asked of its model."""
        try:
            with start_blocking_portal() as portal:
                portal.call(self._list_models)
        except openai.AuthenticationError as error:
            fix = f"check the environment variable {self.section.key_variable}"
            where, got = self.section.base_url, self._said(error)
            raise AccordError("The server does not take this key.", where=where, got=got, fix=fix) from error
        except (openai.APIConnectionError, TimeoutError, Redirected) as error:
            problem, got = "The server that names concepts does not answer.", self._said(error)
            fix = "start it, check base_url, or name the concepts later: leave out [names] for now"
            raise AccordError(problem, where=self.section.base_url, got=got, fix=fix) from error
        except (openai.OpenAIError, Unusable, ValueError):  # it answers; not every server lists its models
            pass

    async def _list_models(self) -> None:
        async with self._connect() as client:
            await self._within(_REACHED, client.models.with_raw_response.list())

    def _connect(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self.section.base_url,
            max_retries=0,  # retries are ours: the client's own would not count as attempts
            timeout=None,  # a client's timeout begins anew with every byte: `_within` is one for the whole
            default_headers={"Accept-Encoding": "gzip"},
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_checked]}),
        )

    async def _reply(self, client: openai.AsyncOpenAI, request: Request) -> Reply:
        started = time.monotonic()
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.section.attempts),
            wait=self._wait,
            retry=retry_if_exception(self._worth_another),
            sleep=anyio.sleep,
            reraise=True,
        )
        attempts = 0
        try:
            async for attempt in retrying:
                attempts = attempt.retry_state.attempt_number
                with attempt:
                    answer = await self._ask(client, request)
            return Reply(request.key, answer, attempts, time.monotonic() - started)
        except (openai.OpenAIError, Unusable, Redirected, TimeoutError, ValueError, RecursionError) as error:
            seconds = time.monotonic() - started
            return Reply(request.key, None, attempts, seconds, self._said(error), isinstance(error, _GONE))

    async def _ask(self, client: openai.AsyncOpenAI, request: Request) -> BaseModel:
        content = json.loads(await self._complete(client, request.prompt))
        try:
            text = content["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise Unusable("the server's answer has no message in it")
        return parse(self._hide(text), request.form)

    async def _complete(self, client: openai.AsyncOpenAI, prompt: str) -> bytes:
        """The response; a parameter that the server turns down is left out, or called as newer models call it.

        It is not the client that reads the JSON: objects made of a hostile megabyte of it would take minutes.
        """
        create = client.chat.completions.with_raw_response.create
        while True:
            limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
            keys: dict[str, Any] = {limit: self.section.max_tokens, "temperature": 0.0}
            keys = {name: value for name, value in keys.items() if name not in self._refused}
            await self._pace.wait()
            try:
                asked = create(model=self.section.model, messages=[{"role": "user", "content": prompt}], **keys)
                response = await self._within(self.section.timeout, asked)
                return bytes(response.content)
            except openai.BadRequestError as error:
                turned_down = {name for name in ("max_tokens", "temperature") if name in keys and name in str(error)}
                if not turned_down:
                    raise
                self._refused |= turned_down

    async def _within(self, seconds: float, response: Awaitable[Any]) -> Any:
        """A response, if it comes whole within so many seconds. Raises what `_checked` found wrong with it."""
        try:
            with anyio.fail_after(seconds):
                return await response
        except TimeoutError:
            raise TimeoutError(f"timed out: no whole response within {seconds:g} s") from None
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, Unusable | Redirected):
                raise error.__cause__ from None
            raise

    def _worth_another(self, error: BaseException) -> bool:
        if isinstance(error, openai.APIStatusError):
            seconds = retry_after(error)
            passing = error.status_code in (408, 409, 429) or error.status_code >= 500
            return passing and (seconds is None or seconds <= self.section.longest_wait)
        # ValueError, RecursionError: the body of the response is not whole JSON, or nested too deeply.
        return isinstance(error, openai.APIConnectionError | TimeoutError | Unusable | ValueError | RecursionError)

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


async def _checked(response: httpx2.Response) -> None:
    """Read a response whole, before the client does.

    Raises:
        Unusable: it is larger than it may be, unpacked, or packed in a way that was not asked for.
        Redirected: it redirects to another server, which would be sent the prompt.
    """
    if response.has_redirect_location:
        target = response.url.join(response.headers["location"])
        if (target.scheme, target.host, target.port) != (response.url.scheme, response.url.host, response.url.port):
            raise Redirected(f"the server redirects to {target}: if it is meant, name that as base_url")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    content = b""
    async for part in response.stream:
        content += part
        if len(content) > _LARGEST:
            raise _too_large()
    packed = response.headers.pop("content-encoding", "identity").strip().lower()
    if packed == "gzip":  # by the client, a packed megabyte would become a thousand
        try:
            content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, _LARGEST + 1)
        except zlib.error as error:
            raise Unusable(f"a response that cannot be unpacked: {error}") from None
        if len(content) > _LARGEST:
            raise _too_large()
    elif packed not in ("", "identity"):
        raise Unusable(f"a response packed as {packed[:40]!r}, which was not asked for")
    await response.stream.aclose()
    response.stream = httpx2.ByteStream(content)


def _too_large() -> Unusable:
    return Unusable(f"a response of more than {_LARGEST:,} bytes")


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

    def __init__(self, per_minute: int | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Until this one may begin."""
        now = time.monotonic()
        begin = max(now, self._next)
        self._next = begin + self._gap
        await anyio.sleep(begin - now)
