"""Threshold, steering direction and concept edits: each against plain arithmetic, and whole on a tiny model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer, yes_no

import accord
from accord import concepts
from accord.concepts import Scale
from accord.errors import AccordError
from accord.gap import validator_states
from accord.lm import Backbone
from accord.lm.edited import Readout, Steered, WithReadout
from accord.lm.perplexity import perplexity
from accord.repair import calibrate, concept_edit, direction, operate, repair
from accord.repair.config import CalibrateConfig, ConceptsConfig, DirectionConfig, ReadoutConfig
from accord.repair.evidence import gather, validator_logodds
from accord.repair.ordinary import read_texts
from accord.steering import AmplifyDirection, EditConcepts
from accord.tasks import task

TEXTS = [f"the {word} was no good, yes it was not" for word in ("film", "plot", "cast", "score", "end", "set")]
TRAIN = task("hypernymy", split="train", limit=60, validator_shots="zero")


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model("llama"), tiny_tokenizer())


def test_the_gold_threshold_has_the_fewest_errors() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        values, gold = draw.normal(size=15).round(1), draw.random(15) < 0.5  # rounded: some are equal
        threshold = calibrate.gold_threshold(values, gold)
        errors = [((values > t) != gold).sum() for t in np.arange(-5, 5, 0.01)]
        assert ((values > threshold) != gold).sum() == min(errors)
    assert calibrate.gold_threshold(np.array([0.0, 1.0, 5.0]), np.array([False, False, True])) == 3.0


@pytest.mark.parametrize("by", ["share", "gold"])
def test_calibration_moves_the_threshold_of_any_model_and_no_order(lm: Backbone, by: str) -> None:
    weight = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(1)) / 3
    repaired = WithReadout(lm, Readout((2,), weight, 1.5, *yes_no(lm.tokenizer)))
    fitted = operate(repaired, TRAIN, CalibrateConfig(by=by, share=0.25), texts=TEXTS)
    before, after = (
        validator_logodds(repaired, TRAIN, TRAIN.items),
        validator_logodds(fitted.on(repaired), TRAIN, TRAIN.items),
    )
    np.testing.assert_allclose(after - before, fitted.chosen["shift"], rtol=1e-4, atol=1e-4)
    gold = np.array([item.gold for item in TRAIN.items])
    assert fitted.chosen["validator_accuracy"] == ((after > 0) == gold).mean()
    if by == "share":
        assert (after > 0).mean() == pytest.approx(0.25, abs=0.02)
    else:
        assert ((after > 0) == gold).mean() >= max(((before > 0) == gold).mean(), gold.mean(), 1 - gold.mean())
    table = fitted.choices.set_index("by")
    assert table.loc["none", "perplexity_ratio"] == pytest.approx(1.0)
    ratio = perplexity(fitted.on(repaired), TEXTS).nll.sum() - perplexity(repaired, TEXTS).nll.sum()
    positions = len(read_texts(repaired, TEXTS, [], yes_no(lm.tokenizer), positions=1500).sign)
    assert np.log(table.loc[by, "perplexity_ratio"]) * positions == pytest.approx(ratio, rel=1e-3, abs=1e-4)


def test_a_direction_is_the_difference_of_means(lm: Backbone) -> None:
    evidence = gather(lm, TRAIN)
    for by in ("generator", "gold"):
        config = DirectionConfig(layers=[2], positions=2, by=by)
        by_position = {d.position: d for d in direction.directions(lm, TRAIN, evidence, config)}
        assert set(by_position) == {0, 1}
        states, fitted = validator_states(lm, TRAIN, [2])[2], evidence.held == 0
        affirmed = evidence.gold if by == "gold" else evidence.generator > np.median(evidence.generator)
        expected = states[fitted & affirmed].mean(0) - states[fitted & ~affirmed].mean(0)
        torch.testing.assert_close(by_position[0].vector, expected, rtol=1e-3, atol=1e-4)
        along = (states @ expected / expected.norm()).numpy()
        assert by_position[0].center == pytest.approx(along[fitted].mean(), rel=1e-3, abs=1e-4)
        held = ~fitted
        expected_r = np.corrcoef(along[held], evidence.generator[held])[0, 1]
        assert by_position[0].separation == pytest.approx(expected_r, abs=1e-3)
        assert not torch.allclose(by_position[1].vector, expected)


@torch.no_grad()
def test_amplifying_stretches_along_the_direction_alone(lm: Backbone) -> None:
    draw = torch.Generator().manual_seed(2)
    unit, h = torch.nn.functional.normalize(torch.randn(32, generator=draw), dim=0), torch.randn(7, 32, generator=draw)
    out = AmplifyDirection(1, unit, center=0.4, factor=1.5)(h)
    torch.testing.assert_close(out @ unit - 0.4, 2.5 * (h @ unit - 0.4), rtol=1e-4, atol=1e-4)
    across = h - (h @ unit)[:, None] * unit
    torch.testing.assert_close(out - (out @ unit)[:, None] * unit, across, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["add", "amplify"])
def test_a_fitted_direction_comes_back(tmp_path: Path, mode: str) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    lm = accord.load(tmp_path / "base")
    config = DirectionConfig(
        mode=mode, layers=[1, 2], positions=1, tries=1, factors=[1.0, 4.0], items=20, texts=3, budget=50.0
    )
    fitted = operate(lm, TRAIN, config, texts=TEXTS)
    assert fitted.choices["changed"].tolist() == [False, True, True]
    assert fitted.choices.loc[0, "perplexity_ratio"] == pytest.approx(1.0)
    assert fitted.choices["agreement"].idxmax() == fitted.choices["chosen"].idxmax()
    fitted.save(tmp_path / "repaired", base=str(tmp_path / "base"), about={"method": "direction"})
    some = TRAIN.items[:5]
    back = validator_logodds(accord.load(tmp_path / "repaired"), TRAIN, some)
    np.testing.assert_allclose(back, validator_logodds(fitted.on(lm), TRAIN, some), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [{"kind": "topk", "size": 16, "k": 4}, {"kind": "lcblm", "concepts": 5, "width": 4}])
def test_attribution_is_the_slope_of_the_logodds(lm: Backbone, kind: dict[str, object]) -> None:
    model = concepts.build(concepts.read_config(kind), d=lm.d_model, seed=0)
    items, step = TRAIN.items[:2], 1e-2
    effects = concept_edit.attribution(lm, TRAIN, items, model, 2)
    largest = effects.abs().sum(0).argsort(descending=True)[:3].tolist()
    for k in largest:
        up, down = (
            validator_logodds(Steered(lm, [EditConcepts(2, model, {k: Scale(1 + s)})]), TRAIN, items)
            for s in (step, -step)
        )
        slope = torch.from_numpy((up - down) / (2 * step)).float()
        torch.testing.assert_close(effects[:, k], slope, rtol=5e-2, atol=2e-3)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", [{"kind": "topk", "size": 16, "k": 4}, {"kind": "lcblm", "concepts": 5, "width": 4}])
def test_items_are_attributed_together_as_one_by_one(lm: Backbone, kind: dict[str, object], alone: bool) -> None:
    model = concepts.build(concepts.read_config(kind), d=lm.d_model, seed=0)
    items, done = TRAIN.items[:12], []
    one_by_one = torch.cat([concept_edit.attribution(lm, TRAIN, [item], model, 2) for item in items])
    lm._row_by_row = alone  # as of a model whose rows see each other
    try:
        effects = concept_edit.attribution(lm, TRAIN, items, model, 2, progress=lambda now, _: done.append(now))
    finally:
        lm._row_by_row = False
    torch.testing.assert_close(effects, one_by_one, rtol=1e-4, atol=1e-5)
    assert done == sorted(done) and done[-1] == 12


def test_concepts_are_chosen_by_what_they_add(lm: Backbone) -> None:
    effects, lacking = torch.tensor([[1.0, 2, 0], [2, 0, 0], [6, -2, 0]]), torch.tensor([0.0, 1, 2]).double()
    torch.testing.assert_close(concept_edit.agree(effects, lacking), torch.tensor([5 / 3, -4 / 3, 0]).double())
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=lm.d_model, seed=0)
    config = ConceptsConfig(counts=[2, 4], factors=[0.5, 2.0], items=20, texts=3, attributed=10, budget=50.0)
    fitted = operate(lm, TRAIN, config, concepts=(model, 2), texts=TEXTS)
    assert len(fitted.choices) == 5 and fitted.choices["chosen"].sum() == 1
    for edit in fitted.edits:
        assert isinstance(edit, EditConcepts)
        factor = fitted.chosen["factor"]
        assert len(edit.edits) == fitted.chosen["concepts"]
        assert {scale.factor for scale in edit.edits.values()} <= {1 + factor, max(0.0, 1 - factor)}
    with pytest.raises(AccordError, match="do not fit"):
        operate(lm, TRAIN, config, concepts=(model, 9), texts=TEXTS)
    with pytest.raises(AccordError, match="needs a concept model"):
        operate(lm, TRAIN, config, texts=TEXTS)


QUICK: list[Any] = [
    CalibrateConfig(),
    ReadoutConfig(positions=60, penalties=[1.0], quiet_weights=[0.03], strengths=[1.0], budget=50.0),
    DirectionConfig(mode="add", layers=[1, 3], positions=1, tries=1, factors=[1.0], items=10, texts=2, budget=50.0),
    DirectionConfig(layers=[3], positions=1, tries=1, factors=[1.0], items=10, texts=2, budget=50.0),
    ConceptsConfig(counts=[2], factors=[2.0], items=10, texts=2, attributed=10, budget=50.0),
]


@pytest.mark.parametrize("second", QUICK, ids=lambda config: f"{config.kind}-{getattr(config, 'mode', '')}")
@pytest.mark.parametrize("first", QUICK, ids=lambda config: f"{config.kind}-{getattr(config, 'mode', '')}")
def test_any_operation_may_follow_any_other(base: Path, tmp_path: Path, first: Any, second: Any) -> None:
    lm, some = accord.load(base), TRAIN.items[:4]
    edited = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=lm.d_model, seed=0)
    for name, config in (("first", first), ("second", second)):
        repair(lm, TRAIN, config, folder=tmp_path / name, base=lm.name, concepts=(edited, 2), texts=TEXTS)
        lm = accord.load(tmp_path / name)
    assert np.isfinite(validator_logodds(lm, TRAIN, some)).all()
