"""CKA, the readout and the changes of concepts against their definitions."""

import numpy as np
import pandas as pd
import pytest
import torch

from accord import concepts
from accord.errors import AccordError
from accord.gap import Ridge
from accord.gap.ridge import PENALTIES, choose_penalty, folds
from accord.pathway import linear_cka
from accord.pathway.cka import _gram, _weighted
from accord.pathway.concept_changes import concept_changes
from accord.pathway.readout import readout_curve


def _plain_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    return float((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cka_is_the_plain_formula_without_each_item() -> None:
    x = _draw(30, 7) + 3
    y = x @ _draw(7, 5, seed=1) + 2 * _draw(30, 5, seed=2)
    cka = linear_cka(x, y)
    assert cka["value"] == pytest.approx(_plain_cka(x, y)) and 0.2 < cka["value"] < 0.95
    rest = [[j for j in range(30) if j != i] for i in range(30)]
    expected = np.array([_plain_cka(x[i], y[i]) for i in rest])
    np.testing.assert_allclose(_weighted(_gram(x), _gram(y), 1 - np.eye(30)), expected, rtol=1e-9)
    logit = np.log(expected / (1 - expected))
    error = (29 / 30 * ((logit - logit.mean()) ** 2).sum()) ** 0.5
    value = np.log(cka["value"] / (1 - cka["value"]))
    low, high = (np.log(cka[end] / (1 - cka[end])) for end in ("low", "high"))
    assert low <= value - 2.045 * error and high >= value + 2.045 * error and high - low < 6 * error


def test_cka_sees_no_rotation_scale_or_shift_and_refuses_other_items() -> None:
    x = _draw(40, 6)
    rotation, _ = torch.linalg.qr(_draw(6, 6, seed=3))
    certain = {"value": 1.0, "low": 1.0, "high": 1.0}
    assert linear_cka(x.double(), x.double()) == certain
    assert linear_cka(x, 5 * x @ rotation + 2, resamples=0)["value"] == pytest.approx(1)
    assert linear_cka(torch.ones(9, 3), x[:9], resamples=0)["value"] is None
    with pytest.raises(AccordError, match="same items"):
        linear_cka(x, x[:-1])


def test_the_penalty_is_the_one_with_the_least_left_out_error() -> None:
    x = _draw(60, 30)
    y = x[:, 0] + 2 * _draw(60, seed=1)
    fold = folds([None] * 60, seed=0)
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for part in range(4):
            out = torch.from_numpy(fold == part)
            error += float((Ridge(x[~out], y[~out]).fit(penalty)(x[out]) - y[out]).square().sum())
        errors.append(error)
    penalty, explained = choose_penalty(x, y, fold)
    assert penalty == PENALTIES[int(np.argmin(errors))]
    assert explained == pytest.approx(1 - min(errors) / float((y - y.mean()).square().sum()), abs=1e-6)
    assert penalty > choose_penalty(x, x[:, 0], fold)[0]  # noise wants more of it


def test_folds_keep_groups_whole_where_there_are_enough() -> None:
    groups = [f"g{i % 9}" for i in range(50)]
    fold = folds(groups, seed=1)
    assert all(len(set(fold[[g == name for g in groups]])) == 1 for name in set(groups)) and set(fold) == {0, 1, 2, 3}
    assert sorted(np.bincount(folds(["one"] * 41, seed=1)).tolist()) == [10, 10, 10, 11]


def test_the_curve_shows_the_layer_that_knows() -> None:
    target = _draw(160, seed=5)
    knows = torch.cat([_draw(160, 7), target[:, None] + 0.3 * _draw(160, 1, seed=6)], dim=1)
    states = {0: _draw(160, 8, seed=7), 1: knows}
    scores = pd.DataFrame(
        {
            "gold": (target[100:] + 0.5 * _draw(60, seed=9) > 0).numpy(),
            "generator_logodds": target[100:].double().numpy(),
            "validator_logodds": 0.0,
            "generator_rank": 1,
            "yes_no_mass": 1.0,
        }
    )
    tests = {"test": ({layer: own[100:] for layer, own in states.items()}, scores)}
    train = {layer: own[:100] for layer, own in states.items()}
    curve = readout_curve(train, target[:100], [None] * 100, tests, resamples=200).set_index(
        ["layer", "items", "metric"]
    )
    probe = Ridge(train[1], target[:100]).fit(float(curve.loc[(1, "train", "penalty"), "value"]))
    expected = np.corrcoef(probe(states[1][100:]).numpy(), target[100:].numpy())[0, 1]
    knowing = curve.loc[(1, "test", "pearson_all")]
    assert knowing["value"] == pytest.approx(expected, abs=1e-5) and knowing["low"] > 0.8
    assert abs(curve.loc[(0, "test", "pearson_all"), "value"]) < 0.4
    assert curve.loc[(1, "test", "auc"), "value"] > 0.8
    with pytest.raises(AccordError, match="too few"):
        readout_curve(train, target[:5], [None] * 5, tests)


def _model() -> concepts.ConceptModel:
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 40, "k": 40}), d=8, seed=0)
    return model.eval()


def test_the_concepts_that_moved_are_found_and_chance_is_not() -> None:
    model, before = _model(), _draw(80, 8)
    alike = concept_changes(model, before, before + 0.3 * _draw(80, 8, seed=4), resamples=500)
    assert not alike["certain"].any() and len(alike) == 40
    moved = concept_changes(model, before, before + 1.5 * model.directions()[7], resamples=500)
    assert moved["certain"].iloc[0] and 7 in moved["concept"].head(3).tolist()
    assert moved["change"].abs().is_monotonic_decreasing
    row = moved.iloc[0]
    strengths = [
        model.encode(x).strength[:, int(row["concept"])].detach().double()
        for x in (before, before + 1.5 * model.directions()[7])
    ]
    assert row["change"] == pytest.approx(float((strengths[1] - strengths[0]).mean()), abs=1e-6)
    assert row["low"] <= row["change"] <= row["high"]


def test_simultaneous_intervals_hold_together() -> None:
    """Of noise on many concepts, about 1 table in 20 may call any of them changed: here of 40 tables at most 6."""
    model = _model()
    wrong = sum(
        concept_changes(model, _draw(50, 8, seed=i), _draw(50, 8, seed=1000 + i), resamples=200)["certain"].any()
        for i in range(40)
    )
    assert wrong <= 6


def test_no_change_is_none() -> None:
    states = _draw(10, 8)
    changes = concept_changes(_model(), states, states, resamples=50)
    assert not changes["certain"].any() and changes[["change", "low", "high"]].eq(0).all(axis=None)
