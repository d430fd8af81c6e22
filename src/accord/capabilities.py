"""The list of what accord can do: each capability is a package, and its parts are modules of known names."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

CAPABILITIES: tuple[str, ...] = (
    "accord.gap",
    "accord.embeddings",
    "accord.concepts",
    "accord.names",
    "accord.steering",
    "accord.explain",
    "accord.heads",
    "accord.perplexity",
    "accord.forecasting",
    "accord.repair",
    "accord.verdict",
    "accord.damage",
    "accord.pathway",
    "accord.explore",
)


def part(capability: str, name: str) -> ModuleType | None:
    """The module `name` ("config", "stage", …) of a capability; None where it has none.

    An ImportError inside that module is the caller's to see.
    """
    full = f"{capability}.{name}"
    return None if find_spec(full) is None else import_module(full)


def parts(name: str) -> Iterator[ModuleType]:
    """The modules of this name in all capabilities that have it, in the order of the list.

    >>> [module.__name__ for module in parts("config")][:2]
    ['accord.gap.config', 'accord.embeddings.config']
    """
    for capability in CAPABILITIES:
        if (module := part(capability, name)) is not None:
            yield module
