"""Walk around in a run or a model: any question asked in both forms, items, concepts and repairs, on a local page.

What the page shows is made by plain functions, and every number by the rooms that `accord` measures it with.
"""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.explore.asking import BothForms, ask, question_of_fields, question_of_prompts
    from accord.explore.one_item import item_concepts
    from accord.explore.server import serve
    from accord.explore.side_by_side import Beside, write_beside
    from accord.explore.threshold import Threshold, thresholds

__all__ = [
    "Beside",
    "BothForms",
    "Threshold",
    "ask",
    "item_concepts",
    "question_of_fields",
    "question_of_prompts",
    "serve",
    "thresholds",
    "write_beside",
]

__getattr__, __dir__ = exports(__name__)
