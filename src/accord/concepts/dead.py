"""How many concepts are dead, asked of a GPU as seldom as can be: who asks waits for all that went before."""

import torch
from torch import Tensor


class DeadCount:
    """How many concepts of `idle [K]` (tokens since each last fired) have not fired for `after` tokens.

    None can be dead before the one that was idle for longest has been so for `after` tokens: until then a count of
    tokens says so, and no device is asked. Once some are dead, their number is asked for after every step, and read in
    the next, when it has long been there.

    >>> idle = torch.tensor([0, 3])
    >>> dead = DeadCount(idle, 10)
    >>> dead.read()
    0
    >>> for _ in range(7):
    ...     dead.stepped(idle.add_(1), 1)
    >>> dead.read()
    1
    """

    def __init__(self, idle: Tensor, after: int) -> None:
        self.after, self._longest, self._number = after, 0, 0
        self._ask(idle)
        self._wait()

    def stepped(self, idle: Tensor, tokens: int) -> None:
        """A step is over, in which so many tokens were looked at and `idle` was brought up to date."""
        self._version = idle._version
        self._since += tokens
        if self._asked is not None or self._longest + self._since >= self.after:
            self._ask(idle)

    def is_of(self, idle: Tensor, after: int) -> bool:
        """Is this the count of that tensor, and was the tensor left alone since?"""
        return idle is self._idle and idle._version == self._version and after == self.after

    def read(self) -> int:
        """The number, as of the last step."""
        if self._asked is not None:
            self._wait()
        return self._number

    def _ask(self, idle: Tensor) -> None:
        self._idle, self._version, self._since = idle, idle._version, 0
        # On a GPU the copy is under way while the program goes on; PyTorch gives pinned memory for it.
        self._asked: Tensor | None = torch.stack([idle.max(), (idle >= self.after).sum()]).to("cpu", non_blocking=True)
        self._arrived: torch.cuda.Event | None = None
        if idle.is_cuda:
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(idle.device))

    def _wait(self) -> None:
        assert self._asked is not None
        if self._arrived is not None:
            self._arrived.synchronize()
        self._longest, self._number = (int(number) for number in self._asked)
        self._asked = None
