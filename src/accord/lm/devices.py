"""Devices as people name them: one, or several that share a model's weights, each with the most that it may take."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accord.errors import AccordError

if TYPE_CHECKING:
    import torch

_NAME = r"(auto|cpu|mps|cuda(:\d+)?)"
_SIZE = r"(=\d+(\.\d+)?(kB|MB|GB|TB))?"
PATTERN = rf"^{_NAME}{_SIZE}(,({_NAME}{_SIZE}|disk))*$"
"""What names devices."""
_WANTED = "auto, cpu, mps, cuda, cuda:N, or several with commas between them"
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class DeviceShare:
    """A device as it is named.

    Attributes:
        name: "auto" stands for all cards of the machine, "disk" for the files that the weights are read from.
        most: bytes of weights that it may take; None: what is free.
    """

    name: str
    most: int | None = None


def named(device: str) -> tuple[DeviceShare, ...]:
    """The devices that a text names, in its order.

    >>> [(each.name, each.most) for each in named("cuda:0=40GB,cuda:1,cpu")]
    [('cuda:0', 40000000000), ('cuda:1', None), ('cpu', None)]

    Raises AccordError if it names none, or one twice.
    """
    if not re.fullmatch(PATTERN, device):
        raise AccordError("unknown device", got=device, wanted=_WANTED)
    parts = [part.partition("=") for part in device.split(",")]
    whole = {"cuda": "cuda:0"} if len(parts) > 1 else {}
    found = tuple(DeviceShare(whole.get(name, name), _bytes(most)) for name, _, most in parts)
    names = [each.name for each in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise AccordError("a device is named twice", got=device, wanted=f"{twice[0]} once")
    return found


def kind_of(device: str) -> str:
    """The kind of device that computes: that of the first that a text names. The others change no number.

    >>> kind_of("cuda:1"), kind_of("cuda:0=40GB,cuda:1,cpu"), kind_of("auto,cpu")
    ('cuda', 'cuda', 'auto')
    """
    return re.split("[:=,]", device, maxsplit=1)[0]


def pick_device(device: str) -> "torch.device":
    """The device that computes, the first of those that `device` names; "auto" is a GPU when there is one.

    Raises AccordError if this machine lacks any of them.
    """
    found = [_this(each.name) for each in named(device) if each.name != "disk"]
    return found[0]


def _this(device: str) -> "torch.device":
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    chosen = torch.device(device)
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (chosen.index or 0) >= count.get(chosen.type, 0):
        raise AccordError("this machine has no such device", got=device, fix='use device = "auto" or "cpu"')
    return chosen


def _bytes(text: str) -> int | None:
    return int(float(text[:-2]) * _UNITS[text[-2:]]) if text else None
