"""One go at making a stage: when it was, on which machine, and how much memory it took. No part of any recipe.

A stage that was interrupted has several. One that was killed has no end: nobody was left to note it.
"""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PROCESS = Path("/proc/self")


class Session:
    """What is noted of a session, from its beginning on.

    Memory is what the process took at once while the session went on, with what it held before, such as models that
    are kept for the next stage: main memory, or of cards that the session used what PyTorch allocated there. Linux is
    made to count a process's peak anew (`clear_refs`, see proc(5)); so what `time -v` says of the process in the end is
    of its last stage. Elsewhere the peak is known only where it grew: else an earlier stage's was higher.
    """

    def __init__(self, worker: str = "") -> None:
        """`worker`: by whom, "worker 2"; empty where there are none."""
        self.worker, self.started = worker, _now()
        self._counts_anew = _count_anew()
        self._before = _peak()
        self._on_cards = _cards(anew=True)

    def span(self, *, ended: bool) -> dict[str, Any]:
        """The session as a stage's manifest has it; `finished` is empty while it goes on."""
        return {
            "started": self.started,
            "finished": _now() if ended else "",
            "host": platform.node(),
            "worker": self.worker,
            "peak_memory": self._memory() if ended else None,
        }

    def spans(self, before: Sequence[Mapping[str, Any]], *, ended: bool) -> list[dict[str, Any]]:
        """Those of a stage: the ones that were noted `before`, and this one."""
        others = [dict(span) for span in before if span.get("started") != self.started]
        return [*others, self.span(ended=ended)]

    def machine(self, spans: Sequence[Mapping[str, Any]], device: str = "cpu") -> dict[str, Any]:
        """The machine as a stage's manifest has it: of this session, which is the one that finished it.

        Args:
            spans: of the stage; its peak of memory is the highest of theirs.
            device: that its models were on.
        """
        cards = self._used()
        return {
            "host": platform.node(),
            "device": "cuda" if cards else device,
            "card": _named(cards) if cards else processor(),
            "threads": _threads(),
            "peak_memory": max((span["peak_memory"] for span in spans if span.get("peak_memory")), default=None),
            "worker": self.worker,
        }

    def _used(self) -> dict[int, int]:
        """Cards on which memory was taken since the session began -> bytes at once."""
        return {card: peak for card, peak in _cards().items() if peak > self._on_cards.get(card, 0)}

    def _memory(self) -> int | None:
        if cards := self._used():
            return sum(cards.values())
        peak = _peak()
        grew = peak is not None and (self._before is None or peak > self._before)
        return peak if self._counts_anew or grew else None


def card_of(device: "torch.device") -> str:
    """The name of a card; of the CPU, that of the processor."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


@cache
def processor() -> str:
    """The name of this machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def _count_anew() -> bool:
    """Have the system count the peak of this process anew; whether it does."""
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int | None:
    """Bytes of main memory that this process took at once, at most; None where the system does not say."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (_PROCESS / "status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    return int(getrusage(RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def _cards(*, anew: bool = False) -> dict[int, int]:
    """Number of a card -> bytes that PyTorch has allocated there at once, at most; `anew`: counted from now on."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    cards = range(torch.cuda.device_count())
    for card in cards if anew else ():
        torch.cuda.reset_peak_memory_stats(card)
    return {card: int(torch.cuda.max_memory_allocated(card)) for card in cards}


def _named(cards: Mapping[int, int]) -> str:
    """Such as "4 × NVIDIA H100 80GB HBM3"."""
    import torch

    names = [torch.cuda.get_device_name(card) for card in cards]
    counted = ((names.count(name), name) for name in dict.fromkeys(names))
    return ", ".join(name if n == 1 else f"{n} × {name}" for n, name in counted)


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return os.cpu_count() if torch is None else int(torch.get_num_threads())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
