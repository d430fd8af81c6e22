"""Locks where the file system has none, and disks that are full."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import SoftFileLease
from safetensors import SafetensorError

from accord import disk
from accord.cli import _explain
from accord.disk import DiskFull, is_full, is_locked, lock, say_full, whole, whole_folder
from accord.errors import AccordError

NO_LOCKS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS]


@pytest.fixture(params=NO_LOCKS, ids=lambda code: errno.errorcode[code])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks."""

    def flock(handle: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lease(folder: Path, pid: int, host: str) -> Path:
    """The lock of another process, as it stands where the file system has none."""
    path = folder.with_name(f".{folder.name}.held.lock")
    duration = SoftFileLease(path, lease_duration=disk._SILENT).lease_duration
    path.write_text(f"filelock/2\npid={pid}\nhost={host}\nmode=lease\ntoken=abc\nduration={duration!r}\n")
    return path


def test_a_file_stands_for_the_lock_where_there_is_none(no_locks: None, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with lock(folder):
        assert is_locked(folder) and names(tmp_path) == [".run.held.lock"]
        with pytest.raises(AccordError, match="Another accord process") as caught, lock(folder):
            pass
        assert f"process {os.getpid()} on " in str(caught.value)
    assert not is_locked(folder) and names(tmp_path) == []


def test_a_lock_of_another_machine_says_whose_it_is(no_locks: None, tmp_path: Path) -> None:
    path = lease(tmp_path / "run", 4711, "node17")
    with pytest.raises(AccordError, match="Another accord process") as caught, lock(tmp_path / "run"):
        pass
    told = str(caught.value)
    assert "process 4711 on node17, with a sign of life 0 s ago" in told and f"rm {path}" in told
    assert is_locked(tmp_path / "run") and path.exists()


def test_a_dead_process_of_this_machine_holds_no_lock(no_locks: None, tmp_path: Path) -> None:
    code = "import sys, fcntl, os, signal\nfrom pathlib import Path\nfrom accord.disk import lock\n"
    code += "def flock(*_): raise OSError(37, 'no locks')\nfcntl.flock = flock\n"
    code += "with lock(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert names(tmp_path) == [".run.held.lock"]
    assert not is_locked(tmp_path / "run")
    with lock(tmp_path / "run"):
        assert names(tmp_path) == [".run.held.lock"]
    assert names(tmp_path) == []


def test_who_waits_takes_over_from_the_silent(no_locks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_SILENT", 0.6)
    monkeypatch.setattr(disk, "_BEAT", 0.1)
    lease(tmp_path / "run", 4711, "node17")
    told: list[int] = []
    with lock(tmp_path / "run", wait=True, waits=lambda: told.append(1)):
        assert told == [1]
        time.sleep(0.8)  # it shows that it lives
        with pytest.raises(AccordError), lock(tmp_path / "run"):
            pass


@pytest.mark.parametrize("ignored", [False, True])
def test_who_loses_its_lock_stops(
    no_locks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: bool
) -> None:
    """Also where Ctrl-C is not heard, as in the background of a script."""
    monkeypatch.setattr(disk, "_SILENT", 0.6)
    monkeypatch.setattr(disk, "_BEAT", 0.1)

    def work() -> None:
        with lock(tmp_path / "run"):
            (tmp_path / ".run.held.lock").unlink()
            time.sleep(5)

    heard = {signal.SIGINT: signal.SIG_IGN if ignored else signal.default_int_handler,
             signal.SIGTERM: signal.default_int_handler}  # fmt: skip
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_who_loses_its_lock_stops_as_it_says_itself(
    no_locks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_SILENT", 0.6)
    monkeypatch.setattr(disk, "_BEAT", 0.1)
    stopped = threading.Event()
    monkeypatch.setattr(disk, "stop", stopped.set)
    with lock(tmp_path / "run"):
        (tmp_path / ".run.held.lock").unlink()
        assert stopped.wait(5)


def test_the_system_s_lock_says_whose_it_is(tmp_path: Path) -> None:
    with lock(tmp_path / "run"), pytest.raises(AccordError) as caught, lock(tmp_path / "run"):
        pass
    assert f"got:    process {os.getpid()} on {platform.node()}" in str(caught.value) and "rm " not in str(caught.value)


def test_a_look_at_a_lock_refuses_nobody(tmp_path: Path) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_locked(tmp_path / "run")

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(50):
            with lock(tmp_path / "run"):
                pass
    finally:
        over.set()
        looking.join()


def test_other_trouble_with_a_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"), lock(tmp_path / "run"):
        pass


def test_an_error_of_the_disk_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too large") as caught, lock(tmp_path / "run"):
        raise OSError(errno.EFBIG, "File too large")
    assert _explain(caught.value) == (f"error: File too large: {tmp_path / 'run'}", 1)


def no_room(path: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_quota(path: Path) -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def by_safetensors(path: Path) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def by_arrow(path: Path) -> None:
    raise OSError(f"[Errno 28] Error writing bytes to file {path}. Detail: [errno 28] No space left on device")


def by_a_tokenizer(path: Path) -> None:
    raise Exception("No space left on device (os error 28)")


def by_what_it_wraps(path: Path) -> None:
    try:
        no_room(path)
    except OSError as error:
        raise RuntimeError("could not save the figure") from error


def while_it_was_handled(path: Path) -> None:
    try:
        no_room(path)
    except OSError:
        raise RuntimeError("could not save the figure")  # noqa: B904 - as others write it


def and_says_so_to_nobody(path: Path) -> None:
    try:
        no_room(path)
    except OSError:
        raise RuntimeError("could not save the figure") from None


FAILS = [
    *(no_room, no_quota, by_safetensors, by_arrow, by_a_tokenizer),
    *(by_what_it_wraps, while_it_was_handled, and_says_so_to_nobody),
]


def test_errors_that_came_of_each_other_are_looked_at_once() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_full(first)
    second.__context__ = OSError(errno.ENOSPC, "full")
    assert is_full(first)


def test_what_is_known_of_the_size_of_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        with whole(tmp_path / "file", expected=10**15) as beside:
            beside.write_bytes(bytes(1000))
            no_room(beside)

    with pytest.raises(DiskFull) as caught:
        write()
    assert caught.value.needed == 10**15 and "more than 1,000,000 GB" in str(say_full(caught.value))
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: no_room(path))
    with pytest.raises(DiskFull) as caught:
        disk.write_whole(tmp_path / "file", "é" * 500)
    assert caught.value.needed == 1000


@pytest.mark.parametrize("fail", FAILS)
@pytest.mark.parametrize("where", ["file", "folder", "lock", "nowhere"])
def test_a_full_disk_is_never_a_bug(where: str, fail: Callable[[Path], None], tmp_path: Path) -> None:
    place = tmp_path / "place"

    def write(path: Path) -> None:
        (path / "half" if path.is_dir() else path).write_bytes(bytes(1000))
        fail(path)

    context: Any = {"file": whole, "folder": whole_folder, "lock": lock}.get(where)
    if context is None:
        with pytest.raises(Exception, match=r"[Ss]pace|quota|figure") as caught:
            fail(place)
    else:
        with pytest.raises(DiskFull) as caught, context(place) as beside:
            write(beside or tmp_path / "elsewhere")
        assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(place)
    assert is_full(caught.value)
    message, code = _explain(caught.value)
    assert code == 1 and "The disk is full" in message and " free" in message and "more than" in message
    assert "a bug" not in message and (where == "nowhere" or f"where:  {place}" in message)
    if where in ("file", "folder"):
        assert caught.value.needed == 1000 and names(tmp_path) == []


def test_an_error_without_a_number_is_the_disk_s_where_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(path: Path) -> None:
        with whole(path) as beside:
            beside.touch()
            raise OSError("encoder error -2 when writing image file")

    with pytest.raises(OSError, match="encoder error"):
        encode(tmp_path / "a.png")
    usage = type("usage", (), {"free": 0})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull):
        encode(tmp_path / "a.png")
    assert "0 B free" in str(say_full(DiskFull(tmp_path / "a.png", 12_345)))
    assert "more than 12 kB" in str(say_full(DiskFull(tmp_path / "a.png", 12_345)))
