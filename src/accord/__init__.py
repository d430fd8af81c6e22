"""accord: find where a language model disagrees with itself, see what carries it, repair it, prove the rest whole.

>>> import accord
>>> lm = accord.load("smollm2-135m")
>>> task = accord.task("hypernymy", split="test", limit=20)
>>> gap = accord.measure_gap(lm, task)
>>> len(gap.scores)
20
>>> list(gap.metrics["pearson_all"])
['value', 'low', 'high']
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.errors import AccordError
    from accord.gap import Gap, measure_gap
    from accord.lm import Backbone, LanguageModel, Query, Score, score
    from accord.loading import load
    from accord.steering import steer
    from accord.study.difference import diff
    from accord.study.run_folder import read
    from accord.tasks import Item, Task, task

__version__ = version("accord")

__all__ = [
    "AccordError",
    "Backbone",
    "Gap",
    "Item",
    "LanguageModel",
    "Query",
    "Score",
    "Task",
    "diff",
    "load",
    "measure_gap",
    "read",
    "score",
    "steer",
    "task",
]

__getattr__ = exports(__name__)
