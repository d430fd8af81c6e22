"""Repairs of the gap: each turns a model into a repaired one, and saves what it changed as a small folder."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.repair.apply import repair
    from accord.repair.config import read_repair, register
    from accord.repair.fitted import Fitted
    from accord.repair.folder import is_repaired, load_repaired, save_adapter, save_edits, save_weights
    from accord.repair.merging import Drift, merge
    from accord.repair.surgery import operate
    from accord.repair.trained import train

__all__ = [
    "Drift",
    "Fitted",
    "is_repaired",
    "load_repaired",
    "merge",
    "operate",
    "read_repair",
    "register",
    "repair",
    "save_adapter",
    "save_edits",
    "save_weights",
    "train",
]

__getattr__ = exports(
    __name__,
    {
        "Drift": "accord.repair.merging",
        "Fitted": "accord.repair.fitted",
        "is_repaired": "accord.repair.folder",
        "load_repaired": "accord.repair.folder",
        "merge": "accord.repair.merging",
        "operate": "accord.repair.surgery",
        "read_repair": "accord.repair.config",
        "register": "accord.repair.config",
        "repair": "accord.repair.apply",
        "save_adapter": "accord.repair.folder",
        "save_edits": "accord.repair.folder",
        "save_weights": "accord.repair.folder",
        "train": "accord.repair.trained",
    },
)
