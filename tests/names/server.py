"""A server that speaks OpenAI's chat completions, and can be made to fail in every way that servers do.

Run by itself (`python server.py`) it prints its port and serves until it is killed.
"""

import json
import random
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("busy", "error", "hang", "truncated", "broken", "schema", "empty", "disconnect")


class ChatServer(ThreadingHTTPServer):
    """Answers every request with a name; `faulty` is the share of requests that fail in one of `faults`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, faulty=0.0, faults=FAULTS, seed=0, hang=1.0, key=None, answer=None, whole=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faulty, self.faults, self.hang, self.key = faulty, faults, hang, key
        # Status, content and headers instead of an answer; or what writes the response itself, given the handler.
        self.whole = whole or (lambda body: None)
        self.answer = answer or (lambda prompt: {"concept": "a name", "alternatives": ["another"]})
        self.draw, self.lock = random.Random(seed), threading.Lock()
        self.requests, self.answered, self.failed = Counter(), Counter(), Counter()
        self.times, self.open, self.most_open = [], 0, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a client that left is no news


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        """It lists no models, as many servers do not; but it looks at the key."""
        wrong = self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}"
        self.send(*((401, {"error": {"message": "wrong key"}}) if wrong else (404, {"error": {"message": "no list"}})))

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.partition("?")[0] != "/v1/chat/completions":
            return self.send(404, {"error": {"message": "no such path"}})
        if server.key and self.headers["Authorization"] != f"Bearer {server.key}":
            return self.send(401, {"error": {"message": f"wrong key: {self.headers['Authorization']}"}})
        prompt = body["messages"][-1]["content"]
        who = re.search(r"concept number (\d+)", prompt)
        who = who[1] if who else prompt
        with server.lock:
            fault = server.draw.choice(server.faults) if server.draw.random() < server.faulty else None
            server.requests[who] += 1
            server.times.append(time.monotonic())
            server.open += 1
            server.most_open = max(server.most_open, server.open)
            (server.failed if fault else server.answered)[fault or who] += 1
        try:
            self.reply(fault, body, prompt)
        finally:
            with server.lock:
                server.open -= 1

    def reply(self, fault, body, prompt):
        if whole := self.server.whole(body):
            if callable(whole):
                self.close_connection = True
                return whole(self)
            status, content, *headers = whole
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            return self.send_bytes(status, data, *headers)
        good = json.dumps(self.server.answer(prompt))
        if fault == "busy":
            return self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"})
        if fault == "error":
            return self.send(500, {"error": {"message": "it broke"}})
        if fault == "hang":
            time.sleep(self.server.hang)
            return None
        if fault == "disconnect":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
            return self.connection.close()
        if fault == "broken":  # the body itself, not the message in it
            return self.send_bytes(200, b'{"id": "x", "choices": [{"mess')
        said = {"truncated": good[: len(good) // 2], "schema": '{"name": 3}'}.get(fault, good)
        choices = [] if fault == "empty" else [_choice(said)]
        return self.send(200, {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"],
                               "choices": choices})  # fmt: skip

    def send(self, status, content, headers=None):
        self.send_bytes(status, json.dumps(content).encode(), headers)

    def send_bytes(self, status, data, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def completion(said):
    """The content of a response in which the model says this."""
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [_choice(said)]}


def _choice(said):
    return {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
