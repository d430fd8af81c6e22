"""Edits of a running model's states: directions, and concepts turned off or up."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.steering.edits import AddDirection, AmplifyDirection, EditConcepts

__all__ = ["AddDirection", "AmplifyDirection", "EditConcepts"]

__getattr__ = exports(
    __name__,
    {
        "AddDirection": "accord.steering.edits",
        "AmplifyDirection": "accord.steering.edits",
        "EditConcepts": "accord.steering.edits",
    },
)
