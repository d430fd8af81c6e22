"""Stages that turn concepts off and up and measure what it does: one for each concept model."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from accord.concepts import load as load_concepts
from accord.disk import write_whole
from accord.embeddings.config import TextSection
from accord.errors import AccordError
from accord.lm import LanguageModel
from accord.lm.config import BackboneSection
from accord.steering import (
    NEUTRAL,
    Dose,
    Effects,
    Reading,
    Scorer,
    Sentiment,
    Target,
    Typical,
    Writing,
    associated,
    equal_rates,
    fit_classifier,
    measure_typical,
    pick,
    promoted,
    promoted_effects,
    promoted_labels,
    store_means,
    token_labels,
    written_effects,
)
from accord.steering.config import SteeringSection
from accord.study.concept_stages import (
    HELD_OUT,
    ROWS_AT_ONCE,
    TRAIN,
    held_out_texts,
    open_store,
    texts_table,
)
from accord.study.stage import Progress, Run, Stage, finish, found_by, identity, keep_if_same
from accord.study.store import Recipe
from accord.text import in_order

STEERING_VERSION = 3  # raise it when the same settings give other files or numbers

Judge = tuple[BackboneSection, Callable[[], LanguageModel]]


def steering_stage(
    run: Run,
    section: SteeringSection,
    about: tuple[str, int, int],
    embeddings: Stage,
    concepts: Stage,
    judge: Judge | None = None,
) -> Stage:
    """Measure what steering does with a concept model, spliced into the backbone at its layer.

    Args:
        about: its name in the study, its layer's number, and its seed.
        concepts: the stage that makes it.
        judge: which model judges the texts, and a function that loads it; as `section.judge` asks.
    """
    title, layer, seed = about
    settings = {
        "inputs": [embeddings.recipe.fingerprint, concepts.recipe.fingerprint],
        "section": section.model_dump(exclude={"concepts", "judge"}),
        "judge": identity(judge[0]) if judge else None,
        "layer": layer,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.lm()
        keep_if_same(work, found := found_by(lm))
        target = Target.of(lm, load_concepts(run.at(concepts.name), lm.device), layer, section.keep_error)
        labels = _labels(run, section, TRAIN) if section.written else None
        typical = measure_typical(
            target.concepts,
            in_order(open_store(run, TRAIN), layer, ROWS_AT_ONCE),
            None if labels is None else lambda text: labels[text.cpu()],
        )
        typical.table().to_parquet(work / "typical.parquet", index=False)
        doses = [Dose("factor", one) for one in section.factors]
        doses += [Dose("typical", one) for one in section.strengths]
        doses += [Dose("added", one) for one in section.added]
        parts = work / "parts"
        rows, tokens = _read(run, section, target, typical, doses, seed, parts, progress)
        texts: list[dict[str, Any]] = []
        described: dict[str, Any] = {"name": title, "kind": target.concepts.settings()["model"]["kind"]}
        described |= {"layer": layer, "seed": seed, "keep_error": section.keep_error, "tokens": typical.tokens}
        if section.written:
            writing = _writing(run, section, layer, seed, judge)
            chosen = _chosen(run, section, target, typical)
            more, texts = _write(section, target, typical, writing, chosen, doses, seed, parts, progress)
            rows += more
            words = _words(lm, promoted(target, typical, list(chosen), target.concepts.mean[None], n=section.promoted))
            about_chosen = [
                {"concept": k, "score": score, "rate": float(typical.rate[k]), "promoted": words[str(k)]}
                for k, score in chosen.items()
            ]
            described |= {"label": writing.scorer.name, "by": section.by, "written": about_chosen}
            described["scorer_accuracy"] = getattr(writing.scorer, "accuracy", None)
        Effects.of(rows, texts, typical, {**described, "promoted": _words(lm, tokens)}).write(work)
        finish(work, "parts")
        return found

    name = concepts.name.replace("concepts/", "steering/", 1)
    return Stage(name, Recipe("steering", STEERING_VERSION, settings, seed), make)


def check_steering(section: SteeringSection, text: TextSection) -> None:
    """AccordError for what can be told before anything is made: texts can be steered only toward a label."""
    if section.written and text.label is None:
        raise AccordError(
            "Concepts are steered toward a label, and the texts have none.",
            where="[steering] written",
            got=section.written,
            fix='name a column of labels: [text] label = "sentiment"; or set written = 0',
        )


def _read(
    run: Run,
    section: SteeringSection,
    target: Target,
    typical: Typical,
    doses: list[Dose],
    seed: int,
    parts: Path,
    progress: Progress,
) -> tuple[list[dict[str, Any]], dict[int, list[int]]]:
    """Effects on promoted tokens, and which these are; a concept that is in the folder of parts is not done again."""
    chosen = pick(typical, section.number, seed)
    first = next(in_order(open_store(run, TRAIN), target.layer, ROWS_AT_ONCE)).x
    tokens = promoted(target, typical, chosen, first, n=section.promoted)
    length = open_store(run, HELD_OUT).layout.settings["max_length"]
    reading = Reading.of(target, held_out_texts(run)[: section.texts], max_length=length)
    options: dict[str, Any] = {"places": section.places, "seed": seed, "states": first}
    others = equal_rates(typical, chosen, seed)
    rows = []
    for done, (concept, own) in enumerate(tokens.items(), 1):
        measure = partial(promoted_effects, reading, typical, {concept: own}, others, doses, **options)
        rows += _kept(parts / f"promoted-{concept}.json", measure)
        progress(done, len(tokens))
    return rows, tokens


def _write(
    section: SteeringSection,
    target: Target,
    typical: Typical,
    writing: Writing,
    chosen: dict[int, float],
    doses: list[Dose],
    seed: int,
    parts: Path,
    progress: Progress,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Effects on texts, and the texts."""
    directions = {k: 1 if score > 0 else -1 for k, score in chosen.items()}
    others = equal_rates(typical, list(directions), seed)
    options: dict[str, Any] = {"seed": seed}
    rows: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    for done, (concept, way) in enumerate(directions.items(), 1):
        measure = partial(written_effects, target, typical, writing, {concept: way}, others, doses, **options)
        own, wrote = _kept(parts / f"written-{concept}.json", measure)
        rows += own
        texts += [text for text in wrote if done == 1 or text["control"] != "none"]  # the unsteered ones once
        progress(done, len(directions))
    return rows, texts


def _kept(place: Path, make: Callable[[], Any]) -> Any:
    """What an interrupted stage has made already, or `make` it."""
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        write_whole(place, json.dumps(make(), ensure_ascii=False))
    return json.loads(place.read_text(encoding="utf-8"))


def _chosen(run: Run, section: SteeringSection, target: Target, typical: Typical) -> dict[int, float]:
    """The concepts that go most with the label -> how much, as `section.by` asks."""
    if section.by == "strength":
        return associated(typical.association, typical, section.written)
    labels = _labels(run, section, TRAIN)
    rows = in_order(open_store(run, TRAIN), target.layer, ROWS_AT_ONCE)
    of_tokens = token_labels(rows, lambda text: labels[text], target.lm.vocab_size)
    scores = promoted_labels(target, typical, of_tokens, target.concepts.mean)
    return associated(scores, typical, section.written)


def _writing(run: Run, section: SteeringSection, layer: int, seed: int, judge: Judge | None) -> Writing:
    return Writing(
        _scorer(run, section, layer),
        tuple(section.prompts or NEUTRAL),
        section.samples,
        section.max_new_tokens,
        seed,
        judge[1]() if judge else None,
    )


def _scorer(run: Run, section: SteeringSection, layer: int) -> Scorer:
    if section.scorer == "sentiment":
        return Sentiment()
    sides = []
    for side in (TRAIN, HELD_OUT):
        labels = _labels(run, section, side)
        means = store_means(open_store(run, side), layer, len(labels))
        known = ~labels.isnan() & ~means.isnan().any(1)
        sides.append((means[known], labels[known]))
    # Of numbers, the upper half has the label; of classes (0 and 1) the one that was asked for.
    middle = 0.5 if section.label is not None else float(sides[0][1].median())
    train, held_out = ((means, labels > middle) for means, labels in sides)
    return fit_classifier(section.label or "label", run.lm(), layer, train, held_out)


def _labels(run: Run, section: SteeringSection, side: str) -> Tensor:
    """A number for each text of a side [texts]: its label, or 1 where it is the one asked for; NaN without one."""
    table = texts_table(run, side)
    column = table["label"]
    if section.label is not None:
        known = column.notna().to_numpy()
        return torch.tensor(np.where(known, (column.astype(str) == section.label).to_numpy(dtype=float), np.nan))
    if not pd.api.types.is_numeric_dtype(column):
        raise AccordError(
            "These labels are no numbers: which one should texts be steered toward?",
            where="[steering] label",
            wanted=", ".join(sorted(map(str, column.dropna().unique()))[:10]),
        )
    return torch.tensor(column.to_numpy(dtype=float))


def _words(lm: LanguageModel, tokens: dict[int, list[int]]) -> dict[str, list[str]]:
    return {str(k): [str(lm.tokenizer.decode([one])) for one in own] for k, own in tokens.items()}
