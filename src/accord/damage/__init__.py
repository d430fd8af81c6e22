"""What a repair cost: perplexity, drift, other relations and free text, each before and after with its interval."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.damage.measure import compare, measure_damage
    from accord.damage.observed import Observed, observe
    from accord.damage.questions import Questions
    from accord.damage.result import Damage

__all__ = ["Damage", "Observed", "Questions", "compare", "measure_damage", "observe"]

__getattr__, __dir__ = exports(__name__)
