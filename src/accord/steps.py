"""A step of some work while it goes on: how far it is, where, and how long it will still take."""

import time
from collections.abc import Mapping, Sequence

_TELLING = 0.1  # of a step: from here on, how far it is says more of its end than what such steps took before
_PACES = 0.25, 4.0  # how much faster or slower than expected the steps to come may count


class OpenStep:
    """A step that is under way.

    Attributes:
        name, at: what is done, and where: "worker 2 on node7"; empty where there is one place only.
        number: which one it was when it began, of those that were expected; 0 for one that was not.
        expected: seconds that it should take; 0 where that is not known.
        doing: what takes a while in it just now, such as loading a model.
        told: what else is to be known of it just now, such as the loss of what is trained.
    """

    def __init__(self, name: str, at: str = "", *, number: int = 0, expected: float = 0.0) -> None:
        self.name, self.at, self.number, self.expected = name, at, number, expected
        self.since = time.monotonic()
        self.doing = self.told = ""
        self.done, self.total, self._pass = 0, 0, 1

    def __call__(self, done: int, total: int) -> None:
        """As `move`: a step is the `accord.progress.Progress` of its work."""
        self.move(done, total)

    def tell(self, words: str) -> None:
        """Take what else is to be known."""
        self.told = words

    def move(self, done: int, total: int) -> None:
        """Take how far it is."""
        before = self.share or 0.0
        self.done, self.total, self.doing = done, total, ""
        if (self.share or 0.0) < before:  # some steps go over their items more than once
            self._pass += 1

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.since

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1; None while that is not known."""
        done, total = self.done, self.total
        return min(1.0, done / total) if total else None

    @property
    def far(self) -> str:
        """How far it is, in words, and what else is told of it."""
        again = f" of pass {self._pass}" if self._pass > 1 else ""
        done = "" if (share := self.share) is None else f"{100 * share:.0f} %{again}"
        return ", ".join(filter(None, (done, self.told)))

    def left(self, pace: float) -> float:
        """Seconds that the rest is expected to take, where steps take `pace` times what was expected."""
        gone, share = self.seconds, self.share
        rest = max(0.0, pace * self.expected - gone)
        if share is not None and share >= _TELLING and gone > 1:
            told = gone * (1 - share) / share
            return told if self._pass == 1 and not rest else max(rest, told / self._pass)
        return rest


def time_left(
    expected: Mapping[str, float], taken: Mapping[str, float], under_way: Sequence[OpenStep], workers: int
) -> float | None:
    """Seconds until all steps are done; None where nothing is known of them.

    The work that is left, in seconds of one worker, divided by the number of workers; but never less than the longest
    single step that is left takes, as no step is divided. For one worker that is the sum. What must wait for what is
    not considered, so where steps wait for each other it is too little.

    Args:
        expected: step -> seconds that it should take. Steps that are neither under way nor in `taken` are to come.
        taken: step -> seconds, of those that ended. Their pace is taken for that of the others.
        workers: how many steps are done at once.

    >>> time_left({"a": 10.0, "b": 20.0, "c": 40.0}, {"a": 10.0}, [], 1)
    60.0
    >>> time_left({"a": 10.0, "b": 20.0, "c": 40.0}, {"a": 10.0}, [], 8)
    40.0
    """
    if not expected:
        return None
    ended = [name for name in taken if name in expected]
    pace = 1.0
    if before := sum(expected[name] for name in ended):
        pace = min(_PACES[1], max(_PACES[0], sum(taken[name] for name in ended) / before))
    begun = {step.name for step in under_way}
    left = [step.left(pace) for step in under_way]
    left += [pace * seconds for name, seconds in expected.items() if name not in taken and name not in begun]
    return max(max(left, default=0.0), sum(left) / max(1, workers))
