"""How many workers the machines of a Ray cluster have room for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord.cluster.config import MachinesSection


@dataclass(frozen=True)
class RoomForWorkers:
    """Workers that fit.

    Attributes:
        workers: that may run models.
        plain: more that need no card; 0 where there are no cards, as any worker may do anything then.
        cards: whether there are GPUs.
    """

    workers: int
    plain: int
    cards: bool


def room(
    nodes: Sequence[Mapping[str, float]], machines: MachinesSection, memory: int = 0, plain: bool = False
) -> RoomForWorkers:
    """How many workers the machines have room for.

    Args:
        nodes: of each machine its resources, as Ray calls them.
        memory: bytes that a worker takes, where there are no cards.
        plain: whether there is something to do that needs no card.

    >>> room([{"CPU": 8, "GPU": 2}, {"CPU": 4}], MachinesSection(), plain=True)
    RoomForWorkers(workers=2, plain=10, cards=True)
    """
    each, cards = machines.cpus_per_stage, any(node.get("GPU", 0) for node in nodes)
    workers = more = 0
    for node in nodes:
        here = int(node.get("CPU", 0)) // each
        if cards:
            able = min(here, int(node.get("GPU", 0)) // machines.gpus_per_model)
            more += here - able
        else:
            able = here if not memory else min(here, int(node.get("memory", 0)) // memory)
        workers += able
    most = machines.workers or workers + more
    workers = min(workers, most)
    return RoomForWorkers(workers, min(more, most - workers) if plain and cards else 0, cards)


def alive(ray: Any) -> list[Mapping[str, float]]:
    """The resources of each machine that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
