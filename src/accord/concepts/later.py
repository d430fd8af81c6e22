"""A number that a device has yet to compute, and its copy, which the program doesn't wait for."""

import torch
from torch import Tensor


class Later:
    """A whole number `[]` of a device: its copy is under way while the program goes on.

    On a GPU `read` waits for what was asked of the device before the number, not for what was asked since.

    >>> Later(torch.tensor(3)).read()
    3
    """

    def __init__(self, number: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._number = number
        if number.device.type == "cuda":
            self._number = number.to("cpu", non_blocking=True)  # PyTorch gives pinned memory for it
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(number.device))

    def read(self) -> int:
        """The number."""
        if self._event is not None:
            self._event.synchronize()
        return int(self._number)
