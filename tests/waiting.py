"""Where a program waits for its device: counted by line of accord, on a real GPU and on the simulated one."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests import devices


@contextmanager
def waits(device: torch.device) -> Iterator[Counter[str]]:
    """Counts "concepts/topk.py:51" for each time that this line of accord waits for the device."""
    seen: Counter[str] = Counter()
    if device.type == devices.NAME:
        devices.waited = lambda _: seen.update([_place()])
        try:
            yield seen
        finally:
            devices.waited = None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("always")

        def shown(message: Any, *rest: Any, **options: Any) -> None:
            if "synchroniz" in str(message):
                seen.update([_place()])

        warnings.showwarning = shown
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield seen
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _place() -> str:
    """The innermost line of accord that is running; "elsewhere" in a thread of PyTorch's own, as it goes backward."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        _, found, path = frame.f_code.co_filename.rpartition("/src/accord/")
        if found:
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside accord"
