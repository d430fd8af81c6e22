"""One bar over steps of different kinds."""

from accord.progress import Progress

_UNITS = 1000  # of a step


class Steps:
    """Hands out the progress of one step after the other, counted as progress of the whole.

    >>> steps = Steps(lambda done, total: print(f"{done / total:.0%}"), steps=2)
    >>> first = steps.next()
    0%
    >>> first(1, 2)
    25%
    """

    def __init__(self, progress: Progress | None, steps: int) -> None:
        self._progress, self._total, self._begun = progress, steps, 0

    def next(self) -> Progress:
        """Progress of the next step; what came before is done."""
        start = self._begun
        self._begun += 1
        self._report(start * _UNITS)
        return lambda done, total: self._report(start * _UNITS + _UNITS * done // max(total, 1))

    def finish(self) -> None:
        """Everything is done."""
        self._report(self._total * _UNITS)

    def _report(self, done: int) -> None:
        if self._progress:
            self._progress(done, self._total * _UNITS)
