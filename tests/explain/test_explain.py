"""Explanations by concepts, against ablations by hand, and on a model whose culprit is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from accord import concepts
from accord.concepts import Set
from accord.errors import AccordError
from accord.explain import explain_gap
from accord.explain import measure as explain
from accord.explain.ablation_check import check, choose, in_numbers
from accord.explain.answers import AnswersByState
from accord.explain.contributions import FormConcepts, pull_of
from accord.gap import measure_gap
from accord.gap.metrics import pearson
from accord.lm import Backbone
from accord.lm.edited import Steered
from accord.steering import EditConcepts
from accord.tasks import task
from tests.tiny import tiny_model, tiny_tokenizer

KINDS = [{"kind": "topk", "size": 24, "k": 6}, {"kind": "lcblm", "concepts": 6, "width": 4}]


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model("llama"), tiny_tokenizer())


@pytest.fixture(scope="module")
def questions():
    return task("hypernymy", limit=24, validator_shots="zero")


def _model(lm: Backbone, config: dict) -> concepts.ConceptModel:
    model = concepts.build(concepts.read_config(config), d=lm.d_model, seed=0)
    model.fit_scale([lm.hidden(torch.randint(3, 250, (8, 12)), layers=[2])[2].detach()[:, 1:].reshape(-1, lm.d_model)])
    return model.eval()


@pytest.mark.parametrize("layer", [2, 3])
@pytest.mark.parametrize("config", KINDS, ids=lambda c: c["kind"])
@pytest.mark.parametrize("form", ["generator", "validator"])
def test_turning_off_is_what_a_steered_model_answers(lm, questions, config, layer, form) -> None:
    model = _model(lm, config)
    form_concepts = FormConcepts.of(AnswersByState.of(lm, questions, form, layer), model)
    sets = [(0,), (1, 3), (5,)]
    odds = form_concepts.without(sets)
    items = (0, 7, 23)
    for place, chosen in enumerate(sets):
        edit = EditConcepts(layer, model, {k: Set(0.0) for k in chosen})
        for i in items:
            last = len(form_concepts.answers.contexts[i]) - 1
            steered = Steered(lm, [edit], first=last, stop=last + 1)
            alone = measure_gap(steered, replace(questions, items=(questions.items[i],)), resamples=0).scores
            assert odds[place, i] == pytest.approx(float(alone[f"{form}_logodds"].iloc[0]), abs=2e-3)


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c["kind"])
def test_the_gradient_tells_small_contributions(lm, questions, config) -> None:
    form_concepts = FormConcepts.of(AnswersByState.of(lm, questions, "validator", 2), _model(lm, config))
    exact = form_concepts.logodds - form_concepts.without([(k,) for k in range(6)])
    assert form_concepts.foretold(range(6), exact)["pearson"] > 0.9
    inactive = form_concepts.strength[:, :6] == 0
    assert np.abs(exact.T[inactive]).max(initial=0) == 0
    assert np.abs(form_concepts.approximate[:, :6][inactive]).max(initial=0) < 1e-6


def test_pulls_of_all_parts_add_up_to_the_correlation() -> None:
    rng = np.random.default_rng(0)
    parts, generator = rng.normal(size=(5, 40)), rng.normal(size=40)
    validator = parts.sum(0)
    assert pull_of(parts, validator, generator).sum() == pytest.approx(float(pearson(generator, validator)))


def test_sets_are_chosen_by_their_sign_and_size() -> None:
    rng = np.random.default_rng(1)
    generator = rng.normal(size=200)
    parts = np.stack([-generator, generator, 0.1 * rng.normal(size=200), 5 + 0 * generator])
    sets = choose(parts, generator, parts.sum(0) + rng.normal(size=200), [10, 11, 12, 13], 1)
    assert sets == {"against": [10], "for": [11], "largest": [13]}


def test_the_items_that_check_choose_no_candidate(lm, questions, monkeypatch) -> None:
    model, seen = _model(lm, KINDS[0]), []
    real = explain.FormConcepts.of.__func__  # type: ignore[attr-defined]

    def alter(cls, answers, concepts):
        form = real(cls, answers, concepts)
        choosing, checking = explain._halves([item.gold for item in questions.items], 0)
        seen.append(set(np.argsort(-np.abs(form.approximate[choosing]).mean(0))[:3].tolist()))
        last = int(np.argmin(np.abs(form.approximate[choosing]).mean(0)))
        form.approximate[np.ix_(checking, [last])] = 1e6  # by far the largest of all items, on those that check
        return form

    monkeypatch.setattr(explain.FormConcepts, "of", classmethod(alter))
    explanation = explain_gap(lm, 2, model, questions, candidates=3, chosen=1, draws=2)
    assert set(explanation.concepts["concept"]) <= seen[0] | seen[1]


class _Additive:
    """A form whose concepts simply add up, so that every ablation is known."""

    def __init__(self, parts: np.ndarray, rate: np.ndarray) -> None:
        self.parts, self.rate, self.logodds = parts, rate, parts.sum(0)

    def without(self, sets):
        return np.stack([self.logodds - self.parts[list(chosen)].sum(0) for chosen in sets])


def test_the_check_finds_a_culprit_and_random_concepts_are_not_it() -> None:
    rng = np.random.default_rng(2)
    generator = rng.normal(size=100)
    parts = 0.2 * rng.normal(size=(30, 100))
    parts[4] = -2 * generator
    parts[5] = 1.5 * generator + rng.normal(size=100)
    form = _Additive(parts, np.full(30, 0.5))
    table = check(form, {"against": [4], "largest": [4]}, generator, np.arange(100), 19, 0)  # type: ignore[arg-type]
    assert len(table) == 40 and set(table["draw"]) == set(range(-1, 19))
    random = table[(table["what"] == "against") & (table["draw"] >= 0)]
    assert not any(4 in chosen for chosen in random["concepts"])
    numbers = in_numbers(table)
    expected = pearson(generator, form.logodds - parts[4]) - pearson(generator, form.logodds)
    against = numbers["against"]
    assert against["value"] == pytest.approx(float(expected))
    assert against["low"] > against["random_high"] and against["p"] == pytest.approx(1 / 20)
    assert numbers["largest"]["value"] == pytest.approx(np.abs(parts[4]).mean())


@pytest.mark.parametrize(("concepts", "size", "sets"), [(12, 3, 20), (6, 2, 6), (4, 1, 3), (3, 1, 2), (2, 0, 0)])
def test_random_sets_are_as_large_and_all_different(concepts: int, size: int, sets: int) -> None:
    rng = np.random.default_rng(3)
    generator, parts = rng.normal(size=40), rng.normal(size=(concepts + 2, 40))
    rate = np.array([*np.linspace(0.2, 0.8, concepts), 0.0, 0.0])  # two are never active: they match nothing
    form = _Additive(parts, rate)
    table = check(form, {"largest": [1, 0, 2]}, generator, np.arange(40), 20, 0)  # type: ignore[arg-type]
    numbers = in_numbers(table)
    if not size:
        assert table.empty and numbers == {}
        return
    own, random = table[table["draw"] < 0]["concepts"].iloc[0], table[table["draw"] >= 0]
    assert own == [1, 0, 2][:size] == numbers["largest"]["concepts"]
    drawn = [frozenset(others) for others in random["concepts"]]
    assert len(set(drawn)) == len(drawn) == numbers["largest"]["random"] == sets
    assert all(len(others) == size and not others & {*own, concepts, concepts + 1} for others in drawn)
    more = sum(random["moved"] >= table["moved"].iloc[0])
    assert numbers["largest"]["p"] == pytest.approx((1 + more) / (1 + sets))


def test_an_explanation_is_whole_and_written(lm, questions, tmp_path: Path) -> None:
    model = _model(lm, KINDS[0])
    explanation = explain_gap(lm, 2, model, questions, candidates=10, chosen=3, draws=4)
    scores = measure_gap(lm, questions, resamples=0).scores
    np.testing.assert_allclose(explanation.scores["validator_logodds"], scores["validator_logodds"], atol=2e-3)
    assert len(explanation.concepts) == 10 and explanation.concepts["pull"].is_monotonic_increasing
    known = explanation.concepts.dropna()  # a concept that is never active has no pull, and no interval
    assert len(known) and (known["low"] <= known["high"]).all()
    assert len(explanation.items) == 2 * 24 * 5
    explanation.write(tmp_path)
    summary = json.loads((tmp_path / "explain.json").read_text())
    assert summary["items"] == 24 and summary["checked_items"] == 12
    assert pd.read_parquet(tmp_path / "check.parquet")["draw"].max() == 3


def test_what_cannot_be_explained_is_refused(lm, questions) -> None:
    few = task("hypernymy", limit=6, validator_shots="zero")
    with pytest.raises(AccordError, match="too few items"):
        explain_gap(lm, 2, _model(lm, KINDS[0]), few)
    with pytest.raises(AccordError, match="another width"):
        explain_gap(lm, 2, concepts.build(concepts.read_config(KINDS[0]), d=8, seed=0), questions)
