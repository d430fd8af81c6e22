"""The objective of a search: a metric of the stages that differ in their seed only, and what must run for it."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from accord.disk import read_object
from accord.errors import AccordError, nearest
from accord.gap.metrics import MEASURES
from accord.study.stage import Stage

# What metrics.json tells, by kind of stage.
METRICS: dict[str, tuple[str, ...]] = {
    "gap": tuple(MEASURES),
    "concepts": (
        "r2", "fvu", "r2_hard", "l0", "alive", "parameters", "ce_recovered", "ce_recovered_hard", "ce_original",
        "ce_ablated", "seconds",
    ),
    "heads": ("held_out_ce", "start_ce", "unigram_ce", "seconds"),
    "perplexity": (
        "judge_mean", "judge_mean_low", "judge_mean_high", "judge_weighted", "own_perplexity", "distinct_1",
        "distinct_2", "distinct_3", "repeated_4", "unscored",
    ),
}  # fmt: skip


def target(stages: Sequence[Stage], objective: str, where: str) -> list[Stage]:
    """The stages that an objective (STAGE:METRIC) is read from, one a seed.

    Raises AccordError, with the nearest that there is, if the stages make no such thing.
    """
    name, _, metric = objective.partition(":")
    found = [stage for stage in stages if stage.kind in METRICS and _seedless(stage) == name]
    if found and metric in METRICS[found[0].kind]:
        return found
    names = sorted({_seedless(stage) for stage in stages if stage.kind in METRICS})
    if not found:
        wanted = "STAGE:METRIC, where STAGE is " + nearest(name, names)
        raise AccordError("The study makes nothing that this objective could be read from.", where=where,
                          got=repr(objective), wanted=wanted)  # fmt: skip
    wanted = f"{name}:METRIC, where METRIC is {nearest(metric, METRICS[found[0].kind])}"
    raise AccordError("This stage has no such metric.", where=where, got=repr(objective), wanted=wanted)


def needed(stages: Sequence[Stage], targets: Sequence[Stage]) -> list[Stage]:
    """Of all stages, in their order, those that the targets are made from, and the targets.

    A stage names the fingerprints of its inputs in its recipe.
    """
    kept = set(map(id, targets))
    for stage in reversed(stages):  # inputs come before what is made from them
        if id(stage) in kept:
            told = json.dumps(stage.recipe.settings)
            kept |= {id(other) for other in stages if other.recipe.fingerprint in told}
    return [stage for stage in stages if id(stage) in kept]


def read(targets: Sequence[Stage], objective: str, at: Callable[[str], Path]) -> float:
    """The objective's value, the mean over its stages; `at` says where a stage is.

    Raises AccordError where a stage could not tell it.
    """
    metric = objective.partition(":")[2]
    values = list(_values(targets, metric, at))
    return math.fsum(values) / len(values)


def _values(targets: Sequence[Stage], metric: str, at: Callable[[str], Path]) -> Iterator[float]:
    for stage in targets:
        path = at(stage.name) / "metrics.json"
        value = read_object(path, metric)[metric]
        value = value["value"] if isinstance(value, dict) else value
        if value is None:
            raise AccordError("The objective is not defined here.", where=path, got=f"{metric}: null")
        yield float(value)


def _seedless(stage: Stage) -> str:
    return stage.name if stage.kind == "gap" else re.sub(rf"-s{stage.recipe.seed}$", "", stage.name)
