"""The server of the page: on this machine alone, under an address that cannot be guessed."""

import socket
import threading
import warnings
import webbrowser
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord import signals
from accord.arguments import checked
from accord.errors import AccordError, MissingLibrary
from accord.explore.gate import TokenGate
from accord.lm.config import BackboneSection
from accord.screen import tell

if TYPE_CHECKING:
    from accord.explore.subject import Subject

HOST = "127.0.0.1"


def check_library() -> None:
    """Raise MissingLibrary unless the library of the page is installed."""
    try:
        import_module("nicegui")
    except ImportError as error:
        raise MissingLibrary("The explorer needs NiceGUI.", got=error, fix="pip install 'accord[explore]'") from None


@checked
def serve(
    what: Path | str,
    *,
    task: str | None = None,
    limit: int = 200,
    device: str = "auto",
    port: int = 0,
    browser: bool = True,
) -> None:
    """Serve the explorer of a run, or of a model, until it is stopped (Ctrl-C).

    Args:
        what: a run folder, or what `accord.load` takes.
        task: of a model: what `accord.task` takes; its questions can then be asked with any words.
        limit: of a model: as many items of the task are measured in the room Items.
        device: of the models.
        port: 0 for any that is free.
        browser: whether to open the page in the browser.

    Raises:
        AccordError: there is no such run or model, NiceGUI is missing, or the port is taken.
    """
    from accord.explore.subject import Subject
    from accord.loading import check_model
    from accord.study.store import STUDY
    from accord.tasks.config import QuestionSection

    folder = Path(what)
    if (folder / STUDY).is_file() or (folder / "manifest.json").is_file():
        subject = Subject.of_run(folder, device=None if device == "auto" else device)
    else:
        check_model(str(what))
        questions = {} if task is None else {task: QuestionSection(task=task)}
        subject = Subject(BackboneSection(model=str(what), device=device), questions, limit=limit)
    serve_subject(subject, port=port, browser=browser)


def serve_subject(subject: "Subject", *, port: int = 0, browser: bool = True) -> None:
    """Serve the explorer of a subject; see `serve`."""
    check_library()
    gate = application(subject)
    listening = _listening(port)
    address = f"http://{HOST}:{listening.getsockname()[1]}/{gate.token}/"
    tell(f"{address}\nOnly who has this whole address can use the page. Ctrl-C ends it.")
    if browser:
        threading.Timer(1.0, partial(webbrowser.open, address)).start()
    run(gate, listening)


def application(subject: "Subject") -> TokenGate:
    """The page of a subject as an ASGI application behind its token; one in a process."""
    from fastapi import FastAPI
    from nicegui import app as site_app
    from nicegui import ui

    from accord.explore.site import page
    from accord.explore.worker import ModelThread

    thread = ModelThread()
    subject.opened = thread.watch
    inner = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    site_app.on_shutdown(thread.close)
    # Without Quasar's bar of requests: it has no name for who hears the page, and boards tell what they wait for.
    site_app.config.quasar_config["loadingBar"]["skipHijack"] = True
    ui.run_with(
        inner,
        root=partial(page, subject, thread),
        title=f"accord explore: {subject.name}",
        favicon=_ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return TokenGate(inner)


def run(gate: TokenGate, listening: socket.socket) -> None:
    """Answer requests until the process is told to stop."""
    import uvicorn

    settings: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": 1, "server_header": False}
    with suppress(KeyboardInterrupt), warnings.catch_warnings():  # uvicorn ends well, then raises the signal again
        warnings.filterwarnings("ignore", module="nicegui")  # looks for its server among all objects
        uvicorn.Server(uvicorn.Config(gate, **settings)).run(sockets=[listening])
    signals.heard()


def _listening(port: int) -> socket.socket:
    """A socket of this machine alone, on which a browser that comes early waits."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise AccordError("This port cannot be used.", got=f"{port}: {error}", fix="name another, or none") from None
    return listening


_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="6" cy="8" r="5" fill="#00805e"/>'
    '<circle cx="10" cy="8" r="5" fill="#9c4f96" fill-opacity=".75"/></svg>'
)
