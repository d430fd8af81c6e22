"""As much of the hub as a push talks to, on a port of this machine: repositories are folders of bytes in memory."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_of_the_test"


class FakeHub:
    """Repositories by name: private, files. `licences` are of models that are there to be asked about."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.licences: dict[str, str | None] = {}
        self.forbidden = False
        self.address = ""

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """Status and JSON."""
        path = path.partition("?")[0]
        if path == "/api/validate-yaml":  # the head of a card
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/api/models/") and method == "GET":
            return self._model("/".join(path.split("/")[3:5]))
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "no valid token"}
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user"}
        if self.forbidden:
            return 403, {"error": "this token may not write"}
        if path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}" if told.get("organization") else f"me/{told['name']}"
            if name in self.files:
                return 409, {"error": "it is there", "url": f"{self.address}/{name}"}
            self.files[name], self.private[name] = {}, told.get("visibility") == "private" or bool(told.get("private"))
            return 200, {"url": f"{self.address}/{name}"}
        name, action = "/".join(path.split("/")[3:5]), path.split("/")[5]
        if action == "preupload":
            asked = [file["path"] for file in json.loads(body)["files"]]
            return 200, {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]}
        assert action == "commit", path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "deletedFile":
                del self.files[name][line["value"]["path"]]
        return 200, {"commitOid": "c" * 40, "commitUrl": f"{self.address}/{name}/commit/{'c' * 40}"}

    def _model(self, name: str) -> tuple[int, Any]:
        if name not in self.files and name not in self.licences:
            return 404, {"error": "Repository not found"}
        licence = self.licences.get(name)
        card = {"license": licence} if licence else {}
        siblings = [{"rfilename": file} for file in self.files.get(name, {})]
        told = {"id": name, "private": self.private.get(name, False), "cardData": card, "siblings": siblings}
        return 200, {**told, "sha": "c" * 40, "tags": []}


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub that answers while it is needed."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, told = hub.answer(self.command, self.path, body, self.headers.get("authorization", ""))
            text = json.dumps(told).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _handle

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
