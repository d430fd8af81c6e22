"""How often 95 % intervals cover the truth, by simulation: measures × sizes × shapes, as a table in Markdown.

    python scripts/coverage.py                        the table of docs/intervals.md, 1,000 sets each (an hour)
    python scripts/coverage.py --sets 50              quick
    python scripts/coverage.py --save now.json --before then.json     with another run's numbers beside them

Every set is drawn from a known distribution, measured by the functions that studies use, and counted: is the truth in
the interval, how wide is it, is there one? For families of concepts, all must hold at once. One process, one thread.
"""

import argparse
import importlib
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr
from scipy.stats import rankdata

from accord.damage.changes import Changes
from accord.damage.measures import fact_rows, free_rows
from accord.damage.observed import TaskAnswers
from accord.gap.metrics import MEASURES, WITHIN, sample, summarize
from accord.intervals import concordance, concordance_estimate
from accord.pathway.cka import linear_cka
from accord.pathway.concept_changes import concept_changes
from accord.pathway.patching import recovered

comparing: Any = importlib.import_module("accord.gap.change")

Rng = np.random.Generator
Found = dict[str, tuple[float, float, float]]
"""What was measured -> low, high, truth; nan where there is no interval."""
Case = tuple[str, int, Callable[[Rng], Found]]
"""Shape, units, one set."""
SIZES = (20, 40, 100, 400)
_MANY = 400_000  # of a sample that stands for the population

NOISES: dict[str, Callable[[Rng, Any], Any]] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "t with 3 df": lambda rng, size: rng.standard_t(3, size) / math.sqrt(3),
    "exponential": lambda rng, size: rng.exponential(1, size) - 1,
}


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000, help="sets drawn for each row; fewer for families")
    parser.add_argument("--only", default="", help="cases whose shape or measure has this in its name")
    parser.add_argument("--save", type=Path, help="write the numbers here, as JSON")
    parser.add_argument("--before", type=Path, help="numbers of another run, shown beside")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[float]] = {}
    for shape, n, draw in cases():
        if arguments.only in shape:
            for name, row in simulate(draw, sets_of(shape, arguments.sets)).items():
                rows[f"{name} | {shape} | {n}"] = row
                print(f"{name} | {shape} | {n}", row, file=sys.stderr, flush=True)
    if arguments.save:
        arguments.save.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    before = json.loads(arguments.before.read_text(encoding="utf-8")) if arguments.before else {}
    print("\n".join(table(rows, before)))


def sets_of(shape: str, sets: int) -> int:
    """Families and texts take long, so they get a third of the sets."""
    return max(1, sets // 3) if shape.startswith(("concepts", "texts", "states")) else sets


def simulate(draw: Callable[[Rng], Found], sets: int) -> dict[str, list[float]]:
    """Measure -> share of the intervals that cover, their median width, share of sets without an interval."""
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for i in range(sets):
        for name, ends in draw(np.random.default_rng([i, 7])).items():
            found[name].append(ends)
    rows = {}
    for name, several in found.items():
        low, high, truth = np.array(several).T
        known = ~np.isnan(low)
        covers = (low[known] <= truth[known] + 1e-9) & (truth[known] - 1e-9 <= high[known])
        width = float(np.median((high - low)[known])) if known.any() else math.nan
        rows[name] = [float(covers.mean()) if known.any() else math.nan, width, float(1 - known.mean())]
    return rows


def table(rows: dict[str, list[float]], before: dict[str, list[float]]) -> Iterator[str]:
    """Lines of Markdown, a line a measure and shape, with all its sizes."""
    sizes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in rows:
        measure, shape, n = name.split(" | ")
        sizes[measure, shape].append(n)
    yield "| measure | shape | n |" + (" before |" if before else "") + " covers | width | without |"
    yield "| --- | --- | --- |" + (" --- |" if before else "") + " --- | --- | --- |"
    for (measure, shape), several in sizes.items():
        own = [rows[f"{measure} | {shape} | {n}"] for n in several]
        old = [before.get(f"{measure} | {shape} | {n}", [math.nan])[0] for n in several]
        cells = [measure, shape, ", ".join(several)]
        cells += [" ".join(map(_share, old))] if before else []
        cells += [
            " ".join(_share(row[0]) for row in own),
            " ".join("–" if math.isnan(row[1]) else f"{row[1]:.2g}" for row in own),
        ]
        cells.append(" ".join(_share(row[2]) for row in own) if any(row[2] for row in own) else "")
        yield f"| {' | '.join(cells)} |"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".removeprefix("0")


def cases() -> Iterator[Case]:
    """All rows of the table."""
    for name, noise in NOISES.items():
        for n in SIZES:
            yield f"{name}, one class", n, _correlated(noise, n, r=0.5, shift=0.0)
            yield f"{name}, classes 2 sd apart", n, _correlated(noise, n, r=0.5, shift=2.0)
            yield f"{name}, r .9", n, _correlated(noise, n, r=0.9, shift=0.0)
            yield f"{name}, paired", n, _compared(noise, n, before=0.1, after=0.8)
            yield f"{name}, paired, no change", n, _compared(noise, n, before=0.5, after=0.5)
    for share in (0.5, 0.2):
        for n in (10, 20, 60):
            yield f"prompts of 10 answers, {share:.0%} right", n, _prompts(n, share)
    for right, wrong in ((0.8, 0.8), (0.95, 0.95), (0.98, 0.98), (0.95, 0.3)):
        for n in SIZES:
            yield f"right {right} and {wrong}", n, _accuracy(n, right, wrong)
    for apart in (0.0, 1.0, 2.0, 3.0):
        for n in SIZES:
            yield f"normal, {apart:g} sd apart", n, _area(n, apart, share=0.5)
    yield "normal, 1 sd apart, 1 of 8 yes", 40, _area(40, 1.0, share=1 / 8)
    for shape, of in UNIT.items():
        for n in SIZES:
            yield shape, n, _bounded(of, n)
    for n in (40, 100, 400):
        yield "facts, none changed but by noise", n, _facts(n, 0.0)
        yield "facts, answers got worse", n, _facts(n, 0.5)
    for n in (20, 60):
        yield "texts, as repetitive", n, _texts(n, 0.05, 0.05)
        yield "texts, more repetitive", n, _texts(n, 0.05, 0.3)
    for n in (40, 100):
        yield "states, rotated and noisy", n, _states(n)
    for n in (20, 100):
        yield "patched, effects of unequal size", n, _patched(n)
    for kind in ("normal", "exponential", "on 1 item in 10", "on 1 item in 50"):
        for n, count in ((20, 64), (80, 64), (200, 64), (200, 1024)):
            yield f"concepts: {count}, {kind}", n, _concepts(kind, n, count)


UNIT: dict[str, Callable[[Rng, int], Any]] = {
    "mass near 1": lambda rng, n: rng.beta(20, 0.5, n),
    "mass anywhere": lambda rng, n: rng.beta(0.5, 0.5, n),
    "ranks near 3": lambda rng, n: 1 / np.ceil(np.exp(rng.normal(1, 1.5, n))),
    "ranks mostly 1": lambda rng, n: 1 / np.ceil(np.exp(rng.normal(-2, 1.5, n))),
    "ranks near 150": lambda rng, n: 1 / np.ceil(np.exp(rng.normal(5, 2.5, n))),
}


def scores(gold: Any, generator: Any, validator: Any, rank: Any = 1, mass: Any = 0.9) -> pd.DataFrame:
    """A score table."""
    n = len(gold)
    prompts = {f"{form}_prompt": [f"{form}{i}" for i in range(n)] for form in ("generator", "validator")}
    numbers = {"generator_logodds": generator, "validator_logodds": validator, "generator_rank": rank}
    return pd.DataFrame({"gold": gold, **numbers, "yes_no_mass": mass, **prompts, "answer": "a"})


def _ends(interval: dict[str, Any], truth: float) -> tuple[float, float, float]:
    low, high = (math.nan if interval[end] is None else float(interval[end]) for end in ("low", "high"))
    return low, high, truth


def _only(*names: str) -> dict[str, Any]:
    return {name: MEASURES[name] for name in names}


def _correlated(noise: Callable[[Rng, Any], Any], n: int, r: float, shift: float) -> Callable[[Rng], Found]:
    def pair(rng: Rng, n: int) -> tuple[Any, Any, Any]:
        gold = np.arange(n) % 2 == 0
        x, y = noise(rng, (2, n))
        return gold, x + shift * gold, r * x + math.sqrt(1 - r * r) * y + shift * gold

    _, x, y = pair(np.random.default_rng(0), _MANY)
    between = shift**2 / 4
    truth = {"pearson": (r + between) / (1 + between), "spearman": float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])}
    names = {"pearson_all": truth["pearson"], "spearman_all": truth["spearman"], "pearson_yes": r}
    alike = float(concordance(x[:5_000], y[:5_000]))

    def draw(rng: Rng) -> Found:
        gold, own_x, own_y = pair(rng, n)
        found = summarize(scores(gold, own_x, own_y), _only(*names))
        first = np.argsort(~gold, kind="stable")
        ordered = concordance_estimate(own_x[first], own_y[first], [slice(0, gold.sum()), slice(gold.sum(), None)])
        concordant = {"concordance": _ends(ordered.interval(), alike)}
        return {name: _ends(found[name], true) for name, true in names.items()} | concordant

    return draw


def _prompts(n: int, share: float) -> Callable[[Rng], Found]:
    """Prompts on levels of their own, some of which the model knows better than others."""

    def draw_table(rng: Rng, n: int) -> pd.DataFrame:
        gold = np.tile(np.arange(10) < 10 * share, n)
        prompt = np.repeat(np.arange(n), 10)
        level, known = rng.normal(0, 3, n)[prompt], rng.normal(1.5, 0.7, n)[prompt]
        generator = level + known * gold + rng.standard_normal(10 * n)
        validator = 0.5 * (generator - level) + rng.standard_normal(10 * n)
        return scores(gold, generator, validator).assign(generator_prompt=prompt)

    many = sample(draw_table(np.random.default_rng(0), 20_000))
    truth = {name: float(measure(many)) for name, measure in WITHIN.items()}

    def draw(rng: Rng) -> Found:
        found = summarize(draw_table(rng, n), WITHIN)
        return {name: _ends(found[name], true) for name, true in truth.items()}

    return draw


def _compared(noise: Callable[[Rng, Any], Any], n: int, before: float, after: float) -> Callable[[Rng], Found]:
    def draw(rng: Rng) -> Found:
        gold, (g, one, more) = np.arange(n) % 2 == 0, noise(rng, (3, n))
        other = 0.7 * one + math.sqrt(1 - 0.7**2) * more
        v = [r * g + math.sqrt(1 - r * r) * e for r, e in ((before, one), (after, other))]
        comparing.MEASURES = _only("pearson_all")  # the others take time
        found = comparing.compare(*(scores(gold, g, side) for side in v))["pearson_all"]
        change = _ends(found.change, after - before)
        return {"change of pearson": change, "closure": _ends(found.closure or {}, (after - before) / (1 - before))}

    return draw


def _accuracy(n: int, right: float, wrong: float) -> Callable[[Rng], Found]:
    def draw(rng: Rng) -> Found:
        gold = np.arange(n) % 2 == 0
        chance = np.where(gold, right, wrong)
        first = rng.random(n) < chance
        again = np.where(rng.random(n) < 0.7, first, rng.random(n) < chance)
        tables = [scores(gold, rng.standard_normal(n), np.where(hit == gold, 1.0, -1.0)) for hit in (first, again)]
        comparing.MEASURES = _only("validator_accuracy")
        found = comparing.compare(*tables)["validator_accuracy"]
        return {"accuracy": _ends(found.before, (right + wrong) / 2), "change of accuracy": _ends(found.change, 0.0)}

    return draw


def _area(n: int, apart: float, share: float) -> Callable[[Rng], Found]:
    def draw(rng: Rng) -> Found:
        gold = np.arange(n) < round(share * n)
        v = rng.standard_normal(n) + apart * gold
        after = apart * gold + 0.8 * (v - apart * gold) + 0.6 * rng.standard_normal(n)
        comparing.MEASURES = _only("validator_auc")
        found = comparing.compare(*(scores(gold, v, side) for side in (v, after)))["validator_auc"]
        return {"auc": _ends(found.before, float(ndtr(apart / math.sqrt(2)))), "change of auc": _ends(found.change, 0)}

    return draw


def _bounded(of: Callable[[Rng, int], Any], n: int) -> Callable[[Rng], Found]:
    truth = float(of(np.random.default_rng(0), 10 * _MANY).mean())

    def draw(rng: Rng) -> Found:
        found = summarize(scores(np.ones(n, bool), np.zeros(n), np.zeros(n), 1 / of(rng, n)), _only("mrr_yes"))
        return {"mean of [0, 1]": _ends(found["mrr_yes"], truth)}

    return draw


def _facts(n: int, worse: float) -> Callable[[Rng], Found]:
    """Log-probabilities of a right and a wrong answer, and log-odds of yes, before and after."""

    def asked(rng: Rng, n: int) -> list[TaskAnswers]:
        own = rng.normal(0, 1, n)
        clear = np.stack([own + rng.normal(1.5, 1, n), own + rng.normal(0, 1, n)], 1)
        after = clear + rng.normal(0, 0.4, (n, 2)) - worse * np.array([1, 0])
        sides = [side.ravel() for side in (clear, after)]
        return [TaskAnswers(side - 5, side, 1 / (1 + np.exp(-side)), {}) for side in sides]

    names = ("true_beats_false", "answer_probability", "answer_margin", "validator_auc", "yes_share", "yes_no_mass")

    def rows(answers: list[TaskAnswers], resamples: int) -> pd.DataFrame:
        changes = Changes(seed=0, resamples=resamples)
        fact_rows(changes, "g", answers[:1], answers[1:])
        return changes.table().set_index("measure").loc[list(names)]

    truth = dict(rows(asked(np.random.default_rng(0), _MANY // 2), 0)["change"].items())

    def draw(rng: Rng) -> Found:
        found = rows(asked(rng, n), 1000)
        return {f"change of {name}": (row["low"], row["high"], truth[name]) for name, row in found.iterrows()}

    return draw


_DIVERSITY = ("distinct_1", "distinct_2", "distinct_3", "repeated_4")


def _changes(table: pd.DataFrame, truth: Any) -> Found:
    return {f"change of {name}": (float(row["low"]), float(row["high"]), truth[name]) for name, row in table.iterrows()}


def _texts(n: int, before: float, after: float) -> Callable[[Rng], Found]:
    """Zipf texts that fall into a loop of five words half way, with a probability."""
    chance = 1 / np.arange(1, 2001)
    chance = chance / chance.sum()

    def write(rng: Rng, loops: float) -> list[str]:
        words = rng.choice(2000, (n, 60), p=chance)
        stuck = rng.random(n) < loops
        words[stuck, 30:] = np.tile(words[stuck, 25:30], 6)
        return [" ".join(map(str, row)) for row in words]

    def rows(rng: Rng, resamples: int) -> pd.DataFrame:
        sides = [
            pd.DataFrame({"text": write(rng, loops), "tokens": 60, "judge_tokens": 0, "judge_nll": 0.0})
            for loops in (before, after)
        ]
        changes = Changes(seed=0, resamples=resamples)
        free_rows(changes, sides[0], sides[1])
        return changes.table().set_index("measure").drop("tokens")

    several = [rows(np.random.default_rng([i, 3]), 0)["change"] for i in range(400)]
    truth = {name: 0.0 if before == after else float(np.mean([one[name] for one in several])) for name in _DIVERSITY}

    def draw(rng: Rng) -> Found:
        return _changes(rows(rng, 1000), truth)

    return draw


def _states(n: int) -> Callable[[Rng], Found]:
    mix = np.random.default_rng(1).standard_normal((16, 16)) / 4

    def cka(rng: Rng, resamples: int) -> dict[str, Any]:
        x = rng.standard_normal((n, 16)) * np.linspace(0.3, 2, 16)
        y = x @ mix + 0.7 * rng.standard_normal((n, 16))
        return linear_cka(torch.from_numpy(x), torch.from_numpy(y), resamples=resamples)

    truth = float(np.mean([cka(np.random.default_rng([i, 3]), 0)["value"] for i in range(2000)]))
    return lambda rng: {"CKA at n": _ends(cka(rng, 1000), truth)}


def _patched(n: int) -> Callable[[Rng], Found]:
    def draw(rng: Rng) -> Found:
        full = rng.standard_t(4, n)
        moved = (0.4 + 0.2 * rng.standard_normal(n)) * full + 0.1 * rng.standard_normal(n)
        numbers = {"receiver": 0.0, "donor": full, "patched": moved}
        found = recovered(pd.DataFrame({"item": range(n), "layer": 1, "what": "states", **numbers})).iloc[0]
        return {"recovered effect": (found["low"], found["high"], 0.4)}

    return draw


class _Strengths:
    """A concept model whose strengths are the states themselves."""

    device = "cpu"

    def __init__(self, K: int) -> None:
        self.K = K

    def receive(self, x: Any) -> Any:
        return (x,)

    def encode(self, x: Any) -> Any:
        return SimpleNamespace(strength=x)


def _concepts(kind: str, n: int, count: int) -> Callable[[Rng], Found]:
    """Coverage of all at once: 1 in the interval [0, 1] if every interval there is holds its mean, else not."""
    share = {"on 1 item in 10": 0.1, "on 1 item in 50": 0.02}.get(kind, 0.0)

    def draw(rng: Rng) -> Found:
        if kind == "normal":
            changes = 0.5 * rng.standard_normal((n, 1)) + math.sqrt(0.75) * rng.standard_normal((n, count))
        elif kind == "exponential":
            changes = rng.exponential(1, (n, count)) - 1
        else:
            changes = (rng.random((n, count)) < share) * (1 + 0.3 * rng.standard_normal((n, count)))
        states = torch.zeros(n, count, dtype=torch.float64), torch.from_numpy(changes)
        model: Any = _Strengths(count)
        found: Any = concept_changes(model, *states)
        known = found[found["low"].notna()]
        held = bool(((known["low"] <= share + 1e-9) & (share - 1e-9 <= known["high"])).all())
        nothing = math.nan if known.empty else 0.0
        return {"all intervals at once": (nothing, 1.0, 0.5 if held else 2.0)}

    return draw


if __name__ == "__main__":
    start = time.monotonic()
    main()
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
