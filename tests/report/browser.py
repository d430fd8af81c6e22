"""A headless Chromium, driven over a pipe by its own protocol: nothing to install beside the browser itself."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60  # seconds


def find_browser() -> str | None:
    """Where a Chromium is, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a Chromium. `requests` are the addresses that it wanted; `errors` what went wrong in the page."""

    def __init__(self, command: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="accord-browser-", ignore_cleanup_errors=True)
        there, ours = os.pipe()  # we write, it reads from 3
        back, theirs = os.pipe()  # it writes to 4, we read
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
        options += [f"--user-data-dir={self._profile.name}", "--remote-debugging-pipe", "about:blank"]

        # Chromium takes its pipe from descriptors 3 and 4; a shell moves ours there.
        move = f'exec "$0" "$@" 3<&{there} 4>&{theirs}'
        self._process = subprocess.Popen(
            ["bash", "-c", move, command, *options],
            pass_fds=(there, theirs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(theirs)
        self._out, self._in = os.fdopen(ours, "wb", buffering=0), os.fdopen(back, "rb", buffering=0)
        self._number, self._rest, self._session = 0, b"", None
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._in.close()
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        reply = self._until(lambda event: event.get("id") == number)
        assert "error" not in reply, reply
        return dict(reply["result"])

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file and wait until all of it is there."""
        self.requests.clear()
        self.errors.clear()
        self.call("Page.navigate", url="about:blank")
        self._until(lambda event: event.get("method") == "Page.loadEventFired")
        self.call("Page.navigate", url=path.as_uri() + fragment)
        self._until(lambda event: event.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        reply = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def look(self, *, dark: bool = False, width: int = 1200, height: int = 900, media: str = "screen") -> None:
        """Colours, width in CSS pixels, screen or print."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=scheme)
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )  # fmt: skip

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key, as a user presses it."""
        details = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **details, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **details)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page, as PNG."""
        reply = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(reply["data"]))

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        watch = threading.Timer(PATIENCE, self._process.kill)
        watch.start()
        try:
            while True:
                while b"\0" not in self._rest:
                    chunk = self._in.read(1 << 20)
                    assert chunk, "the browser has gone"
                    self._rest += chunk
                raw, _, self._rest = self._rest.partition(b"\0")
                message = json.loads(raw)
                self._hear(message)
                if wanted(message):
                    return dict(message)
        finally:
            watch.cancel()

    def _hear(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.errors.append(str(params["entry"]["text"]))
