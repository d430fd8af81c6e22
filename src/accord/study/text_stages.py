"""Stages in which every model of a study writes texts, and a third-party model judges them."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from accord.disk import write_whole
from accord.heads import load_concept_lm
from accord.lm import LanguageModel, generate
from accord.lm.config import BackboneSection
from accord.lm.perplexity import Perplexity, perplexity
from accord.perplexity.config import PerplexitySection
from accord.study.concept_stages import held_out_texts
from accord.study.stage import Progress, Run, Stage, finish, found_by, identity, keep_if_same, write_json
from accord.study.store import Recipe
from accord.text import measure_diversity

TEXTS_VERSION = 1  # raise these when the same settings give other files or numbers
PERPLEXITY_VERSION = 2
TEXTS = "texts.jsonl"
_PART = 32  # texts that a kill can cost


def texts_stage(run: Run, section: PerplexitySection, label: str, name: str, seed: int, model: Stage | None) -> Stage:
    """Let the model of a row write texts from nothing; without a model, draw random tokens."""
    settings = {
        "inputs": [run.identity()["weights"] if model is None else model.recipe.fingerprint],
        "row": name,
        "samples": section.samples,
        "sampling": {"max_new_tokens": section.max_new_tokens} if model is None else section.sampling,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        backbone = run.lm()
        keep_if_same(work, found := found_by(backbone))
        lm = backbone if model is None else load_concept_lm(run.at(model.name), backbone=backbone)
        lines: list[str] = []
        (work / "parts").mkdir(exist_ok=True)
        for first in range(0, section.samples, _PART):
            part = work / "parts" / f"{first:06}.jsonl"
            if not part.exists():
                n = min(_PART, section.samples - first)
                wrote = _random(lm, section, seed, first, n) if model is None else _wrote(lm, section, seed, first, n)
                rows = ({"row": name, "seed": seed, "index": first + i, **text} for i, text in enumerate(wrote))
                write_whole(part, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            lines.append(part.read_text(encoding="utf-8"))
            progress(min(first + _PART, section.samples), section.samples)
        write_whole(work / TEXTS, "".join(lines))
        finish(work, "parts")
        return found

    return Stage(f"texts/{label}-s{seed}", Recipe("texts", TEXTS_VERSION, settings, seed), make)


def _wrote(lm: LanguageModel, section: PerplexitySection, seed: int, first: int, n: int) -> Iterable[dict[str, Any]]:
    for sample in generate(lm, n=n, first=first, seed=seed, batch_size=_PART, **section.sampling):
        yield {"text": sample.text, "tokens": len(sample.ids), "finished": sample.finished}


def _random(lm: LanguageModel, section: PerplexitySection, seed: int, first: int, n: int) -> Iterable[dict[str, Any]]:
    """Any token but the special ones, each as likely as the next: what no model should write like."""
    special = set(lm.tokenizer.all_special_ids)
    ids = np.array([i for i in range(len(lm.tokenizer)) if i not in special])
    for index in range(first, first + n):
        drawn = np.random.default_rng([seed, index]).choice(ids, section.max_new_tokens).tolist()
        yield {"text": str(lm.tokenizer.decode(drawn)), "tokens": len(drawn), "finished": False}


def perplexity_stage(
    run: Run,
    section: PerplexitySection,
    judge: tuple[BackboneSection, Callable[[], LanguageModel]],
    texts: Stage,
    model: Stage | None,
    name: str,
) -> Stage:
    """Have the texts of a row judged, and the row's own model read held-out texts."""
    seed, about = texts.recipe.seed, identity(judge[0])
    settings = {
        "inputs": [stage.recipe.fingerprint for stage in (texts, model) if stage is not None],
        "row": name,
        "judge": about,
        "own_texts": section.own_texts,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lines = (run.at(texts.name) / TEXTS).read_text(encoding="utf-8").splitlines()
        written = [json.loads(line)["text"] for line in lines]
        lm = judge[1]()
        found = perplexity(lm, written, progress=progress)
        metrics = {
            "row": name,
            "seed": seed,
            "judge": about["model"],
            **_judged(found),
            "own_perplexity": None if model is None else _own(run, section, model),
            **measure_diversity(written),
            "n": len(written),
            "unscored": found.unscored,
        }
        write_json(work / "metrics.json", metrics)
        return found_by(lm)

    where = texts.name.replace("texts/", "perplexity/", 1)
    return Stage(where, Recipe("perplexity", PERPLEXITY_VERSION, settings, seed), make)


def _judged(found: Perplexity) -> dict[str, float | None]:
    summary = found.summary()
    mean, weighted = summary["mean"], summary["token_weighted"]
    return {
        "judge_mean": mean["value"],
        **{f"judge_mean_{end}": None if math.isnan(mean[end]) else mean[end] for end in ("low", "high")},
        "judge_weighted": weighted["value"],
    }


def _own(run: Run, section: PerplexitySection, model: Stage) -> float:
    """Of all tokens of the held-out texts together, under the row's own model."""
    lm = load_concept_lm(run.at(model.name), backbone=run.lm())
    return perplexity(lm, held_out_texts(run)[: section.own_texts]).token_weighted
