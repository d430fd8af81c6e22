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

from typing import TYPE_CHECKING, Any

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.errors import AccordError
    from accord.forecasting import RepairForecast, forecast
    from accord.gap import Gap, measure_gap
    from accord.lm import Backbone, LanguageModel, Query, Score, score
    from accord.loading import load
    from accord.steering import steer
    from accord.study.difference import diff
    from accord.study.run_folder import read
    from accord.tasks import Item, Task, task

__version__: str

__all__ = [
    "AccordError",
    "Backbone",
    "Gap",
    "Item",
    "LanguageModel",
    "Query",
    "RepairForecast",
    "Score",
    "Task",
    "diff",
    "forecast",
    "load",
    "measure_gap",
    "read",
    "score",
    "steer",
    "task",
]

_exported, _names = exports(__name__)


def __getattr__(name: str) -> Any:
    if name == "__version__":  # the library that knows it takes a while to import
        from importlib.metadata import version

        return version("accord")
    return _exported(name)


def __dir__() -> list[str]:
    return sorted([*_names(), "__version__"])
