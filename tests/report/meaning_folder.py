"""A made-up run of what concepts mean and do: dictionaries, steering and explanations, as their stages write them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.report.run_folder import publish_result

from accord.explain.ablation_check import in_numbers
from accord.explain.result import Explanation
from accord.names.result import NamedDictionary
from accord.names.scores import TASKS, summarise
from accord.steering.result import Effects

WORDS = ("bee", "quiet", "film", "river", "sugar", "window", "proud", "engine", "seven", "paper", "cold", "violin")
NAMES = ("small insects", "silence", "cinema", "running water", "sweetness", "openings", "pride", "machines")


def write_names(run: Path, name: str = "lcblm-s0", concepts: int = 60, **options: Any) -> NamedDictionary:
    """`make_names`, as a stage; those without a name are listed as failures."""
    dictionary = make_names(name, concepts, **options)
    unnamed = dictionary.concepts.loc[dictionary.concepts["name"].isna(), "concept"]
    failures = "".join(
        json.dumps({"key": f"name:{k}", "reason": f"broken JSON {k}", "attempts": 2}) + "\n" for k in unnamed
    )
    publish_result(run, "names", name, dictionary, files={"failures.jsonl": failures})
    return dictionary


def make_names(
    name: str = "lcblm-s0", concepts: int = 60, *, gain: float = 0.15, words: tuple[str, ...] = WORDS,
    names: tuple[str, ...] = NAMES, scored: bool = True, metrics: dict[str, Any] | None = None,
) -> NamedDictionary:  # fmt: skip
    """A dictionary of `concepts` concepts, two thirds named; concept k fires on words k, k + 1, …"""
    rng = np.random.default_rng(0)
    word = [words[k % len(words)] for k in range(concepts + 12)]
    rate = np.exp(rng.uniform(np.log(0.001), np.log(0.2), concepts))
    named = np.arange(concepts) % 3 != 2
    table = pd.DataFrame(
        {
            "concept": np.arange(concepts), "rate": rate, "rate_held_out": rate, "count": (rate * 1e5).astype(int),
            "mean": rng.uniform(1, 4, concepts), "max": rng.uniform(5, 9, concepts),
            "histogram": [[3, 9, 20, 11, 2]] * concepts, "edges": [[1.0, 1.5, 2.0, 4.0, 6.0, 9.0]] * concepts,
            "types": [_tokens(word[k : k + 6], share=0.1, usual=0.01, strength=2.0) for k in range(concepts)],
            "promoted": [_tokens([f" {w}" for w in word[k + 1 : k + 6]], id=7, change=1.2) for k in range(concepts)],
            "suppressed": [_tokens(word[k + 6 : k + 11], id=8, change=-0.8) for k in range(concepts)],
            "neighbours": [[{"concept": (k + j) % concepts, "cosine": 0.5 - j / 10} for j in (1, 2)]
                           for k in range(concepts)],
            "label_on": rng.uniform(-0.2, 0.2, concepts), "label_off": 0.0, "label_t": rng.normal(0, 4, concepts),
            "label_texts": 120,
            "name": [f"{names[k % len(names)]} {k}" if named[k] else None for k in range(concepts)],
            "alternatives": [["another name"] if named[k] else None for k in range(concepts)],
            "no_name": [None if named[k] else "broken JSON" for k in range(concepts)],
        }
    )  # fmt: skip
    summary: dict[str, Any] = {}
    if scored:
        scores = pd.DataFrame(index=pd.Index(np.flatnonzero(named), name="concept"))
        for task in TASKS:
            for end in ("", "_auc"):
                scores[f"{task}{end}"] = np.clip(rng.normal(0.5 + gain, 0.12, len(scores)), 0, 1)
                scores[f"{task}{end}_shuffled"] = np.clip(rng.normal(0.5, 0.12, len(scores)), 0, 1)
        table = table.merge(scores.reset_index(), on="concept", how="left")
        summary = summarise(scores)
    counts = {"live": concepts, "asked": concepts, "named": int(named.sum()), "failed": int((~named).sum())}
    about = {"concepts": name, "annotator": "tokens", "seed": 0}
    return NamedDictionary(table, _examples(concepts, word), {**about, **counts, **summary, **(metrics or {})})


def _tokens(words: list[str], **numbers: float) -> list[dict[str, Any]]:
    return [{"token": w, **numbers} for w in words]


def _examples(concepts: int, word: list[str]) -> pd.DataFrame:
    kinds = [("top", 0)] * 4 + [("quantile", band) for band in (1, 2, 3, 4)] + [("text", 0), ("on", 0)]
    rows = [
        (
            k, "held_out" if kind == "on" else "train", kind, band, 5.0 - i / 2, i, 4,
            f" {word[k + i]}" * (kind != "text"),
            f"Example {i} of {k}: we saw the {word[k + 2]} and then a", f" near the {word[k + 3]}, too.",
        )
        for k in range(concepts) for i, (kind, band) in enumerate(kinds)
    ]  # fmt: skip
    names = ["concept", "side", "kind", "band", "strength", "text", "position", "token", "before", "after"]
    return pd.DataFrame(rows, columns=names)


DOSES = (("factor", 0.0), ("factor", 2.0), ("typical", 4.0), ("added", 2.0), ("added", 4.0))


def write_steering(run: Path, name: str = "lcblm-s0", concepts: int = 20, **options: Any) -> Effects:
    """`make_effects`, as a stage."""
    effects = make_effects(name, concepts, **options)
    publish_result(run, "steering", name, effects)
    return effects


def make_effects(
    name: str = "lcblm-s0", concepts: int = 20, *, works: float = 0.9, floats: int = 16,
    prompts: tuple[str, ...] = ("The film was", "I saw it and"), about: dict[str, Any] | None = None,
) -> Effects:  # fmt: skip
    """Effects of which the share `works` of concepts act as expected and a tenth of the controls do."""
    rng = np.random.default_rng(1)
    rows, texts = [], []
    for k in range(concepts):
        for kind, dose in DOSES:
            sign = -1 if (kind, dose) == ("factor", 0.0) else 1
            rows += _effects(rng, k, kind, dose, "promoted", sign, works)
    for k in range(2):
        for kind, dose in DOSES:
            for measure, sign in (("wanted", 1), ("label", 1), ("repeated_4", 0)):
                rows += _effects(rng, k, kind, dose, measure, sign, works)
            for control in ("concept", "random concept", "random direction"):
                texts += [_text(k, kind, dose, control, prompt) for prompt in prompts]
    texts = [_text(None, None, None, "none", prompt) for prompt in prompts] + texts
    table = pd.DataFrame(rows).astype({"acts": "boolean"})
    table["per_float"] = table["value"] / floats
    facts = {
        "name": name.rpartition("-")[0], "floats_per_concept": floats, "active_floats_per_token": 8.0 * floats,
        "label": "sentiment", "written": [{"concept": k, "promoted": list(WORDS[k : k + 4])} for k in range(2)],
    }  # fmt: skip
    typical = pd.DataFrame({"concept": range(concepts), "rate": 0.1, "mean": 2.0, "p99": 5.0, "association": 0.3})
    return Effects(table, texts, facts | (about or {}), typical)


def _effects(
    rng: np.random.Generator, k: int, kind: str, dose: float, measure: str, sign: int, works: float
) -> list[dict[str, Any]]:
    rows = []
    for control in ("concept", "random concept", "random direction"):
        own = control == "concept"
        acts = bool(rng.random() < (works if own else 0.1)) if sign else None
        value = (sign or 0.1) * (1.5 if own else 0.1) + rng.normal(0, 0.2)
        numbers = {"value": value, "low": value - 0.3, "high": value + 0.3, "n": 50, "level": -9.0}
        about = {
            "concept": k,
            "random_concept": k + 100,
            "kind": kind,
            "dose": dose,
            "control": control,
            "measure": measure,
        }
        rows.append({**about, **numbers, "expected": sign, "acts": acts})
        if not own:
            rows.append({**about, "control": f"concept over {control}", **numbers, "expected": sign, "acts": None})
    return rows


def _text(k: int | None, kind: str | None, dose: float | None, control: str, prompt: str) -> dict[str, Any]:
    text = f" {control} wrote this after {kind} {dose}."
    return {"concept": k, "kind": kind, "dose": dose, "control": control, "prompt": prompt, "index": 0, "text": text,
            "label": 0.25, "repeated_4": 0.0}  # fmt: skip


def write_explanation(run: Path, name: str = "lcblm-s0", **options: Any) -> Explanation:
    """`make_explanation`, as a stage."""
    explanation = make_explanation(**options)
    publish_result(run, "explain", name, explanation)
    return explanation


def make_explanation(
    *, effect: float = 0.2, items: int = 60, candidates: int = 24, draws: int = 20, answers: tuple[str, ...] = WORDS,
    foretold: dict[str, float | None] | None = None,
) -> Explanation:  # fmt: skip
    """A check in which the found sets change r by ±`effect` and random ones by nearly nothing."""
    rng = np.random.default_rng(2)
    pull = np.sort(rng.normal(0, 0.03, candidates))
    concepts = pd.DataFrame(
        {
            "concept": rng.permutation(candidates), "generator_rate": rng.uniform(0, 1, candidates),
            "generator_share": rng.normal(0, 0.04, candidates), "validator_rate": rng.uniform(0, 1, candidates),
            "validator_share": rng.normal(0, 0.04, candidates), "pull": pull, "low": pull - 0.02, "high": pull + 0.02,
        }
    )  # fmt: skip
    contributions = [
        (i, form, int(k), 2.0, float(rng.normal()))
        for i in range(items) for form in ("generator", "validator") for k in rng.permutation(candidates)[:5]
    ]  # fmt: skip
    table = pd.DataFrame(contributions, columns=["item", "form", "concept", "strength", "contribution"])
    answer = [answers[i % len(answers)] for i in range(items)]
    scores = pd.DataFrame(
        {
            "gold": np.arange(items) % 2 == 0, "answer": answer,
            "generator_prompt": [f"Item {i}: a bee is a kind of" for i in range(items)],
            "validator_prompt": [f"Is item {i}, a bee, a kind of {a}? Answer:" for i, a in enumerate(answer)],
            "generator_logodds": rng.normal(-3, 2, items), "validator_logodds": rng.normal(1, 2, items),
        }
    )  # fmt: skip
    check = pd.DataFrame(
        [
            _checked(what, draw, sign * effect if draw < 0 else rng.normal(0, 0.02))
            for what, sign in (("against", 1), ("for", -1), ("largest", 1)) for draw in range(-1, draws)
        ]
    )  # fmt: skip
    errors = foretold or {"pearson": 0.98, "mean_error": 0.005, "mean_size": 0.03}
    summary = {"layer": 30, "items": items, "candidates": candidates, "checked_items": items // 2,
               "approximation": {"generator": errors, "validator": errors}, "check": in_numbers(check)}  # fmt: skip
    return Explanation(concepts, table, scores, check, summary)


def checked_otherwise(explanation: Explanation, **changed: dict[str, float]) -> Explanation:
    """The same with other numbers of a set's check: `against={"low": 0.1}`."""
    check = {what: numbers | changed.get(what, {}) for what, numbers in explanation.summary["check"].items()}
    return replace(explanation, summary={**explanation.summary, "check": check})


def _checked(what: str, draw: int, value: float) -> dict[str, Any]:
    ends = {
        f"{m}{end}": value + d for m in ("change", "moved") for end, d in (("", 0.0), ("_low", -0.1), ("_high", 0.1))
    }
    return {"what": what, "draw": draw, "concepts": [1, 2, 3], **ends}
