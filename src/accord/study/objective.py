"""The objective of a search: a metric of the stages that differ in their seed only."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from accord.capabilities import parts
from accord.disk import read_object
from accord.errors import AccordError, nearest
from accord.study.stage import Stage


def metrics() -> dict[str, tuple[str, ...]]:
    """Kind of stage -> the metrics of its metrics.json that can be an objective, as the capabilities list them."""
    known: dict[str, tuple[str, ...]] = {}
    for module in parts("result"):
        known |= getattr(module, "OBJECTIVES", {})
    return known


def target(stages: Sequence[Stage], objective: str, where: str) -> list[Stage]:
    """The stages that an objective (STAGE:METRIC) is read from, one a seed.

    Raises AccordError, with the nearest that there is, if the stages make no such thing.
    """
    known = metrics()
    name, _, metric = objective.partition(":")
    telling = [stage for stage in stages if stage.kind in known]
    targets = [stage for stage in telling if _seedless(stage) == name]
    if targets and metric in known[targets[0].kind]:
        return targets
    if not targets:
        wanted = "STAGE:METRIC, where STAGE is " + nearest(name, sorted({_seedless(stage) for stage in telling}))
        raise AccordError("The study makes nothing that this objective could be read from.", where=where,
                          got=repr(objective), wanted=wanted)  # fmt: skip
    wanted = f"{name}:METRIC, where METRIC is {nearest(metric, known[targets[0].kind])}"
    raise AccordError("This stage has no such metric.", where=where, got=repr(objective), wanted=wanted)


def read(targets: Sequence[Stage], objective: str, at: Callable[[Stage], Path]) -> float:
    """The objective's value, the mean over its stages; `at` says where a stage's folder is.

    Raises AccordError where a stage has no value for it.
    """
    metric = objective.partition(":")[2]
    values = list(_values(targets, metric, at))
    return math.fsum(values) / len(values)


def _values(targets: Sequence[Stage], metric: str, at: Callable[[Stage], Path]) -> Iterator[float]:
    for stage in targets:
        path = at(stage) / "metrics.json"
        value = read_object(path, metric)[metric]
        value = value["value"] if isinstance(value, dict) else value
        if value is None:
            raise AccordError("The objective is not defined here.", where=path, got=f"{metric}: null")
        yield float(value)


def _seedless(stage: Stage) -> str:
    return stage.name if stage.kind == "gap" else re.sub(rf"-s{stage.recipe.seed}$", "", stage.name)
