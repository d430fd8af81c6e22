"""How many workers the machines of a Ray cluster have room for."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord.cluster.config import MachinesSection


@dataclass(frozen=True)
class RoomForWorkers:
    """Workers that fit.

    Attributes:
        workers: how many.
        cards: whether each has GPUs.
    """

    workers: int
    cards: bool


def room(
    nodes: Sequence[Mapping[str, float]], machines: MachinesSection, memory: int = 0, *, device: str = "auto"
) -> RoomForWorkers:
    """How many workers the machines have room for.

    Args:
        nodes: of each machine its resources, as Ray calls them.
        memory: bytes that a worker takes, where it has no GPU.
        device: of the backbone, as the study names it; workers have GPUs only where it may be one.

    >>> room([{"CPU": 8, "GPU": 2}, {"CPU": 4}], MachinesSection())
    RoomForWorkers(workers=2, cards=True)
    >>> room([{"CPU": 8, "GPU": 2}, {"CPU": 4}], MachinesSection(), device="cpu")
    RoomForWorkers(workers=12, cards=False)
    """
    cards = _may_be_a_card(device) and any(node.get("GPU", 0) for node in nodes)
    workers = 0
    for node in nodes:
        here = int(node.get("CPU", 0)) // machines.cpus_per_stage
        if cards:
            here = min(here, int(node.get("GPU", 0)) // machines.gpus_per_model)
        elif memory:
            here = min(here, int(node.get("memory", 0)) // memory)
        workers += here
    return RoomForWorkers(min(workers, machines.workers or workers), cards)


def alive(ray: Any) -> list[Mapping[str, float]]:
    """The resources of each machine that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def this_machine(machines: MachinesSection) -> Mapping[str, float]:
    """What this machine has, as Ray calls it: what Ray is started with here, and what a dry run counts with."""
    import torch

    from accord.machine import free_memory

    cpus = max(os.cpu_count() or 1, (machines.workers or 0) * machines.cpus_per_stage)
    return {"CPU": cpus, "GPU": torch.cuda.device_count(), "memory": free_memory("cpu")}


def _may_be_a_card(device: str) -> bool:
    """Whether a device, such as "auto,cpu", may be a GPU of which Ray knows."""
    from accord.lm.devices import named

    return any(each.name == "auto" or each.name.startswith("cuda") for each in named(device))
