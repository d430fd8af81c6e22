"""Repairs of the gap: each turns a model into a repaired one, and saves what it changed as a small folder."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.repair.fitted import Fitted
    from accord.repair.folder import is_repaired, load_repaired, save_adapter, save_edits
    from accord.repair.surgery import operate

__all__ = ["Fitted", "is_repaired", "load_repaired", "operate", "save_adapter", "save_edits"]

__getattr__ = exports(
    __name__,
    {
        "Fitted": "accord.repair.fitted",
        "is_repaired": "accord.repair.folder",
        "load_repaired": "accord.repair.folder",
        "operate": "accord.repair.surgery",
        "save_adapter": "accord.repair.folder",
        "save_edits": "accord.repair.folder",
    },
)
