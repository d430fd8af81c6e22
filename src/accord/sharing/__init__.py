"""Models that accord made, on the hub of Hugging Face: repaired ones, concept language models, concept models."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.sharing.upload import Push, push

__all__ = ["Push", "push"]

__getattr__, __dir__ = exports(__name__)
