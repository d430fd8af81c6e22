"""Who may ask the page anything: whoever knows its token, which is the first part of every address."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = {
    # What the page's library needs to run in the browser, and nothing from another host, whatever a text says.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_REFUSED = b"Refused: this address lacks the token of the page. Use the whole address that accord explore printed.\n"


class TokenGate:
    """Lets through what is asked under /TOKEN/, files and WebSockets alike; everything else is refused with 403.

    There is no cookie: a page of another host cannot make a browser send what it does not know.
    """

    def __init__(self, app: App, token: str | None = None) -> None:
        self.app, self.token = app, token or secrets.token_urlsafe(24)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        parts = scope["path"].split("/", 2)
        first, rest = parts[1:] if len(parts) == 3 else ("", "")
        if not secrets.compare_digest(first.encode("utf-8", "replace"), self.token.encode()):
            await _refuse(scope["type"], receive, send)
            return
        prefix = f"/{self.token}"
        own = [(name, value) for name, value in scope["headers"] if name.lower() != b"x-forwarded-prefix"]
        inner = {
            **scope,
            "path": f"/{rest}",
            "raw_path": scope.get("raw_path", b"").removeprefix(prefix.encode()),
            "headers": [*own, (b"x-forwarded-prefix", prefix.encode())],
        }

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                guards = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *guards]}
            await send(message)

        try:
            await self.app(inner, receive, guarded)
        except RuntimeError as error:  # of the page's library, where a browser leaves before it has its answer
            if "No response returned" not in str(error):
                raise


async def _refuse(kind: str, receive: Receive, send: Send) -> None:
    if kind == "websocket":
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(_REFUSED)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED})
