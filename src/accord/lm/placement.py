"""Where the parts of a model lie and compute: planned before it is loaded, and read off it afterwards.

Towards everybody else a model has one device: its states come out there, edits get theirs there, and its lens takes
them there. That its blocks may lie on several cards, in main memory or on the disk is known in this module, in
`Backbone` and in `splice`, which move states in and out, and nowhere else. Between blocks accelerate's hooks do so.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from accord.amounts import in_bytes
from accord.errors import AccordError
from accord.machine import DeviceRoom, in_words, rooms

_OFFLOADED = ("cpu", "disk")  # behind a card: weights lie there and are brought to the first card to compute


@dataclass(frozen=True)
class Part:
    """A part of a model that lies on one device: a block, or something outside of all blocks; its size in numbers."""

    name: str
    size: int
    block: bool


@dataclass(frozen=True)
class Placement:
    """Where a model computes.

    Attributes:
        embeddings: where ids go in.
        blocks: block by block.
        head: where the lens gives its logits: the device of the whole model towards everybody.
        brought: numbers of the blocks, from 1, whose weights are brought from main memory or the disk each time.
    """

    embeddings: torch.device
    blocks: tuple[torch.device, ...]
    head: torch.device
    brought: tuple[int, ...] = ()

    @property
    def divided(self) -> bool:
        """Whether it is more than one device's plain weights."""
        return len({self.embeddings, *self.blocks, self.head}) > 1 or bool(self.brought)

    def __str__(self) -> str:
        def where(i: int) -> str:
            return f"{self.blocks[i]}{', brought there each time' if i + 1 in self.brought else ''}"

        parts = [f"embeddings on {self.embeddings}"]
        for place, group in groupby(range(len(self.blocks)), key=where):
            numbers = [i + 1 for i in group]
            few = f"block {numbers[0]}" if len(numbers) == 1 else f"blocks {numbers[0]} to {numbers[-1]}"
            parts.append(f"{few} on {place}")
        return "; ".join([*parts, f"head on {self.head}"])


def placement_of(model: nn.Module, blocks: Sequence[nn.Module], head: nn.Module) -> Placement:
    """Where the parts of a loaded model compute."""
    brought = tuple(i for i, block in enumerate(blocks, start=1) if lies_elsewhere(block))
    return Placement(entry(model), tuple(map(computes_on, blocks)), computes_on(head), brought)


def entry(model: Any) -> torch.device:
    """Where a model takes its ids."""
    return computes_on(model.get_input_embeddings())


def computes_on(module: nn.Module) -> torch.device:
    """Where a module computes: where accelerate brings what it needs, else where its weights lie."""
    for part in module.modules():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
        for weight in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            return weight.device
    return torch.device("cpu")


def lies_elsewhere(module: nn.Module) -> bool:
    """Whether weights of a module are only there while it computes."""
    return any(weight.is_meta for weight in module.parameters())


PLAIN: set[type] = {Tensor}
"""Types of weights that are the numbers that they say; tests add that of the device that stands for a GPU."""


def plain_linear(module: nn.Module) -> nn.Linear | None:
    """The same module, if it is a linear layer whose weight may be read directly.

    None where an adapter or a quantization changes it, where it lies elsewhere until the layer computes, and where
    other processes hold a share of it.
    """
    if type(module) is not nn.Linear or type(module.weight.data) not in PLAIN or module.weight.is_meta:
        return None
    return module


def plain_copy(module: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a module that computes by itself: its weights are on a device, and nothing moves them."""
    from accelerate.hooks import remove_hook_from_module
    from accelerate.utils import align_module_device

    hooks = [part._hf_hook for part in module.modules() if hasattr(part, "_hf_hook")]
    with torch.no_grad(), ExitStack() as there:
        for part in module.modules():
            there.enter_context(align_module_device(part))
        mine = copy.deepcopy(module, {id(hook): hook for hook in hooks})  # hooks hold weights of the whole model
    plain: nn.Module = remove_hook_from_module(mine, recurse=True)
    return plain.to(device)


def check_undivided(lm: Any, what: str) -> None:
    """AccordError if a backbone's weights are divided among devices, before what copies or rewrites all of them."""
    if lm.placement.divided:
        raise AccordError(
            f"{what} needs the whole model on one device",
            where=lm.name,
            got=str(lm.placement),
            fix='name one device that holds it, such as device = "cuda:0" or "cpu"',
        )


def plan(model: nn.Module, needed: int, device: str) -> dict[str, str] | None:
    """Which part of a model goes to which device; None where one device is to hold it all.

    Embeddings, final norm and head go to the first device, where states are read. Blocks fill the cards evenly, and
    only what these cannot hold goes to main memory, then to the disk, if they are named.

    Args:
        model: of the same parts, without weights (on the meta device).
        needed: bytes that its weights take.
        device: as people name it; "auto" alone takes one card where that suffices.

    Raises:
        AccordError: the devices cannot hold the weights.
    """
    found = rooms(device)
    if device == "auto" and (found[0].device == "cpu" or needed <= (found[0].free or 0)):
        return None
    if len(found) == 1:
        if found[0].device.startswith("cuda") and needed > (found[0].free or 0):
            raise _too_large(needed, found)
        return None
    parts = list(_parts(model, "", set()))
    each = needed / max(sum(part.size for part in parts), 1)
    sized = [Part(part.name, int(part.size * each), part.block) for part in parts]
    devices = _filled([part.size for part in sized if part.block], sum(p.size for p in sized if not p.block), found)
    if devices is None:
        raise _too_large(needed, found)
    blocks = iter(devices)
    return {part.name: next(blocks) if part.block else found[0].device for part in sized}


def _too_large(needed: int, found: tuple[DeviceRoom, ...]) -> AccordError:
    fix = 'use dtype = "bfloat16" or a smaller model, or let what does not fit lie elsewhere, which is slow: '
    fix += 'device = "auto,cpu", or "auto,cpu,disk"'
    problem = f"This model's weights need about {in_bytes(needed)}."
    return AccordError(problem, got=f"{in_words(found)} free for them", fix=fix)


def _parts(module: nn.Module, prefix: str, counted: set[int]) -> Iterator[Part]:
    """The parts of a model in order: each member of its lists of blocks, and what lies outside of these.

    Args:
        counted: tensors that are in a part already, by their identity: a head may share the embeddings'.
    """

    def size(tensors: Iterable[Tensor]) -> int:
        new = {id(tensor): tensor.numel() for tensor in tensors if id(tensor) not in counted}
        counted.update(new)
        return sum(new.values())

    for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        yield Part(prefix + name, size([tensor]), False)
    for name, child in module.named_children():
        if isinstance(module, nn.ModuleList) or not any(isinstance(part, nn.ModuleList) for part in child.modules()):
            inside = (*child.parameters(), *child.buffers())
            yield Part(prefix + name, size(inside), isinstance(module, nn.ModuleList))
        else:
            yield from _parts(child, f"{prefix}{name}.", counted)


def _filled(blocks: Sequence[int], outside: int, found: Sequence[DeviceRoom]) -> list[str] | None:
    """A device for each block; None if they do not fit.

    >>> _filled([10] * 4, 5, [DeviceRoom("cuda:0", 100), DeviceRoom("cuda:1", 100)])
    ['cuda:0', 'cuda:0', 'cuda:1', 'cuda:1']
    >>> _filled([10] * 4, 5, [DeviceRoom("cuda:0", 37), DeviceRoom("cpu", 10), DeviceRoom("disk", None)])
    ['cuda:0', 'cuda:0', 'cpu', 'disk']

    Args:
        outside: what must be on the first device beside its blocks.
    """
    cards = [found[0], *(room for room in found[1:] if room.device not in _OFFLOADED)]
    behind = sorted((room for room in found[1:] if room.device in _OFFLOADED), key=lambda room: room.device)
    free = [float(room.free or 0) for room in cards]
    share = min((sum(blocks) + outside) / max(sum(free), 1), 1.0)
    even = [share * room for room in free]
    free[0], even[0] = free[0] - outside, even[0] - outside
    if (devices := _in_order(blocks, [room.device for room in cards], free, even)) is not None:
        return devices
    if not behind:
        return _in_order(blocks, [room.device for room in cards], free, free)
    free[0] -= max(blocks, default=0)  # one block at a time is brought there
    free += [float("inf") if room.free is None else room.free for room in behind]
    return _in_order(blocks, [room.device for room in (*cards, *behind)], free, free)


def _in_order(
    blocks: Sequence[int], devices: Sequence[str], free: Sequence[float], wanted: Sequence[float]
) -> list[str] | None:
    """Fill one device after the other to about what is `wanted`, never beyond what is `free`."""
    placed: list[str] = []
    at, used = 0, 0.0
    for size in blocks:
        while at < len(devices) and (
            used + size > free[at] or (used + size / 2 > wanted[at] and at + 1 < len(devices))
        ):
            at, used = at + 1, 0.0
        if at == len(devices):
            return None
        placed.append(devices[at])
        used += size
    return placed if free[0] >= 0 else None
