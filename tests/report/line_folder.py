"""A made-up run of the concept line: concept models, heads, texts and their judgement, seed by seed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from tests.report.run_folder import publish_result

from accord.concepts.result import ConceptMetrics
from accord.embeddings.result import Embeddings
from accord.heads.result import HeadMetrics
from accord.perplexity.result import JudgedTexts, WrittenTexts
from accord.study.run_folder import Run

# name -> (kind, R², R² hard, L0, CE recovered, CE recovered hard)
MODELS: dict[str, tuple[str, float, float, float, float, float]] = {
    "topk": ("topk", 0.58, 0.58, 32.0, 0.75, 0.75),
    "lcblm": ("lcblm", 0.60, 0.59, 10.3, 0.77, 0.76),
}
STEPS = 4000
WORDS = ["the", "film", "is", "a", "quiet", "and", "moving", "story", "about", "people", "who", "never", "find", "what"]
CORPUS = {"texts": 5000, "tokens": 120000, "rejected": {"empty": 3, "too long": 1}}
BEGUN = "2025-11-21T10:00:00+00:00"
Measured = ConceptMetrics | HeadMetrics | JudgedTexts


def write_line(run: Path, seeds: Iterable[int] = (0, 1, 2), models: Sequence[str] = ("topk", "lcblm"), *,
               without: str = "") -> Path:  # fmt: skip
    """All stages of the line in `run`, but those of one kind; returns it."""
    seeds = list(seeds)
    if without != "embeddings":
        write_corpus(run, CORPUS)
    for k, name in enumerate(models if without != "concepts" else ()):
        for seed in seeds:
            write_concepts(run, name, seed, begun=f"2025-11-21T10:0{k}:0{seed}+00:00")
    rows = ["backbone", "finetuned", "new"]
    rows += [f"{m}-{p}" for m in models for p in ("latents-new", "reconstruction-original", "reconstruction-new")]
    for i, row in enumerate([*rows, "random"]):
        for seed in seeds:
            write_row(run, row, i, seed, without=without)
    return run


def write_corpus(run: Path, corpus: dict[str, Any], **published: Any) -> Path:
    return publish_result(run, "embeddings", "", Embeddings(run / "embeddings", corpus), **published)


def write_concepts(
    run: Path, name: str, seed: int, *, layer: int = 30, suffix: str = "", begun: str = BEGUN, trained: bool = True,
    **changed: Any,
) -> None:  # fmt: skip
    kind, r2, hard, l0, ce, ce_hard = MODELS.get(name, ("l1", 0.5, 0.5, 60.0, 0.6, 0.6))
    rng = np.random.default_rng(seed + 100 * len(name))
    shift = float(rng.normal() * 0.004)
    metrics = {
        "r2": r2 + shift, "fvu": 1 - r2 - shift, "r2_hard": hard + shift, "l0": l0 + 20 * shift * (kind != "topk"),
        "alive": 0.93 + shift, "ce_recovered": ce + shift, "ce_recovered_hard": ce_hard + shift,
        "parameters": 2_361_920, "seconds": 61.2 + 300 * shift,
        "kind": kind, "layer": layer, "seed": seed, "name": name,
    }  # fmt: skip
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
    model = ConceptMetrics(metrics | changed, pd.DataFrame(rows) if trained else None)
    write_measured(run, "concepts", f"{name}{suffix}-s{seed}", model, begun=begun)


def write_row(run: Path, row: str, i: int, seed: int, *, without: str = "", **changed: Any) -> None:
    """The head of a row, its texts and what the judge makes of them, but for one of these kinds."""
    rng = np.random.default_rng(1000 * seed + i)
    label, random = f"{row}-s{seed}", row == "random"
    judged = 61000.0 if random else 18 + 6 * i + float(rng.normal())
    metrics = {
        "row": row, "seed": seed, "judge": "gemma3-270m", "judge_mean": judged, "judge_mean_low": judged * 0.9,
        "judge_mean_high": judged * 1.12, "judge_weighted": judged * 0.93,
        "own_perplexity": None if random else 30.0 if i == 0 else 32 + 9 * i + float(rng.normal()),
        "distinct_1": 0.31, "distinct_2": 0.74 - 0.01 * i, "distinct_3": 0.9, "repeated_4": 0.02 + 0.03 * (i % 4),
        "n": 100, "unscored": 0,
    }  # fmt: skip
    if without != "perplexity":
        write_measured(run, "perplexity", label, JudgedTexts(metrics | changed))
    texts = [
        {"row": row, "seed": seed, "index": k, "text": " ".join(rng.choice(WORDS, 40)), "tokens": 60 + k,
         "finished": k % 2 == 0}
        for k in range(8)
    ]  # fmt: skip
    if without != "texts":
        write_texts(run, label, texts)
    if random or row == "backbone" or without == "heads":
        return
    head = {
        "row": row, "concepts": row.split("-")[0] if "-" in row else None, "reads": "latents", "head": "new",
        "layer": 30, "seed": seed, "held_out_ce": 3.4 + 0.1 * i, "start_ce": 5.0, "unigram_ce": 6.4, "seconds": 40.0,
    }  # fmt: skip
    curve = [
        {"step": s, "loss": 3.0, "seconds": s / 10, "held_out_ce": 3.4 + 0.1 * i + 2 * math.exp(-s / 100)}
        for s in range(50, 501 - 50 * seed, 50)
    ]  # fmt: skip
    trained = None if row.endswith("original") else pd.DataFrame(curve)
    write_measured(run, "heads", label, HeadMetrics(head, trained))


def write_texts(run: Path, label: str, rows: Sequence[dict[str, Any]]) -> None:
    publish_result(run, "texts", label, WrittenTexts(pd.DataFrame(rows)), settings={"rows": list(rows)})


def write_measured(run: Path, kind: str, label: str, result: Measured, *, begun: str = BEGUN) -> None:
    """A stage with metrics, in place of the one that is there; its metrics are its settings, so that others differ."""
    curve = getattr(result, "curve", None)
    files = {} if curve is None else {"curve.jsonl": curve.to_json(orient="records", lines=True)}
    with mock.patch("accord.study.store._now", return_value=begun):
        publish_result(run, kind, label, result, settings=dict(result.metrics), files=files)


def change(run: Path, stage: str, **changed: Any) -> None:
    """Other numbers in the metrics of a stage."""
    before = Run(run)
    result, (kind, _, label) = before[stage], stage.partition("/")
    changed_result = replace(result, metrics={**result.metrics, **changed})
    write_measured(run, kind, label, changed_result, begun=before.manifests[stage]["started"])


def stages_of(run: Path, kind: str) -> list[str]:
    """Names of the stages of a kind."""
    return [name for name in Run(run) if name.startswith(f"{kind}/")]
