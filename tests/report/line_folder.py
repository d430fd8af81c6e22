"""A made-up run of the concept line on disk: concept models, heads, texts and their judgement, seed by seed."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# name -> (kind, R², R² hard, L0, CE recovered, CE recovered hard)
MODELS: dict[str, tuple[str, float, float, float, float, float]] = {
    "topk": ("topk", 0.58, 0.58, 32.0, 0.75, 0.75),
    "lcblm": ("lcblm", 0.60, 0.59, 10.3, 0.77, 0.76),
}
STEPS = 4000
WORDS = ["the", "film", "is", "a", "quiet", "and", "moving", "story", "about", "people", "who", "never", "find", "what"]


def write_line(run: Path, seeds: Iterable[int] = (0, 1, 2), models: Sequence[str] = ("topk", "lcblm")) -> Path:
    """All stages of the line in `run`; returns it."""
    seeds = list(seeds)
    put(run / "embeddings" / "corpus.json", {"texts": 5000, "tokens": 120000, "rejected": {"empty": 3, "too long": 1}})
    for k, name in enumerate(models):
        for seed in seeds:
            write_concepts(run, name, seed, started=f"2025-11-21T10:0{k}:0{seed}Z")
    rows = ["backbone", "finetuned", "new"]
    rows += [f"{m}-{p}" for m in models for p in ("latents-new", "reconstruction-original", "reconstruction-new")]
    for i, row in enumerate([*rows, "random"]):
        for seed in seeds:
            write_row(run, row, i, seed)
    return run


def write_concepts(
    run: Path, name: str, seed: int, *, layer: int | str = 30, suffix: str = "", started: str = "", **changed: Any
) -> Path:
    kind, r2, hard, l0, ce, ce_hard = MODELS.get(name, ("l1", 0.5, 0.5, 60.0, 0.6, 0.6))
    rng = np.random.default_rng(seed + 100 * len(name))
    shift = float(rng.normal() * 0.004)
    folder = run / "concepts" / f"{name}{suffix}-s{seed}"
    metrics = {
        "r2": r2 + shift, "fvu": 1 - r2 - shift, "r2_hard": hard + shift, "l0": l0 + 20 * shift * (kind != "topk"),
        "alive": 0.93 + shift, "ce_recovered": ce + shift, "ce_recovered_hard": ce_hard + shift,
        "parameters": 2_361_920, "seconds": 61.2 + 300 * shift,
        "kind": kind, "layer": layer, "seed": seed, "name": name,
    }  # fmt: skip
    put(folder / "metrics.json", metrics | changed)
    put(folder / "manifest.json", {"started": started})
    rows = []
    for step in range(50, STEPS + 1, 50):
        row = {
            "step": step,
            "lr": 1e-3,
            "loss": math.exp(-step / 500) + 0.4,
            "mse": 0.4 + 0.01 * seed,
            "seconds": step / 65,
        }
        row |= {"rate": 0.2 * math.exp(-step / 900), "entropy": 0.0} if kind == "lcblm" else {"aux": 1 / step}
        if step % 250 == 0:
            fvu = (1 - r2) + 0.6 * math.exp(-step / 600) - shift
            row |= {"fvu": fvu, "fvu_hard": fvu + (r2 - hard) + 0.2 * (hard < r2) * math.exp(-step / 800), "l0": l0}
            row |= {"alive": 0.9}
        rows.append(row)
    put_rows(folder / "curve.jsonl", rows)
    return folder


def write_row(run: Path, row: str, i: int, seed: int) -> None:
    rng = np.random.default_rng(1000 * seed + i)
    random = row == "random"
    judged = 61000.0 if random else 18 + 6 * i + float(rng.normal())
    metrics = {
        "row": row, "seed": seed, "judge": "gemma3-270m", "judge_mean": judged, "judge_mean_low": judged * 0.9,
        "judge_mean_high": judged * 1.12, "judge_weighted": judged * 0.93,
        "own_perplexity": None if random else 30.0 if i == 0 else 32 + 9 * i + float(rng.normal()),
        "distinct_1": 0.31, "distinct_2": 0.74 - 0.01 * i, "distinct_3": 0.9, "repeated_4": 0.02 + 0.03 * (i % 4),
        "n": 100, "unscored": 0,
    }  # fmt: skip
    put(run / "perplexity" / f"{row}-s{seed}" / "metrics.json", metrics)
    texts = [
        {"row": row, "seed": seed, "index": k, "text": " ".join(rng.choice(WORDS, 40)), "tokens": 60 + k,
         "finished": k % 2 == 0}
        for k in range(8)
    ]  # fmt: skip
    put_rows(run / "texts" / f"{row}-s{seed}" / "texts.jsonl", texts)
    if random or row == "backbone":
        return
    head = {
        "row": row, "concepts": row.split("-")[0] if "-" in row else None, "reads": "latents", "head": "new",
        "layer": 30, "seed": seed, "held_out_ce": 3.4 + 0.1 * i, "start_ce": 5.0, "unigram_ce": 6.4, "seconds": 40.0,
    }  # fmt: skip
    folder = run / "heads" / f"{row}-s{seed}"
    put(folder / "metrics.json", head)
    if not row.endswith("original"):
        curve = [
            {"step": s, "loss": 3.0, "seconds": s / 10, "held_out_ce": 3.4 + 0.1 * i + 2 * math.exp(-s / 100)}
            for s in range(50, 501 - 50 * seed, 50)
        ]  # fmt: skip
        put_rows(folder / "curve.jsonl", curve)


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def put_rows(path: Path, rows: Iterable[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def change(folder: Path, **changed: object) -> None:
    """Other numbers in a metrics.json; None of the key's values means null."""
    path = folder / "metrics.json"
    put(path, json.loads(path.read_text()) | changed)


def drop(folder: Path, key: str) -> None:
    path = folder / "metrics.json"
    content = json.loads(path.read_text())
    del content[key]
    put(path, content)
