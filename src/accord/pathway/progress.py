"""One bar over steps of different kinds."""

from accord.lm.batching import Progress

_UNITS = 1000  # of a step


class Steps:
    """Hands out the progress of one step after the other, told as that of the whole."""

    def __init__(self, progress: Progress | None, steps: int) -> None:
        self._progress, self._total, self._begun = progress, steps, 0

    def next(self) -> Progress:
        """Progress of the next step; what came before is done."""
        start = self._begun
        self._begun += 1
        self._tell(start * _UNITS)
        return lambda done, total: self._tell(start * _UNITS + _UNITS * done // max(total, 1))

    def finish(self) -> None:
        """Everything is done."""
        self._tell(self._total * _UNITS)

    def _tell(self, done: int) -> None:
        if self._progress:
            self._progress(done, self._total * _UNITS)
