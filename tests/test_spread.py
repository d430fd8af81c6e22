"""Several workers at the parts of one stage: who computes which, who waits for whom, and what a helper leaves alone."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from accord import spread
from accord.disk import aside
from accord.errors import AccordError
from accord.study import store
from accord.study.manifest import read_manifest
from accord.study.session import processor
from accord.study.stage import Stage
from accord.study.work import Models, Work
from accord.unfinished import each, once

PARTS = [f"{number}.json" for number in range(4)]
WAIT = 20  # seconds, for what comes at once unless something is broken


@pytest.fixture(params=["locks", "no locks"], autouse=True)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with locks, and one without."""

    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if request.param == "no locks":
        monkeypatch.setattr(fcntl, "flock", flock)


class Toy:
    """A stage of four parts. `made` has who computed which; `during` is called while one of a name is computed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.dtype = folder / "gap", list[tuple[str, str]](), torch.float32
        self.during: Callable[[str, str], None] = lambda who, name: None
        self.settings: dict[str, Any] = {}

    def stage(self, who: str) -> Stage:
        dtype = self.dtype

        def part(name: str) -> dict[str, str]:
            self.during(who, name)
            self.made.append((who, name))
            return {"part": name}

        def make(work: Work) -> None:
            work.begun_with(SimpleNamespace(name="toy", device=torch.device("cpu"), dtype=dtype))  # type: ignore[type-var]
            found = list(each(work.parts, {name: lambda name=name: part(name) for name in PARTS}))  # type: ignore[misc]
            work.all_parts_made()
            (work.folder / "all.txt").write_text(str(found))

        return Stage("gap", "", make, self.settings, 0, 1, spreads=True)

    def publish(self) -> bool:
        return store.publish(self.stage("owner"), self.folder, models=Models())

    def help(self, worker: str = "") -> bool:
        return store.help_make(self.stage("helper"), self.folder, models=Models(), worker=worker)

    def begin(self, name: str = PARTS[0]) -> None:
        """The owner begins, and is stopped in this part."""

        def stopped(who: str, part: str) -> None:
            if part == name:
                raise KeyboardInterrupt

        self.during = stopped
        with pytest.raises(KeyboardInterrupt):
            self.publish()
        self.during = lambda who, name: None

    def check_published(self) -> None:
        """It is whole, as one worker makes it, and nothing is beside it."""
        assert names(self.folder.parent) == ["gap"]
        manifest = read_manifest(self.folder)
        assert manifest is not None and list(manifest["files"]) == ["all.txt"]
        assert names(self.folder) == ["all.txt", "manifest.json"]
        assert (self.folder / "all.txt").read_text() == str([{"part": name} for name in PARTS])


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "run")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Worker(threading.Thread):
    """Something that goes on beside the test; `join` raises what it raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.work, self.result, self.error = work, None, None  # type: ignore[var-annotated]
        self.start()

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error

    def join(self, timeout: float | None = WAIT) -> None:
        super().join(timeout)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end, so that nothing waits for ever."""
    event = threading.Event()
    yield event
    event.set()


def test_a_helper_computes_what_is_left_and_nothing_else(toy: Toy) -> None:
    toy.begin(PARTS[1])
    partial = aside(toy.folder, "partial")
    before = {path for path in partial.rglob("*") if path.is_file()}
    assert toy.help()
    assert toy.made == [("owner", PARTS[0]), *(("helper", name) for name in PARTS[1:])]
    new = {path for path in partial.rglob("*") if path.is_file()} - before
    told = {path for path in new if path.parent == partial / "helpers"}
    assert new - told == {partial / "parts" / f"{name}{end}" for name in PARTS[1:] for end in ("", ".note")}
    assert not toy.help()
    assert toy.publish() and len(toy.made) == 4
    toy.check_published()


def test_the_manifest_has_who_helped_with_how_many_parts(toy: Toy) -> None:
    def two_parts(who: str, name: str) -> None:
        if name == PARTS[3]:
            raise KeyboardInterrupt

    toy.begin(PARTS[1])
    toy.during = two_parts
    with pytest.raises(KeyboardInterrupt):
        toy.help("worker 2")
    toy.during = lambda who, name: None
    (aside(toy.folder, "partial") / "helpers" / "torn.json").write_text('{"parts":')
    assert toy.help("worker 3")
    toy.publish()
    toy.check_published()
    manifest = read_manifest(toy.folder)
    assert manifest is not None
    here = {"host": platform.node(), "card": processor()}
    assert manifest["machine"]["helpers"] == [
        {**here, "worker": "worker 2", "parts": 2},
        {**here, "worker": "worker 3", "parts": 1},
    ]


def test_who_made_a_stage_alone_had_no_helpers(toy: Toy) -> None:
    toy.publish()
    manifest = read_manifest(toy.folder)
    assert manifest is not None and not {"helpers", "ranks"} & manifest["machine"].keys()


def test_there_is_nothing_to_help_with(toy: Toy) -> None:
    assert not toy.help()  # nobody has begun
    assert names(toy.folder.parent.parent) == []
    toy.begin()
    toy.settings = {"limit": 8}
    assert not toy.help()  # with another recipe
    toy.settings, toy.dtype = {}, torch.bfloat16
    assert not toy.help()  # in another precision
    toy.dtype = torch.float32
    assert not store.help_make(
        Stage("gap", "", toy.stage("helper").make, {}, 0, 1), toy.folder, models=Models()
    )  # not to be shared
    assert toy.made == [] and toy.help()
    toy.publish()
    assert not toy.help()  # it is finished
    toy.check_published()


def test_a_helper_stays_away_from_an_owner_on_another_kind_of_machine(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.begin(PARTS[1])
    with monkeypatch.context() as patch:
        patch.setattr("accord.study.session.processor", lambda: "Another Processor @ 3.00GHz")
        assert not toy.help() and toy.made == [("owner", PARTS[0])]
        toy.begin(PARTS[2])  # who goes on there keeps what is done, and has helpers of its own kind
        assert toy.made == [("owner", PARTS[0]), ("owner", PARTS[1])]
    assert not toy.help()
    assert toy.publish() and len(toy.made) == 4
    toy.check_published()


def test_the_owner_passes_over_what_a_helper_is_at(toy: Toy, gate: threading.Event) -> None:
    toy.begin(PARTS[1])
    at, owner_waits = threading.Event(), threading.Event()

    def during(who: str, name: str) -> None:
        if who == "helper":
            at.set()
            assert gate.wait(WAIT)
        elif name == PARTS[-1]:
            owner_waits.set()

    toy.during = during
    helper = Worker(toy.help)
    assert at.wait(WAIT)
    owner = Worker(toy.publish)
    assert owner_waits.wait(WAIT) and owner.is_alive()
    gate.set()
    owner.join()
    helper.join()
    assert helper.result and ("helper", PARTS[1]) in toy.made and len(toy.made) == 4
    toy.check_published()


def test_an_owner_that_finishes_ends_its_helper(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.begin(PARTS[2])
    claimed = spread.claimed

    def late(*args: Any, **options: Any) -> Any:
        """The helper has seen a part that is not there, and now all is finished."""
        monkeypatch.setattr(spread, "claimed", claimed)
        Worker(toy.publish).join()
        return claimed(*args, **options)

    monkeypatch.setattr(spread, "claimed", late)
    assert not toy.help()
    assert all(who == "owner" for who, _ in toy.made)
    toy.check_published()


@pytest.mark.parametrize("change", ["recipe", "precision"])
def test_a_folder_is_begun_anew_when_its_helpers_have_left(toy: Toy, change: str, gate: threading.Event) -> None:
    toy.begin()
    at = threading.Event()

    def during(who: str, name: str) -> None:
        if who == "helper":
            at.set()
            assert gate.wait(WAIT)

    toy.during = during
    helper = Worker(toy.help)
    assert at.wait(WAIT)
    if change == "recipe":
        toy.settings = {"limit": 8}
    else:
        toy.dtype = torch.bfloat16
    owner = Worker(toy.publish)
    threading.Event().wait(0.2)
    assert owner.is_alive() and toy.made == []  # it waits: what the helper is at would be taken for its own
    gate.set()
    owner.join()
    helper.join()
    assert toy.made == [("helper", PARTS[0]), *(("owner", name) for name in PARTS)]
    toy.check_published()


def test_a_helper_that_is_killed_leaves_its_part_to_others(toy: Toy, request: pytest.FixtureRequest) -> None:
    toy.begin()
    code = """
import errno, fcntl, sys, time
from pathlib import Path
if sys.argv[2] == "no locks":
    def flock(*_): raise OSError(errno.ENOLCK, "no locks")
    fcntl.flock = flock
from tests.test_spread import Toy
toy = Toy(Path(sys.argv[1]))
def during(who, name):
    print("at", name, flush=True)
    time.sleep(60)
toy.during = during
toy.help()
"""
    locks = request.node.callspec.params["file_system"]
    root = Path(__file__).parents[1]
    words = [sys.executable, "-c", code, str(toy.folder.parent), locks]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root) as helper:
        assert helper.stdout is not None and helper.stdout.readline() == f"at {PARTS[0]}\n"
        helper.send_signal(signal.SIGKILL)
    assert toy.publish()
    assert toy.made == [("owner", name) for name in PARTS]
    toy.check_published()


def test_what_a_helper_fails_with_is_told(toy: Toy) -> None:
    toy.begin(PARTS[1])

    def fails(who: str, name: str) -> None:
        raise AccordError("no such server")

    toy.during = fails
    with pytest.raises(AccordError, match="no such server"):
        toy.help()
    toy.during = lambda who, name: None
    assert toy.publish()
    toy.check_published()


def test_a_helper_that_is_no_longer_wanted_fails_silently(toy: Toy) -> None:
    toy.begin(PARTS[1])

    def removed(who: str, name: str) -> None:
        (aside(toy.folder, "partial") / spread.CLAIMS / "open").unlink()
        raise AccordError("a file is gone")

    toy.during = removed
    assert not toy.help()


def test_steps_that_others_are_at_are_come_back_to(tmp_path: Path, gate: threading.Event) -> None:
    at = threading.Event()
    (tmp_path / "parts").mkdir()
    order: list[str] = []

    def part(who: str, name: str) -> Callable[[], str]:
        def make() -> str:
            order.append(f"{who} {name}")
            if who == "helper":
                at.set()
                assert gate.wait(WAIT)
            return name

        return lambda: once(tmp_path / "parts", f"{name}.json", make)

    def own() -> list[str]:
        with spread.owning(tmp_path):
            return spread.apart([part("owner", "a"), part("owner", "b")])

    with spread.owning(tmp_path):
        spread.open_to_helpers()
    word = spread.word_of(tmp_path)
    assert word is not None

    def help_with() -> None:
        with spread.helping(tmp_path, word):
            part("helper", "a")()

    helper = Worker(help_with)
    assert at.wait(WAIT)
    owner = Worker(own)
    while len(order) < 2:
        assert not owner.error
        threading.Event().wait(0.01)
    assert order == ["helper a", "owner b"]
    with spread.helping(tmp_path, word), pytest.raises(spread.NothingFree):
        spread.apart([part("second", "a"), part("second", "b")])
    gate.set()
    owner.join()
    helper.join()
    assert owner.result == ["a", "b"] and order == ["helper a", "owner b"]


def test_a_helper_leaves_other_stages_alone(tmp_path: Path) -> None:
    stage, other = tmp_path / "stage", tmp_path / "other"
    stage.mkdir()
    with spread.owning(stage):
        spread.open_to_helpers()
        assert once(other, "part.json", lambda: 1) == 1
    (other / "part.json").unlink()
    with spread.helping(stage, str(spread.word_of(stage))), pytest.raises(spread.NothingFree):
        once(other, "part.json", lambda: 2)
    assert names(other) == ["part.json.note"]
