"""Is it the stage that fails, or its worker? A stage that failed is tried by another worker, and that tells."""

from collections import defaultdict

DOUBTS = 2
"""So many failures in a row that no other worker has had: a worker then gets nothing new until they are explained, and
nothing more at all where others made these stages."""


class Failures:
    """The stages that failed once, and the workers that are in doubt for it.

    >>> failures = Failures()
    >>> failures.first("a", "worker 1"), failures.first("b", "worker 1"), failures.doubts("worker 1")
    (None, None, True)
    >>> failures.made("a", "worker 2"), failures.made("b", "worker 2"), failures.unfit
    ('worker 1', 'worker 1', ['worker 1'])

    Attributes:
        unfit: workers that others have shown to be at fault; whoever drops them takes them out.
    """

    def __init__(self) -> None:
        self._once: dict[str, str] = {}  # stage -> its worker; empty where several trained it
        self._doubts: dict[str, dict[str, bool]] = defaultdict(dict)  # worker -> stage -> whether another made it
        self.unfit: list[str] = []

    def __contains__(self, stage: str) -> bool:
        return stage in self._once

    def first(self, stage: str, worker: str) -> None:
        """A stage failed for the first time, on a worker; empty if several trained it, as nobody knows on which."""
        self._once[stage] = worker
        if worker:
            self._doubts[worker][stage] = False

    def doubts(self, worker: str) -> bool:
        """Whether a worker shall get nothing new."""
        return len(self._doubts.get(worker, ())) >= DOUBTS

    def made(self, stage: str, worker: str) -> str:
        """A worker made a stage. Returns the one on which it had failed, if there is one."""
        self._doubts.pop(worker, None)
        before = self._once.pop(stage, "")
        doubts = self._doubts.get(before, {})
        if stage in doubts:
            doubts[stage] = True
            if sum(doubts.values()) == DOUBTS:
                self.unfit.append(before)
        return before

    def again(self, stage: str) -> str:
        """A stage failed on another worker, too. Returns the one on which it failed first, which is not to blame."""
        before = self._once.pop(stage, "")
        self._doubts.get(before, {}).pop(stage, None)
        return before

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self._doubts.pop(worker, None)
