"""A forecast: what the items that a repair would learn from say of what it will reach, before it is made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accord.arguments import checked
from accord.forecasting.logged_runs import logged, predict, record
from accord.forecasting.pairs import ordered_pairs, ordered_within
from accord.forecasting.readable import read_held_out
from accord.forecasting.result import RepairForecast
from accord.forecasting.training import check_task, training_items
from accord.forecasting.turned import turned_pairs
from accord.gap.measure import measure_gap
from accord.gap.metrics import PAIRED, summarize
from accord.gap.result import Gap
from accord.gap.ridge import FOLDS
from accord.gap.sample import prompt_numbers, sample
from accord.gap.states import validator_states
from accord.intervals import Estimate, Floats, Interval, unknown
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.tasks import Task
from accord.tasks.splits import held_apart

KNOWS = 0.95  # of what is above chance at the best layer
_TEACHERS = {"g2v": "generator_logodds", "v2g": "validator_logodds"}
_READ = {
    "readout_r": PAIRED["pearson_all"],
    "readout_r_yes": PAIRED["pearson_yes"],
    "readout_r_no": PAIRED["pearson_no"],
    "readout_auc": PAIRED["validator_auc"],
}
_R = {"readout_r": _READ["readout_r"]}


@checked
def forecast(
    lm: LanguageModel,
    task: Task | str | Path | Mapping[str, Any],
    *,
    negated: bool = False,
    seed: int = 0,
    resamples: int = 1000,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> RepairForecast:
    """Will a repair help? What can be told of it from the items that it would learn from, before any is made.

    >>> lm = accord.load("smollm2-135m")
    >>> told = accord.forecast(lm, accord.task("hypernymy", split="train", limit=12), resamples=0)
    >>> told.metrics["g2v_right"]["value"]
    1.0

    How often each form, as a teacher, orders a right and a wrong answer rightly; at which layer each knows; how well
    l_G can be read from the validator's state, of prompts or groups of items held out; what correcting for typicality
    would turn; and the closure that the logged runs let expect.

        lm = accord.load("smollm2-135m")
        told = accord.forecast(lm, accord.task("hypernymy", split="train", limit=400))
        told.metrics["g2v_right"], told.metrics["closure_readout"]

    Args:
        task: its training side; of a name, task file or table, that which `accord repair` takes, 400 items of it.
        negated: also tell what correcting by the negated prompt would change, at the cost of a pass over the items.
        seed: what is held out.
        resamples: 0 for no intervals of what is read by layer; any other number for them.
        parts: a folder for finished parts; what is whole there already is not computed again.
        progress: called with (steps done, steps in all).

    Raises:
        AccordError: the items are not a training side, or fewer than eight; the validator chooses among labels; or as
            `accord.measure_gap`.
    """
    task = task if isinstance(task, Task) else training_items(task, limit=400)
    check_task(task, negated=negated)
    n = len(task.items)
    gap = measure_gap(
        lm,
        task,
        layers=True,
        lens=False,
        typicality=("own", "negated") if negated else ("own",),
        resamples=resamples,
        parts=parts,
        progress=None if progress is None else lambda done, total: progress(done, 2 * total),
    )
    told = None if progress is None else lambda done, total: progress(n + n * done // max(1, total), 2 * n)
    states = validator_states(lm, task, range(lm.n_layers + 1), progress=told)
    whole = sample(gap.scores)
    groups, held_out = held_apart(task, FOLDS)
    held = read_held_out(states, gap.scores["generator_logodds"].to_numpy(float), groups, seed=seed)
    items = gap.scores.assign(read=held.best, read_at=held.layer)
    pairs = _pairs(gap.scores)
    layers = _layers(gap, held.by_layer, resamples)
    about = {
        "model": lm.name,
        "task": task.name,
        "items": n,
        "right": whole.n_yes,
        "held_out": held_out,
        "prompts": whole.prompts,
        "answer_score": gap.answer_score,
    }
    read = _read(gap.scores, held.best, resamples)
    metrics = {**_shares(pairs), **_first_layers(layers), **read, **_closures(read["readout_r"])}
    told_by_others = pd.concat([record(repair) for repair in sorted(set(logged()["repair"]))], ignore_index=True)
    return RepairForecast(about, items, pairs, layers, turned_pairs(gap.scores), told_by_others, metrics)


def _pairs(scores: pd.DataFrame) -> pd.DataFrame:
    gold = scores["gold"].to_numpy(dtype=bool)
    prompts = prompt_numbers(scores)
    assert prompts is not None  # a score table has them
    tables = []
    for direction, name in _TEACHERS.items():
        teacher = scores[name].to_numpy(dtype=float)
        scopes = {"all": ordered_pairs(teacher, gold), "within": ordered_within(teacher, gold, prompts)}
        for scope, table in scopes.items():
            if scope == "all" or len(table):
                tables.append(table.assign(direction=direction, scope=scope))
    found = pd.concat(tables, ignore_index=True)
    return found[["direction", "scope", *(name for name in found if name not in ("direction", "scope"))]]


def _layers(gap: Gap, read: Mapping[int, Floats], resamples: int) -> pd.DataFrame:
    assert gap.layer_metrics is not None
    lens = gap.layer_metrics[gap.layer_metrics["metric"].isin(("generator_auc", "validator_auc"))]
    rows = []
    for layer, values in read.items():
        read_there = gap.scores.assign(validator_logodds=values)
        metric = summarize(read_there, _R, resamples=resamples)["readout_r"]
        rows.append((layer, "readout_r", *(metric[end] for end in ("value", "low", "high"))))
    own = pd.DataFrame(rows, columns=list(lens.columns)).astype({"value": float, "low": float, "high": float})
    return pd.concat([lens, own], ignore_index=True)


def _read(scores: pd.DataFrame, read: Floats, resamples: int) -> dict[str, Interval]:
    measured = summarize(scores.assign(validator_logodds=read), _READ, resamples=resamples)
    return {name: measured[name] for name in _READ}


def _shares(pairs: pd.DataFrame) -> dict[str, Interval]:
    """The share of all pairs that each teacher orders rightly, over all items and within prompts."""
    found = {}
    for direction in _TEACHERS:
        for scope in ("all", "within"):
            rows = pairs[(pairs["direction"] == direction) & (pairs["scope"] == scope) & (pairs["bin"] == 0)]
            if len(rows):
                row = rows.iloc[0]
                each = Estimate(float(row["value"]), float(row["low"]), float(row["high"]))
            elif scope == "all":
                each = unknown("all items are of one gold class")
            else:
                continue
            found[f"{direction}_right" + ("_within" if scope == "within" else "")] = each.interval()
    return found


def _first_layers(layers: pd.DataFrame) -> dict[str, Interval]:
    found = {}
    for form in ("generator", "validator"):
        own = layers[layers["metric"] == f"{form}_auc"].set_index("layer").sort_index()
        first = first_that_knows(own)
        each = unknown("no layer is above chance") if first is None else Estimate(float(first))
        found[f"{form}_layer"] = each.interval()
    return found


def first_that_knows(auc: pd.DataFrame) -> int | None:
    """The first layer with 95 % of what is above chance at the best one; None where the best is not above chance.

    Args:
        auc: value and low of an AUC, by layer.

    >>> first_that_knows(pd.DataFrame({"value": [0.5, 0.79, 0.8], "low": [0.4, 0.7, 0.7]}, index=[0, 1, 2]))
    1
    """
    known = auc[auc["value"].notna()]
    if known.empty:
        return None
    best = known.iloc[int(known["value"].to_numpy().argmax())]
    if not (best["value"] if np.isnan(best["low"]) else best["low"]) > 0.5:
        return None
    enough = known["value"] - 0.5 >= KNOWS * (best["value"] - 0.5)
    return int(known.index[int(enough.to_numpy().argmax())])


def _closures(readout_r: Interval) -> dict[str, Interval]:
    """What each kind of repair that was logged is expected to close."""
    found = {}
    for repair in sorted(set(logged()["repair"])):
        r = readout_r["value"]
        told = unknown("what is read does not vary") if r is None else predict(r, repair)
        found[f"closure_{repair}"] = told.interval()
    return found
