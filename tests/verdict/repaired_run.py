"""A made-up run of repairs: base answers, verdicts (by the real comparison), damage, pathways, training curves."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.report.run_folder import publish_result

from accord.damage.changes import Changes
from accord.damage.result import FREE_COLUMNS, Damage
from accord.damage.wording import sentence
from accord.gap.change import compare
from accord.intervals import Estimate
from accord.pathway.result import Pathway
from accord.pathway.tables import BASE, INTO_BASE, INTO_REPAIRED, LAST, REPAIRED
from accord.verdict.result import Answers, Verdict

TITLES = {
    "test": "test items",
    "test-unseen-hypernyms": "unseen categories",
    "test-unseen-both": "unseen words",
    "generator-typical": "generator worded “typical”",
    "validator-is-it-true": "validator worded “is-it-true”",
    "task-trivia": "task trivia",
}
SHARES = {"test": 1.0, "test-unseen-hypernyms": 0.85, "test-unseen-both": 0.7, "generator-typical": 0.9,
          "validator-is-it-true": 0.8, "task-trivia": 0.15}  # fmt: skip
LAYERS = 12
RELATIONS = ("part-whole", "synonym", "antonym", "capital-country")
WORDS = ["the", "film", "is", "a", "quiet", "and", "moving", "story", "about", "people", "who", "never", "find", "what"]


@dataclass(frozen=True)
class Made:
    """One made-up repair: correlation that it reaches on test items, perplexity ratio, shift of the yes threshold."""

    kind: str
    r: float
    ratio: float
    shift: float
    seconds: float
    seeds: int = 3
    trained: bool = True


MADE = {
    "rankalign": Made("rankalign", 0.90, 1.021, 0.4, 132.0),
    "readout": Made("readout", 0.88, 1.004, 0.1, 9.0, seeds=1, trained=False),
    "sft-union": Made("sft", 0.30, 1.38, -0.2, 140.0),
}


def write_run(
    run: Path,
    made: Mapping[str, Made] = MADE,
    *,
    trials: Sequence[str] = tuple(TITLES),
    n: int = 120,
    kinds: Sequence[str] = ("repair", "verdict", "damage", "pathway"),
) -> Path:
    """A whole run folder with stages of these kinds; returns it."""
    base = {name: make_scores(n if name == "test" else n // 2, seed=i) for i, name in enumerate(trials)}
    publish_result(run, "answers", "hypernymy", Answers(base))
    for name, recipe in made.items():
        for seed in range(recipe.seeds):
            write_repair(run, name, recipe, seed, base, kinds)
    return run


def write_repair(
    run: Path, name: str, recipe: Made, seed: int, base: Mapping[str, pd.DataFrame], kinds: Sequence[str]
) -> None:
    """The stages of one seed."""
    label = f"{name}-s{seed}"
    if "repair" in kinds:
        publish_result(run, "repair", label, None, files=record(name, recipe, seed))
    after = {t: repaired(scores, recipe, SHARES[t], 100 * seed + i) for i, (t, scores) in enumerate(base.items())}
    if "verdict" in kinds:
        publish_result(run, "verdict", label, make_verdict(name, recipe, seed, base, after))
    if "damage" in kinds:
        publish_result(run, "damage", label, make_damage(recipe, seed))
    if "pathway" in kinds:
        publish_result(run, "pathway", label, make_pathway(recipe, seed))


def record(name: str, recipe: Made, seed: int) -> dict[str, str]:
    """The files of a repaired model that say how it was made."""
    about = {"kind": recipe.kind, "name": name, "seed": seed, "settings": {"steps": 60, "lr": 3e-4}}
    files = {"repair.json": json.dumps({"about": about, "change": {"kind": "adapter"}, "base": {"model": "m"}})}
    if recipe.trained:
        losses = 0.25 + 0.5 * np.exp(-np.arange(60) / 15) + 0.05 * np.random.default_rng(seed).normal(size=60)
        files["curve.jsonl"] = "".join(json.dumps({"step": i + 1, "loss": x}) + "\n" for i, x in enumerate(losses))
    return files


def make_verdict(
    name: str, recipe: Made, seed: int, base: Mapping[str, pd.DataFrame], after: Mapping[str, pd.DataFrame]
) -> Verdict:
    about = {"repair": name, "kind": recipe.kind, "seed": seed, "task": "hypernymy", "base": "hypernymy",
             "seconds": recipe.seconds + seed}  # fmt: skip
    changes = {trial: compare(scores, after[trial]) for trial, scores in base.items()}
    return Verdict(changes, {t: TITLES[t] for t in base}, {t: len(s) for t, s in base.items()}, after, about)


def make_scores(n: int, seed: int = 0) -> pd.DataFrame:
    """Items that the generator tells apart and the validator does not."""
    rng = np.random.default_rng(seed)
    shots = "Do you think apples are a kind of fruit? Answer: Yes\nDo you think cars are a kind of bird? Answer: No\n"
    rows = []
    for i in range(n):
        gold, group = i % 2 == 0, str(rng.choice(["insect", "fruit", "vehicle", "musical instrument"]))
        own, both = rng.normal(size=2)
        g = -6 + 2.5 * gold + 1.6 * own + 0.3 * both
        rows.append(
            {
                "group": group, "gold": gold, "answer": group, "generator_prompt": f"x{i}s are a kind of",
                "validator_prompt": f"{shots}Do you think x{i}s are a kind of {group}? Answer:",
                "generator_logodds": g, "validator_logodds": 0.9 + 0.2 * gold + 0.8 * both - 0.2 * own,
                "generator_rank": int(max(1, np.exp(-0.9 * g - 1.5))), "yes_no_mass": float(rng.uniform(0.9, 1)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def repaired(scores: pd.DataFrame, recipe: Made, share: float, seed: int) -> pd.DataFrame:
    """The validator follows the generator with about r = `one.r` · `share`; a NaN r leaves it as it was, shifted."""
    rng, g = np.random.default_rng(seed), scores["generator_logodds"].to_numpy()
    v = scores["validator_logodds"].to_numpy()
    if math.isfinite(recipe.r):
        r, z = recipe.r * share, (g - g.mean()) / g.std()
        noise = 0.4 * (v - v.mean()) / v.std() + 0.9 * rng.normal(size=len(g))
        v = 1.6 * (r * z + math.sqrt(1 - r * r) * noise) + 0.6
    drift = 4 * (recipe.ratio - 1) * rng.normal(size=len(g))
    return scores.assign(validator_logodds=v + recipe.shift, generator_logodds=g + drift)


def make_damage(recipe: Made, seed: int) -> Damage:
    """Everything got worse with the perplexity."""
    rng, off = np.random.default_rng(seed), recipe.ratio - 1
    changes, wobble = Changes(seed, 1000), 1 + 0.05 * float(rng.normal())

    def row(group: str, measure: str, base: float, change: float, worse: Any, half: float, ratio: bool = False) -> None:
        sides = base, base * change if ratio else base + change
        changes.add(group, measure, sides, Estimate(change, change - half, change + half), 200, worse, ratio=ratio)

    row("text", "perplexity", 31.7, 1 + off * wobble, "higher", 0.2 * off + 0.0004, ratio=True)
    row("text", "kl_base_repaired", 0.0, 0.8 * off * wobble, "distance", 0.1 * off)
    row("text", "same_top", 1.0, -1.2 * off, "distance", 0.1 * off)
    for group in ("relations", *(f"relations: {name}" for name in RELATIONS)):
        row(group, "validator_same_top", 1.0, -min(0.6, 2 * off + 0.02), "distance", 0.02)
        row(group, "true_beats_false", 0.81, -0.1 * off, "lower", 0.03)
        row(group, "validator_auc", 0.62, 0.05 - off, "lower", 0.03)
        row(group, "yes_share", 0.71, 0.04, "neither", 0.03)
    row("own task", "generator_auc", 0.92, -0.2 * off, "lower", 0.01)
    row("own task", "generator_moved", 0.0, 4 * off, "distance", 0.3 * off)
    row("free text", "distinct_2", 0.84, -0.3 * off, "lower", 0.02)
    row("free text", "judge_perplexity", 24.0, 1 + 2 * off, "higher", 0.06, ratio=True)
    texts = [("The film opens with a", *(" ".join(rng.choice(WORDS, 40)) for _ in range(2))) for _ in range(6)]
    table = changes.table()
    words = sentence(table[~table["measure"].str.endswith("same_top")])  # which has no divergence beside it here
    return Damage(table, words, pd.DataFrame(), pd.DataFrame(), pd.DataFrame(texts, columns=FREE_COLUMNS))


def make_pathway(recipe: Made, seed: int = 0, layers: int = LAYERS) -> Pathway:
    """The repair enters about layer 7."""
    rng, at = np.random.default_rng(seed), np.arange(layers + 1)
    rise, reach = at / layers, recipe.r if math.isfinite(recipe.r) else 0.0
    enters = 1 / (1 + np.exp(-(at - 7) * 1.5))
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("curves", "matrix", "cka", "readout", "patching")}

    def curve(table: str, values: Iterable[float], half: float, **named: str) -> None:
        for layer, value in zip(at, values, strict=True):
            value = float(value + 0.006 * rng.normal())
            ends = {"value": value, "low": value - half, "high": value + half}
            tables[table].append({**named, "layer": int(layer), **ends})

    for model, k in ((BASE, 0.0), (REPAIRED, 1.0)):
        curve("curves", 0.5 + 0.4 * rise**2, 0.03, model=model, metric="generator_auc")
        curve("curves", 0.5 + (0.02 + 0.38 * k * reach) * enters, 0.03, model=model, metric="validator_auc")
        for name in ("all", "yes", "no"):
            r = (0.05 + k * reach * 0.9) * enters
            curve("curves", r, 0.05, model=model, metric=f"final_pearson_{name}")
        for i in at:
            for j in at:
                r = 0.15 * rise[i] + k * reach * 0.8 * enters[j] * rise[i] + 0.03 * rng.normal()
                tables["matrix"].append({"model": model, "generator_layer": i, "validator_layer": j, "pearson": r})
        curve("readout", 0.6 * rise, 0.0, model=model, items="train", metric="explained")
        for items, level in (("test", 0.87), ("test-unseen-both", 0.68)):
            curve("readout", level * np.minimum(1, 1.6 * rise), 0.03, model=model, items=items, metric="pearson_all")
    curve("cka", 1 - 0.3 * reach * enters, 0.01, form="validator")
    curve("cka", 1 - 0.02 * enters, 0.005, form="generator")
    for direction in (INTO_BASE, INTO_REPAIRED):
        curve("patching", enters, 0.06, direction=direction, positions=LAST, what="states")
        curve("patching", 0.02 * rng.normal(size=layers + 1), 0.05, direction=direction, positions=LAST, what="random")
    change = rng.normal(size=40) * np.exp(-np.arange(40) / 8)
    concepts = pd.DataFrame({"concept": np.arange(40), "before": 0.4, "after": 0.4 + change, "change": change,
                             "low": change - 0.1, "high": change + 0.1, "certain": np.abs(change) > 0.1})  # fmt: skip
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return Pathway({"tests": ["test", "test-unseen-both"]}, **frames, patched=pd.DataFrame(), concepts=concepts)
