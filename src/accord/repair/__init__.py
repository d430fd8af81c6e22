"""Repairs of the gap: each turns a model into a repaired one, and saves what it changed as a small folder."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.repair.apply import repair
    from accord.repair.config import read_repair, register
    from accord.repair.fitted import Fitted
    from accord.repair.folder import load_repaired, save_adapter, save_edits, save_weights
    from accord.repair.merging import Drift, merge
    from accord.repair.result import is_repaired
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

__getattr__, __dir__ = exports(__name__)
