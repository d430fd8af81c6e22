"""Which concepts stand between what a model says and what it affirms."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.explain.measure import explain_gap
    from accord.explain.result import Explanation

__all__ = ["Explanation", "explain_gap"]

__getattr__, __dir__ = exports(__name__)
