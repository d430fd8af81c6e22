"""The one list of what accord can do: each capability is a package, and its parts are modules of known names."""

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
    "accord.repair",
    "accord.verdict",
    "accord.damage",
    "accord.pathway",
)


def part(capability: str, name: str) -> ModuleType | None:
    """The module `name` ("config", "stage", …) of a capability; None where it has none.

    An ImportError inside that module is the caller's to see.
    """
    full = f"{capability}.{name}"
    return None if find_spec(full) is None else import_module(full)
