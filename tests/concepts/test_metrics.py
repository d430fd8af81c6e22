"""Measures against plain versions."""

from collections.abc import Callable

import pytest
import torch

from accord.concepts import ConceptModel, ce_recovered, evaluate
from accord.errors import AccordError

Make = Callable[..., ConceptModel]
Rows = Callable[..., torch.Tensor]


@torch.no_grad()
def test_quality_in_the_original_space(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind), embeddings(300) + 5  # held-out data off the training mean
    quality = evaluate(model, x.split(64))
    hard = model.harden(model.encode(x))
    variance = (x - x.mean(0)).double().square().sum()
    assert quality.fvu == pytest.approx(float((x - model(x)).double().square().sum() / variance), rel=1e-5)
    assert quality.fvu_hard == pytest.approx(
        float((x - model.decode(hard)).double().square().sum() / variance), rel=1e-5
    )
    assert quality.r2 == 1 - quality.fvu
    assert quality.r2_hard == 1 - quality.fvu_hard
    fired = (hard.strength != 0).double()
    assert quality.l0 == pytest.approx(float(fired.sum(1).mean()))
    assert quality.alive == float((fired.mean(0) >= 1e-3).double().mean())
    assert quality.tokens == 300
    assert quality.parameters == sum(p.numel() for p in model.parameters())
    assert sum(quality.density().values()) == model.K
    assert quality.density()[0.0] == int((fired.sum(0) == 0).sum())


def test_fvu_of_a_constant_is_one_in_spite_of_a_large_mean(make: Make) -> None:
    model = make("l1")
    x = torch.randn(5000, 5) + 1000.0
    model.fit_scale([x])
    model.W_dec.data.zero_()
    model.b_dec.data.zero_()
    assert evaluate(model, x.split(512)).fvu == pytest.approx(1.0, rel=1e-5)


def test_nothing_to_evaluate_on(make: Make) -> None:
    with pytest.raises(AccordError, match="no embeddings"):
        evaluate(make("topk"), [])


def test_ce_recovered() -> None:
    assert ce_recovered(3.0, 3.5, 5.0) == 0.75
    assert ce_recovered(3.0, 3.0, 5.0) == 1
    with pytest.raises(AccordError, match="not defined"):
        ce_recovered(3.0, 3.5, 3.0)
