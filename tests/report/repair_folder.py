"""A made-up run of repairs on disk: base scores, verdicts (by the real comparison), damage, pathways, curves."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.report.conftest import make_scores
from tests.report.line_folder import WORDS, put, put_rows

from accord.gap.change import compare
from accord.verdict.measure import Verdict

BASE = "base-hypernymy"
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
    "dpo-g2v": Made("dpo", 0.62, 1.083, 0.5, 150.0),
    "calibrate": Made("calibrate", math.nan, 1.0, -0.9, 1.2, seeds=1, trained=False),
    "steering": Made("surgery", 0.35, 1.032, 0.2, 4.0, seeds=1, trained=False),
}


def write_repairs(
    run: Path,
    made: dict[str, Made] | None = None,
    *,
    trials: Sequence[str] = tuple(TITLES),
    n: int = 511,
    parts: Sequence[str] = ("damage", "pathway"),
    resamples: int = 100,
) -> Path:
    """The whole run folder; returns it."""
    base = {name: make_scores(n if name == "test" else n // 2, seed=i) for i, name in enumerate(trials)}
    write_tables(run / "verdict" / BASE, base)
    put(run / "verdict" / BASE / "manifest.json", {"started": "2025-11-21T10:00:00Z"})
    for k, (name, one) in enumerate((MADE if made is None else made).items()):
        for seed in range(one.seeds):
            started = {"started": f"2025-11-21T10:{k + 10}:0{seed}Z"}
            write_repair(run, name, one, seed, base, started, resamples)
            if "damage" in parts:
                write_damage(run / "damage" / f"{name}-s{seed}", one, seed)
            if "pathway" in parts:
                write_pathway(run / "pathway" / f"{name}-s{seed}", one, seed)
    return run


def write_repair(
    run: Path, name: str, one: Made, seed: int, base: dict[str, pd.DataFrame], started: dict[str, str], resamples: int
) -> None:
    folder = run / "repair" / f"{name}-s{seed}"
    about = {"kind": one.kind, "name": name, "seed": seed, "settings": {"steps": 60, "lr": 3e-4}}
    put(folder / "repair.json", {"format": "accord.repair", "version": 1, "about": about})
    put(folder / "manifest.json", started)
    if one.trained:
        rng = np.random.default_rng(seed)
        losses = 0.25 + 0.5 * np.exp(-np.arange(60) / 15) + 0.05 * rng.normal(size=60)
        put_rows(folder / "curve.jsonl", [{"step": i + 1, "loss": x, "seconds": 2.2 * i} for i, x in enumerate(losses)])
    after = {t: repaired(scores, one, SHARES[t], 100 * seed + i) for i, (t, scores) in enumerate(base.items())}
    changes = {t: compare(scores, after[t], resamples=resamples) for t, scores in base.items()}
    verdict = run / "verdict" / f"{name}-s{seed}"
    Verdict(changes, {t: TITLES[t] for t in base}, {t: len(s) for t, s in base.items()}, after).write(verdict)
    change_verdict(
        verdict, repair=name, kind=one.kind, seed=seed, base=BASE, task="hypernymy", seconds=one.seconds + seed
    )


def repaired(scores: pd.DataFrame, one: Made, share: float, seed: int) -> pd.DataFrame:
    """The validator follows the generator with about r = `one.r` · `share`; a NaN r leaves it as it was, shifted."""
    rng, g = np.random.default_rng(seed), scores["generator_logodds"].to_numpy()
    v = scores["validator_logodds"].to_numpy()
    if math.isfinite(one.r):
        r, z = one.r * share, (g - g.mean()) / g.std()
        v = (
            1.6 * (r * z + math.sqrt(1 - r * r) * (0.4 * (v - v.mean()) / v.std() + 0.9 * rng.normal(size=len(g))))
            + 0.6
        )
    drift = 0.4 * (one.ratio - 1) * rng.normal(size=len(g)) * 10
    return scores.assign(validator_logodds=v + one.shift, generator_logodds=g + drift)


def damage_table(one: Made, seed: int) -> pd.DataFrame:
    rng, off = np.random.default_rng(seed), one.ratio - 1
    rows: list[dict[str, Any]] = []

    def row(group: str, measure: str, base: float, change: float, worse: str, half: float, ratio: bool = False) -> None:
        none, changed = (1.0, base * change) if ratio else (0.0, base + change)
        low, high = change - half, change + half
        bad = (worse == "higher" and low > none) or (worse == "lower" and high < none)
        rows.append(
            {"group": group, "measure": measure, "base": base, "repaired": changed, "change": change, "low": low,
             "high": high, "n": 200, "change_is": "ratio" if ratio else "difference", "worse_if": worse,
             "worsened": bad}
        )  # fmt: skip

    wobble = 1 + 0.05 * float(rng.normal())
    row("text", "perplexity", 31.7, 1 + off * wobble, "higher", 0.2 * off + 0.0004, ratio=True)
    row("text", "kl_base_repaired", 0.0, 0.8 * off * wobble, "distance", 0.1 * off)
    row("text", "same_top", 1.0, -1.2 * off, "distance", 0.1 * off)
    for group in ("relations", *(f"relations: {name}" for name in RELATIONS)):
        row(group, "validator_same_top", 1.0, -min(0.6, 2 * off + 0.02), "distance", 0.02)
        row(group, "true_beats_false", 0.81, -0.1 * off, "lower", 0.03)
        row(group, "validator_auc", 0.62, 0.05 - off, "lower", 0.03)
        row(group, "yes_share", 0.71, 0.04, "neither", 0.03)
    row("own task", "generator_auc", 0.92, -0.2 * off, "lower", 0.01)
    row("own task", "generator_moved", 0.0, 4 * off, "higher", 0.3 * off)
    row("free text", "distinct_2", 0.84, -0.3 * off, "lower", 0.02)
    row("free text", "repeated_4", 0.02, 0.4 * off, "higher", 0.02)
    row("free text", "judge_perplexity", 24.0, 1 + 2 * off, "higher", 0.06, ratio=True)
    return pd.DataFrame(rows)


def write_damage(folder: Path, one: Made, seed: int) -> None:
    table, rng = damage_table(one, seed), np.random.default_rng(seed)
    put(folder / "damage.json", {"sentence": f"Got worse: perplexity of held-out text × {one.ratio:.3f}."})
    table.to_parquet(folder / "damage.parquet")
    rows = [
        {
            "prompt": "The film opens with a",
            "base": " ".join(rng.choice(WORDS, 40)),
            "repaired": " ".join(rng.choice(WORDS, 40)),
        }
        for _ in range(6)
    ]
    put_rows(folder / "generations.jsonl", rows)


def write_pathway(folder: Path, one: Made, seed: int, n_layers: int = LAYERS) -> None:
    rng, layers = np.random.default_rng(seed), np.arange(n_layers + 1)
    rise, reach = layers / n_layers, one.r if math.isfinite(one.r) else 0.0
    enters = 1 / (1 + np.exp(-(layers - 7) * 1.5))
    tables: dict[str, list[dict[str, Any]]] = {
        k: [] for k in ("curves", "matrix", "cka", "readout", "patching", "concepts")
    }

    def curve(table: str, values: Iterable[float], half: float, **named: str) -> None:
        for layer, value in zip(layers, values, strict=True):
            value = float(value + 0.006 * rng.normal())
            tables[table].append(
                {**named, "layer": int(layer), "value": value, "low": value - half, "high": value + half}
            )

    for model, k in (("base", 0.0), ("repaired", 1.0)):
        curve("curves", 0.5 + 0.4 * rise**2, 0.03, model=model, metric="generator_auc")
        curve("curves", 0.5 + (0.02 + 0.38 * k * reach) * enters, 0.03, model=model, metric="validator_auc")
        curve("curves", (0.05 + k * reach * 0.9) * enters, 0.05, model=model, metric="pearson_all")
        curve("curves", (0.05 + k * reach * 0.9) * enters, 0.05, model=model, metric="final_pearson_all")
        for i in layers:
            for j in layers:
                r = 0.15 * rise[i] + k * reach * 0.8 * enters[j] * rise[i] + 0.03 * rng.normal()
                tables["matrix"].append({"model": model, "generator_layer": i, "validator_layer": j, "pearson": r})
        for items, level in (("test", 0.87), ("test-unseen-both", 0.68)):
            curve("readout", level * np.minimum(1, 1.6 * rise), 0.03, model=model, items=items, metric="pearson_all")
            curve(
                "readout", 0.8 * level * np.minimum(1, 1.6 * rise), 0.04, model=model, items=items, metric="pearson_yes"
            )
    curve("cka", 1 - 0.3 * reach * enters, 0.01, form="validator")
    curve("cka", 1 - 0.02 * enters, 0.005, form="generator")
    for direction in ("repaired into base", "base into repaired"):
        curve("patching", enters, 0.06, direction=direction, positions="last", what="states")
        curve(
            "patching", 0.02 * rng.normal(size=len(layers)), 0.05, direction=direction, positions="last", what="random"
        )
    for k in range(40):
        change = float(rng.normal() * np.exp(-k / 8))
        tables["concepts"].append(
            {"concept": k, "before": 0.4, "after": 0.4 + change, "change": change, "low": change - 0.1,
             "high": change + 0.1, "certain": abs(change) > 0.1}
        )  # fmt: skip
    put(
        folder / "pathway.json",
        {"sentences": ["The repair enters between layers 6 and 8.", "Random changes carry 3%."]},
    )
    for name, rows in tables.items():
        pd.DataFrame(rows).sort_values(
            "change" if name == "concepts" else list(rows[0])[:1], key=lambda c: -c.abs() if name == "concepts" else c,
            kind="stable",
        ).to_parquet(folder / f"{name}.parquet")  # fmt: skip


def write_tables(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)


def read_verdict(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return found


def change_verdict(folder: Path, **changed: object) -> None:
    """Other top-level keys in a verdict.json."""
    put(folder / "verdict.json", read_verdict(folder) | changed)


def change_measure(folder: Path, trial: str, measure: str, **changed: object) -> None:
    """Other numbers of one measure: `change_measure(f, "test", "pearson_all", closure=[.1, -.1, .3])`."""
    raw = read_verdict(folder)
    for part, numbers in changed.items():
        raw["tests"][trial]["changes"][measure][part] = dict(zip(("value", "low", "high"), numbers, strict=True))  # type: ignore[call-overload]
    put(folder / "verdict.json", raw)
