"""Repairs of the gap: each turns a model into a repaired one, and saves what it changed as a small folder."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.repair.folder import is_repaired, load_repaired, save_adapter, save_edits

__all__ = ["is_repaired", "load_repaired", "save_adapter", "save_edits"]

__getattr__ = exports(
    __name__,
    {
        "is_repaired": "accord.repair.folder",
        "load_repaired": "accord.repair.folder",
        "save_adapter": "accord.repair.folder",
        "save_edits": "accord.repair.folder",
    },
)
