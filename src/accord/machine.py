"""What this machine has left of memory."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from accord.amounts import in_bytes
from accord.errors import AccordError

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that this process is in
_KEPT_FREE = 0.1  # of a card: for states, keys and values, and what CUDA itself takes


@dataclass(frozen=True)
class DeviceRoom:
    """A device and the bytes that weights may take there; None on the disk, where they lie already."""

    device: str
    free: int | None


def free_memory(device: str = "auto") -> int:
    """Bytes that programs can still take, swap included: of main memory, of a GPU, or of all devices that are named.

    Raises AccordError if there is no such device.
    """
    return sum(room.free or 0 for room in rooms(device))


def rooms(device: str = "auto") -> tuple[DeviceRoom, ...]:
    """The devices that a text names, in its order, with what is free on each.

    Of a card a tenth is kept free where several share a model's weights. "auto" stands for all cards; where there are
    none, for what `accord.lm.devices.pick_device` takes.

    Raises AccordError if there is no such device.
    """
    from accord.lm.devices import named, pick_device

    cards = free_of_cards()
    most: dict[str, int | None] = {}
    for each in named(device):
        if each.name == "auto":
            names = [f"cuda:{i}" for i in range(len(cards))] or [str(pick_device("auto"))]
        else:
            names = [each.name]
        most |= {name: each.most for name in names if name not in most}
    return tuple(DeviceRoom(name, _free(name, cards, bound, several=len(most) > 1)) for name, bound in most.items())


def free_of_cards() -> list[int]:
    """The free bytes of each NVIDIA or AMD card of this machine."""
    import torch

    return [int(torch.cuda.mem_get_info(i)[0]) for i in range(torch.cuda.device_count())]


def in_words(found: tuple[DeviceRoom, ...]) -> str:
    """What devices have free.

    >>> in_words((DeviceRoom("cuda:0", 80 * 10**9), DeviceRoom("cuda:1", 80 * 10**9), DeviceRoom("disk", None)))
    '2 cards × 80 GB, disk'
    """
    cards = Counter(in_bytes(room.free) for room in found if room.free is not None and room.device.startswith("cuda"))
    words = [f"{count} card{'s' if count > 1 else ''} × {size}" for size, count in cards.items()]
    rest = [room for room in found if not room.device.startswith("cuda")]
    words += [room.device if room.free is None else f"{room.device} {in_bytes(room.free)}" for room in rest]
    return ", ".join(words)


def _free(name: str, cards: list[int], most: int | None, *, several: bool) -> int | None:
    if name == "disk":
        return None
    kind, _, number = name.partition(":")
    if kind == "cuda":
        if int(number or 0) >= len(cards):
            raise AccordError("this machine has no such device", got=name, fix='use device = "auto" or "cpu"')
        free = cards[int(number or 0)]
        free = int(free * (1 - _KEPT_FREE)) if several else free
    else:
        import psutil

        free = int(psutil.virtual_memory().available + psutil.swap_memory().free)
        with suppress(OSError, ValueError):  # no container, or no limit
            free = min(free, int(_LIMIT.read_text()))
    return free if most is None else min(free, most)
