"""A worker: makes stages of a study, of which it knows what it is told as text, and keeps the models that it loads.

It plans the study again, so that nothing but text crosses between processes and machines. Nothing here knows of Ray.
"""

import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from accord.cluster.log import log_of, logged
from accord.cluster.shared import what_is_wrong
from accord.disk import is_full, say_full
from accord.errors import AccordError
from accord.screen import tell
from accord.study import store
from accord.study.config import StudyFile, validated
from accord.study.graph import Graph, plan_study
from accord.study.making import headline_of
from accord.study.manifest import missing, read_manifest
from accord.study.provenance import command_words
from accord.study.search_file import SearchFile
from accord.study.stage import Stage
from accord.study.work import KEPT, Input, Models
from accord.textfile import tables

if TYPE_CHECKING:
    from accord.ranks import Ranks

_SEEN = 120.0  # seconds until what another machine has put in place is seen here


@dataclass(frozen=True)
class Briefing:
    """What a worker is told of a run.

    Attributes:
        text: of the study.
        path: the study file, for files beside it, as it was typed in the folder `cwd`.
        folder: the run folder.
        device: of the backbone, as the study names it.
        mark: see `accord.cluster.shared.left_a_mark`.
        threads: that compute a stage.
        command: the command line, for manifests.
        trials: how many there shall be, of a search.
    """

    text: str
    path: str
    cwd: str
    folder: str
    device: str
    mark: str
    threads: int
    command: tuple[str, ...]
    trials: int = 0

    @classmethod
    def of(
        cls, file: StudyFile | SearchFile, device: str, folder: Path, mark: str, threads: int, trials: int = 0
    ) -> Self:
        """What the driver, in whose process this is called, tells of a run or a search in a folder."""
        return cls(
            text=file.text,
            path=str(file.path),
            cwd=str(Path.cwd()),
            folder=str(folder.absolute()),
            device=device,
            mark=mark,
            threads=threads,
            command=tuple(command_words()),
            trials=trials,
        )


@dataclass(frozen=True)
class Hello:
    """What a worker says of itself.

    Attributes:
        free: bytes of memory that a model may take: of its GPU, or of the machine.
        wrong: why it cannot work in the run folder; empty if it can.
    """

    host: str
    free: int
    wrong: str


@dataclass(frozen=True)
class Done:
    """How an order ended.

    Attributes:
        how: made; helped; failed: while it was made; left: it was told to leave, or lost those it trained with;
            unfit: it was not begun, and this worker will begin none.
        seconds: that the stage took, those before an interruption included.
        found: what came of it, in a few words.
        lacking: what it lacks, where it is not whole.
        reason: why it was not made, in a line.
    """

    how: Literal["made", "helped", "failed", "left", "unfit"]
    seconds: float = 0.0
    found: str = ""
    lacking: str = ""
    reason: str = ""


class _Listens:
    """What a stage tells of itself while it is made: its `accord.progress.Progress`."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker

    def __call__(self, done: int, total: int) -> None:
        self._worker._moves(done, total)

    def tell(self, words: str) -> None:
        """See `accord.progress.tell`."""
        self._worker._words = words


class Worker:
    """Makes stages one at a time; `how_far` and `leave` may be called meanwhile, by another thread."""

    def __init__(self, name: str, told: Briefing) -> None:
        self._name, self._told = name, told
        self._folder = Path(told.folder)
        self._kept: dict[str, Any] = {}
        self._stages: Mapping[str, Stage] = {}
        self._models = Models(self._does, most=KEPT)
        self._done = self._total = 0
        self._at_work, self._doing, self._words, self._leaves = "", "", "", False
        self._path = Path(told.path)
        sys.argv[:] = told.command
        try:
            os.chdir(told.cwd)
        except OSError:  # a machine that has no such folder has the study's files elsewhere, or needs none
            self._path = Path(told.cwd) / self._path

    def hello(self) -> Hello:
        """Get ready, and say what there is here."""
        import torch

        from accord.machine import free_memory

        torch.set_num_threads(self._told.threads)
        wrong = what_is_wrong(self._folder, self._told.mark)
        return Hello(platform.node(), free_memory(self._told.device), wrong)

    def make(self, name: str, fingerprint: str, rank: int = 0, ranks: int = 1, address: str = "") -> Done:
        """Make a stage.

        Args:
            fingerprint: of its recipe, as the driver has it.
            rank: of this worker, where several train the stage; only the first writes.
            ranks: how many there are.
            address: HOST:PORT of the first.
        """
        who = f"{self._name} on {platform.node()}" + (f", rank {rank} of {ranks}" if ranks > 1 else "")
        log = log_of(self._folder, name if not rank else f"{name}.rank{rank}")
        self._begin("make")
        try:
            with logged(log, who):
                try:
                    return self._made(name, fingerprint, rank, ranks, address)
                except BaseException:
                    tell(traceback.format_exc(), err=True)
                    raise
        except KeyboardInterrupt:  # of `_moves`
            return Done("left", reason="it was told to leave")
        except _Unfit as error:
            return Done("unfit", reason=_in_a_line(error.why))
        except Exception as error:
            return Done("left" if _is_apart(error) else "failed", reason=_in_a_line(error))
        finally:
            self._begin()

    def help(self, name: str, fingerprint: str) -> Done:
        """Compute what nobody is at of a stage that another worker makes."""
        self._begin("help")
        try:
            with before_any_stage():
                stage = self._stage(name, fingerprint)
            while store.help_make(
                stage,
                self._folder / name,
                models=self._models,
                at=self._at,
                progress=_Listens(self),
                worker=self._name,
            ):
                pass
        except _Unfit as error:
            return Done("unfit", reason=_in_a_line(error.why))
        except KeyboardInterrupt:  # of `_moves`
            pass
        except Exception:  # whoever makes the stage goes on without this worker
            tell(traceback.format_exc(), err=True)
        finally:
            self._begin()
        return Done("helped")

    def how_far(self) -> tuple[int, int, str, str]:
        """What is done, of how much, what takes a while at the moment, and what else is told."""
        return self._done, self._total, self._doing, self._words

    def leave(self, what: str = "") -> None:
        """Leave what is under way at its next step: what is done of it stays, for whoever goes on.

        Args:
            what: "make" or "help", if only that is to be left: meanwhile, it may have ended.
        """
        self._leaves = what in ("", self._at_work)

    def _made(self, name: str, fingerprint: str, rank: int, ranks: int, address: str) -> Done:
        with before_any_stage():
            stage = self._stage(name, fingerprint)
        self._wait_for(stage)
        with _joined(rank, ranks, address) as among:
            if rank:
                assert among is not None
                store.train_along(stage, self._folder / name, models=self._models, at=self._at, ranks=among)
                return Done("made")
            # What would be replaced unasked was refused before. A stage that is locked is left by a driver that died.
            store.publish(
                stage,
                self._at(stage),
                at=self._at,
                models=self._models,
                progress=_Listens(self),
                replace=True,
                say=tell,
                wait=True,
                ranks=among,
                worker=self._name,
            )
        seconds = (read_manifest(self._folder / name) or {}).get("seconds", 0.0)
        lacking = missing(self._folder / name) or ""
        return Done("made", float(seconds), headline_of(stage, self._folder), lacking)

    def _stage(self, name: str, fingerprint: str) -> Stage:
        """A stage, as this machine plans it. Raises AccordError if that is not as the driver does."""
        if name not in self._stages:
            self._does("planning")
            graph = self._plan()
            self._stages = {stage.name: stage for stage in graph.stages}
        if name not in self._stages or self._stages[name].recipe.fingerprint != fingerprint:
            raise would_differ("make something else of the stage")
        return self._stages[name]

    def _plan(self) -> Graph:
        file = validated(self._path, self._told.text, tables(self._told.text))
        graph = plan_study(file, kept=self._kept)
        return plan_study(file, fetch=True, kept=self._kept) if graph.missing else graph

    def _wait_for(self, stage: Stage) -> None:
        """Wait until what the stage is made from is seen here: another machine may just have put it in place."""
        until = time.monotonic() + _SEEN
        for source in stage.inputs.values():
            folder = self._at(source)
            while (read_manifest(folder) or {}).get("fingerprint") != source.recipe.fingerprint:
                if time.monotonic() > until:
                    return  # who opens it tells what is wrong with it
                self._moves(0, 0)
                time.sleep(0.2)
                for above in (folder.parent.parent, folder.parent) if "/" in source.name else (folder.parent,):
                    with suppress(OSError):
                        list(above.iterdir())  # else the machine may not ask again what is there

    def _at(self, stage: Input) -> Path:
        return self._folder.absolute() / stage.name

    def _begin(self, what: str = "") -> None:
        self._at_work = what
        self._done, self._total, self._doing, self._words, self._leaves = 0, 0, "", "", False

    def _does(self, what: str) -> None:
        self._doing = what

    def _moves(self, done: int, total: int) -> None:
        self._done, self._total, self._doing = done, total, ""
        if self._leaves:
            raise KeyboardInterrupt


def would_differ(does: str) -> AccordError:
    """What is wrong on a machine that plans otherwise than the driver does."""
    return AccordError(
        f"This machine would {does} than the one that the command was started on.",
        where=platform.node(),
        fix="have the same version of accord, and the same models and texts, on both",
    )


def _joined(rank: int, ranks: int, address: str) -> "AbstractContextManager[Ranks | None]":
    """The ranks that train together; None where there is but one."""
    if ranks == 1:
        return nullcontext()
    from accord.ranks import join

    try:
        return join(rank, ranks, address)
    except AccordError as error:
        raise _Apart(error.problem, got=error.got) from error


def _is_apart(error: Exception) -> bool:
    """Whether it is not the stage that failed, but what several ranks do together."""
    if isinstance(error, _Apart):
        return True
    from accord.ranks import RankLost

    return isinstance(error, RankLost)


@contextmanager
def before_any_stage() -> Iterator[None]:
    """What goes wrong inside would with every stage: this worker is unfit."""
    try:
        yield
    except Exception as error:
        raise _Unfit(error) from error


class _Unfit(Exception):
    """This worker cannot make any stage."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class _Apart(AccordError):
    """The ranks did not meet."""


def _in_a_line(error: Exception) -> str:
    """What went wrong, in a line; the log has the rest."""
    error = say_full(error) if is_full(error) else error
    if isinstance(error, AccordError):
        got = "" if error.got is None else f" ({error.got})"
        return " ".join(f"{error.problem}{got}".split())
    return " ".join(f"{type(error).__name__}: {error}".split())
