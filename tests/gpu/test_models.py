"""A model on a GPU says what it says on the CPU: states, scores, perplexity, texts, edits, patches, explanations."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.concepts import Scale, build, read_config
from accord.explain.measure import explain_gap
from accord.gap import measure_gap
from accord.lm import LanguageModel, Query, generate, score
from accord.lm.edited import Readout, Steered, WithReadout
from accord.lm.perplexity import perplexity
from accord.pathway import patch
from accord.steering import AddDirection, AmplifyDirection, EditConcepts
from accord.tasks import Task
from accord.text import extract, in_order

Models = tuple[LanguageModel, LanguageModel]
NATS = 5e-4  # a GPU's float32 beside the CPU's: 5e-5 was measured on 400 items of a real model
KINDS: dict[str, Callable[[LanguageModel], LanguageModel]] = {
    "plain": lambda lm: lm,
    "direction": lambda lm: Steered(lm, [AddDirection(2, _vector(32))]),
    "amplified": lambda lm: Steered(lm, [AmplifyDirection(1, _vector(32), 0.1, 0.5)]),
    "concepts": lambda lm: Steered(lm, [EditConcepts(2, _concepts(lm), {0: Scale(0.0), 3: Scale(2.0)})]),
    "readout": lambda lm: WithReadout(lm, Readout((1, 2), _vector(64), 0.1, (5, 6), (7,))),
}


def _vector(size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


def _concepts(lm: LanguageModel) -> Any:
    return build(read_config({"kind": "topk", "size": 24, "k": 4}), 32, seed=3).to(lm.device).eval()


def _queries(lm: LanguageModel) -> list[Query]:
    ids = torch.randint(3, 200, (12, 9), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [tuple(row[: 5 + i % 5]) for i, row in enumerate(ids)]
    return [Query((1, 9, 9, *row), ((3,), (4, 8, 6), (5,))) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_scores(kind: str, models: Models) -> None:
    here, there = (score(KINDS[kind](lm), _queries(lm), layers=True, every_token=True) for lm in models)
    for ours, theirs in zip(here, there, strict=True):
        for name in ("first", "logodds", "total", "layer_first", "layer_logodds"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=NATS, err_msg=name)
        np.testing.assert_allclose(np.concatenate(ours.steps), np.concatenate(theirs.steps), atol=NATS)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_and_their_perplexity(kind: str, models: Models, texts: list[str]) -> None:
    written = [generate(KINDS[kind](lm), prompts=texts[:2], n=2, max_new_tokens=6, seed=1) for lm in models]
    assert [sample.ids for sample in written[0]] == [sample.ids for sample in written[1]]
    read = [perplexity(KINDS[kind](lm), texts[:6]).token_weighted for lm in models]
    assert read[0] == pytest.approx(read[1], rel=NATS)


def test_a_gap(models: Models, letters: Task) -> None:
    here, there = (measure_gap(lm, letters, layers=True, resamples=0) for lm in models)
    for name in ("generator_logodds", "validator_logodds"):
        np.testing.assert_allclose(here.scores[name], there.scores[name], atol=NATS)
    assert here.layers is not None and there.layers is not None
    numbers = here.layers.select_dtypes("number").columns
    np.testing.assert_allclose(here.layers[numbers], there.layers[numbers], atol=NATS)


def test_embeddings(models: Models, texts: list[str], tmp_path: Path) -> None:
    stores = [extract(lm, texts[:20], tmp_path / lm.device.type, layers=[0, 2, 3], max_tokens=100) for lm in models]
    for layer in (0, 2, 3):
        here, there = (next(in_order(store, layer, 100)).x for store in stores)
        assert torch.allclose(here, there, atol=1e-3)


def test_states_that_are_put(models: Models, letters: Task) -> None:
    some = replace(letters, items=letters.items[:6])
    tables = [patch(Steered(lm, [AddDirection(2, _vector(32))]), lm, some, draws=1) for lm in models]
    for name in ("receiver", "donor", "patched"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], atol=NATS)


@pytest.mark.parametrize("layer", [2, 3])
def test_an_explanation(layer: int, models: Models, letters: Task) -> None:
    some = replace(letters, items=letters.items[:20])
    here, there = (explain_gap(lm, layer, _concepts(lm), some, candidates=2, chosen=1, draws=1) for lm in models)  # type: ignore[arg-type]
    for name in ("generator_logodds", "validator_logodds"):
        np.testing.assert_allclose(here.scores[name], there.scores[name], atol=NATS)
    numbers = here.check.select_dtypes("number").columns
    np.testing.assert_allclose(here.check[numbers], there.check[numbers], atol=5e-3, rtol=5e-3)
