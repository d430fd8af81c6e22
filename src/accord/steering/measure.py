"""An experiment of steering, whole: what turning concepts of one model off and up does, as a section asks for it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from accord.concepts import ConceptModel
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.errors import AccordError
from accord.lm import LanguageModel
from accord.lm.backbone import Backbone
from accord.progress import Progress
from accord.steering.arms import Dose, equal_rates
from accord.steering.choosing import associated, pick, promoted_labels, token_labels
from accord.steering.config import SteeringSection
from accord.steering.effects import promoted_effects, written_effects
from accord.steering.promotion import promoted
from accord.steering.reading import Reading
from accord.steering.result import Effects
from accord.steering.scorers import Scorer, Sentiment, fit_classifier, store_means
from accord.steering.target import Target
from accord.steering.typical import Typical, measure_typical
from accord.steering.writing import NEUTRAL, Writing
from accord.text import in_order
from accord.unfinished import each, once

ROWS_AT_ONCE = 4096


def measure_effects(
    lm: Backbone,
    concepts: ConceptModel,
    layer: int,
    texts: Embeddings,
    section: SteeringSection,
    *,
    seed: int = 0,
    judge: LanguageModel | None = None,
    about: Mapping[str, Any] | None = None,
    parts: Path | None = None,
    progress: Progress | None = None,
    measured: Callable[[], None] | None = None,
) -> Effects:
    """Turn concepts off and up, and measure what that does to promoted tokens and to what is written.

    Args:
        layer: the one that the concepts were made on, spliced into the model.
        texts: the embeddings that they were made on.
        judge: a third model that tells how fluent the texts are.
        about: what else is to be told of the concept model.
        parts: a folder for finished parts; what is whole there already is not computed again.
        measured: called once all effects are measured, before anything is made of them.

    Raises AccordError if the texts have no such label as the section asks for.
    """
    target = Target.of(lm, concepts, layer, section.keep_error)
    labels = _labels(texts, section, TRAIN) if section.written else None

    def measured_typical() -> dict[str, Tensor]:
        rows = in_order(texts.store(TRAIN), layer, ROWS_AT_ONCE)
        found = measure_typical(target.concepts, rows, None if labels is None else lambda text: labels[text.cpu()])
        return {name: torch.as_tensor(value) for name, value in vars(found).items()}

    statistics: dict[str, Any] = once(parts, "typical.safetensors", measured_typical)
    typical = Typical(**{**statistics, "tokens": int(statistics["tokens"])})
    doses = [Dose("factor", value) for value in section.factors]
    doses += [Dose("typical", value) for value in section.strengths]
    doses += [Dose("added", value) for value in section.added]
    rows, tokens = _read(texts, section, target, typical, doses, seed, parts, progress)
    samples: list[dict[str, Any]] = []
    described = {**(about or {}), "keep_error": section.keep_error, "tokens": typical.tokens}
    if section.written:
        writing = _writing(texts, section, layer, seed, lm, judge)
        chosen = _chosen(texts, section, target, typical)
        more, samples = _write(section, target, typical, writing, chosen, doses, seed, parts, progress)
        rows += more
        words = _words(lm, promoted(target, typical, list(chosen), target.concepts.mean[None], n=section.promoted))
        about_chosen = [
            {"concept": k, "score": score, "rate": float(typical.rate[k]), "promoted": words[str(k)]}
            for k, score in chosen.items()
        ]
        described |= {"label": writing.scorer.name, "by": section.by, "written": about_chosen}
        described["scorer_accuracy"] = getattr(writing.scorer, "accuracy", None)
    if measured:
        measured()
    return Effects.of(rows, samples, typical, {**described, "promoted": _words(lm, tokens)})


def _read(
    texts: Embeddings,
    section: SteeringSection,
    target: Target,
    typical: Typical,
    doses: list[Dose],
    seed: int,
    parts: Path | None,
    progress: Progress | None,
) -> tuple[list[dict[str, Any]], dict[int, list[int]]]:
    """Effects on promoted tokens, and which these are; a concept that is in the folder of parts is not done again."""
    chosen = pick(typical, section.number, seed)
    first = next(in_order(texts.store(TRAIN), target.layer, ROWS_AT_ONCE)).x
    tokens = promoted(target, typical, chosen, first, n=section.promoted)
    length = texts.store(HELD_OUT).layout.settings["max_length"]
    reading = Reading.of(target, texts.texts(HELD_OUT)[: section.texts], max_length=length)
    options: dict[str, Any] = {"places": section.places, "seed": seed, "states": first}
    others = equal_rates(typical, chosen, seed)
    makes = {
        f"promoted-{concept}.json": partial(
            promoted_effects, reading, typical, {concept: own}, others, doses, **options
        )
        for concept, own in tokens.items()
    }
    return [row for rows in each(parts, makes, _counted(progress, len(tokens))) for row in rows], tokens


def _write(
    section: SteeringSection,
    target: Target,
    typical: Typical,
    writing: Writing,
    chosen: dict[int, float],
    doses: list[Dose],
    seed: int,
    parts: Path | None,
    progress: Progress | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Effects on texts, and the texts."""
    directions = {k: 1 if score > 0 else -1 for k, score in chosen.items()}
    others = equal_rates(typical, list(directions), seed)
    options: dict[str, Any] = {"seed": seed}
    makes = {
        f"written-{concept}.json": partial(
            written_effects, target, typical, writing, {concept: way}, others, doses, **options
        )
        for concept, way in directions.items()
    }
    rows: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    for number, (own, wrote) in enumerate(each(parts, makes, _counted(progress, len(directions)))):
        rows += own
        texts += [text for text in wrote if number == 0 or text["control"] != "none"]  # the unsteered ones once
    return rows, texts


def _counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Told how many of so many are done."""
    return lambda number: None if progress is None else progress(number, total)


def _chosen(texts: Embeddings, section: SteeringSection, target: Target, typical: Typical) -> dict[int, float]:
    """The concepts that go most with the label -> how much, as `section.by` asks; of labelled ones, these."""
    if names := target.concepts.labels:
        # Of two for labels that are numbers, the second is for those above 0.
        toward = section.label if section.label is not None else names[-1]
        return {k: 1.0 if name == toward else -1.0 for k, name in enumerate(names)}
    if section.by == "strength":
        return associated(typical.association, typical, section.written or 0)
    labels = _labels(texts, section, TRAIN)
    rows = in_order(texts.store(TRAIN), target.layer, ROWS_AT_ONCE)
    of_tokens = token_labels(rows, lambda text: labels[text], target.lm.vocab_size)
    scores = promoted_labels(target, typical, of_tokens, target.concepts.mean)
    return associated(scores, typical, section.written or 0)


def _writing(
    texts: Embeddings, section: SteeringSection, layer: int, seed: int, lm: LanguageModel, judge: LanguageModel | None
) -> Writing:
    return Writing(
        _scorer(texts, section, layer, lm),
        tuple(section.prompts or NEUTRAL),
        section.samples,
        section.max_new_tokens,
        seed,
        judge,
    )


def _scorer(texts: Embeddings, section: SteeringSection, layer: int, lm: LanguageModel) -> Scorer:
    if section.scorer == "sentiment":
        return Sentiment()
    sides = []
    for side in (TRAIN, HELD_OUT):
        labels = _labels(texts, section, side)
        means = store_means(texts.store(side), layer, len(labels))
        known = ~labels.isnan() & ~means.isnan().any(1)
        sides.append((means[known], labels[known]))
    # Of numbers, the upper half has the label; of classes (0 and 1) the one that was asked for.
    middle = 0.5 if section.label is not None else float(sides[0][1].median())
    train, held_out = ((means, labels > middle) for means, labels in sides)
    return fit_classifier(section.label or "label", lm, layer, train, held_out)


def _labels(texts: Embeddings, section: SteeringSection, side: str) -> Tensor:
    """A number for each text of a side [texts]: its label, or 1 where it is the one asked for; NaN without one."""
    table = texts.table(side)
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
    return {str(k): [str(lm.tokenizer.decode([token])) for token in own] for k, own in tokens.items()}
