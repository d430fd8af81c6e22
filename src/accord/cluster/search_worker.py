"""A worker of a search: makes what all trials share, then brings trials to their end. Nothing here knows of Ray."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from accord.cluster.log import LOGS
from accord.cluster.worker import Done, Worker, before_any_stage, would_differ
from accord.errors import AccordError
from accord.progress import Progress
from accord.screen import tell
from accord.study.graph import Graph
from accord.study.search_file import of_text
from accord.study.search_work import Search, planned
from accord.textfile import tables

PLACE = "search/"  # how the name begins of an order to bring one trial, whichever comes next, to its end
DEATHS = 2  # of workers at one trial, in one search, after which it counts as failed


class SearchWorker(Worker):
    """Takes orders for stages, as any worker, and for trials: which one it is, the list of the trials tells it."""

    title = ""  # of nothing: see `accord.study.search_work.Teller`

    def _made(self, name: str, fingerprint: str, rank: int, ranks: int, address: str) -> Done:
        if not name.startswith(PLACE):
            return super()._made(name, fingerprint, rank, ranks, address)
        with before_any_stage():
            if self._search.fingerprint != fingerprint:
                raise would_differ("search something else")
        for stage in self._search.shared.values():
            self._wait_for(stage)
        found = self._search.bring(self._search.trials(), self._told.trials, self, self._counted)
        return Done("made", found=found)

    def _plan(self) -> Graph:
        return Graph(list(self._search.shared.values()), {})

    @cached_property
    def _search(self) -> Search:
        self._does("planning")
        text = self._told.text
        file = of_text(self._path, text, tables(text))
        return planned(file, self._folder, self._models, lambda study, graph, needed: None, replace=True)

    def say(self, line: str) -> None:
        """Into the log, and to the driver until the next step."""
        tell(line)
        self._does(line)

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """A stage of a trial."""
        self._moves(0, 0)  # a good moment to leave
        yield self._moves

    @contextmanager
    def _counted(self, number: int) -> Iterator[None]:
        """Leaves a note while a trial is worked on: what is still there tells of workers that died at it.

        Raises AccordError if too many did: the trial would go on to end whoever takes it.
        """
        logs, name = self._folder / LOGS, f"{self._told.mark}-{number:04}-"
        if len([*logs.glob(f"{name}*")]) >= DEATHS:
            raise AccordError(f"The worker at it died, {DEATHS} times: it was killed, or memory ran out.")
        note = Path(logs / f"{name}{secrets.token_hex(4)}")
        note.touch()
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
