"""Which way a repair goes: what each layer knows, says and carries, in the base and in the repaired model."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.pathway.cka import linear_cka
    from accord.pathway.measure import measure_pathway
    from accord.pathway.patching import patch
    from accord.pathway.result import Pathway

__all__ = ["Pathway", "linear_cka", "measure_pathway", "patch"]

__getattr__, __dir__ = exports(__name__)
