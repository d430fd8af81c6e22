"""The one thread that models run in, so that no question of anybody stops the page: of each asker the latest counts."""

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from accord.lm.edited import backbone_of
from accord.lm.model import LanguageModel

R = TypeVar("R")


class Outdated(Exception):
    """The same asker has asked something else since: nobody waits for this answer any more."""


class ModelThread:
    """Questions are answered one after the other, in the order in which they came.

    A question whose asker has asked another one since is not begun; one that is under way ends at the next forward
    pass of a model that is watched.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._latest: dict[Hashable, int] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._now: tuple[Hashable, int] | None = None

    async def ask(self, who: Hashable, work: Callable[[], R]) -> R:
        """What `work` gives, computed in the thread.

        Args:
            who: the asker; of two questions of one asker, the later one counts.

        Raises Outdated if a later one came, and whatever `work` raises.
        """
        number = self.cancel(who)

        def run() -> R:
            self._now = (who, number)
            try:
                self._check()
                return work()
            finally:
                self._now = None

        answer = await asyncio.wrap_future(self._pool.submit(run))
        if not self._counts(who, number):
            raise Outdated
        return answer

    def cancel(self, who: Hashable) -> int:
        """Make everything outdated that this asker has asked; the number of what it asks next."""
        with self._lock:
            self._count += 1
            self._latest[who] = self._count
            return self._count

    def forget(self, asker: Callable[[Hashable], bool]) -> None:
        """End what these askers have asked, who are gone."""
        with self._lock:
            for who in [who for who in self._latest if asker(who)]:
                del self._latest[who]

    def watch(self, lm: LanguageModel) -> None:
        """End what is outdated at this model's next forward pass, whoever runs it: scoring, sampling, explaining."""
        backbone_of(lm).blocks[0].register_forward_pre_hook(lambda *_: self._check())

    def close(self) -> None:
        """Begin nothing more, and end what is under way."""
        with self._lock:
            self._latest.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _counts(self, who: Hashable, number: int) -> bool:
        with self._lock:
            return self._latest.get(who) == number

    def _check(self) -> None:
        if (now := self._now) is not None and not self._counts(*now):
            raise Outdated
