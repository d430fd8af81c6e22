"""Texts with concepts edited, beside their controls: each arm is what the steered model alone writes."""

import pytest
import torch

import accord
from accord.concepts import Scale
from accord.errors import AccordError
from accord.explain.answers import AnswersByState
from accord.explain.contributions import FormConcepts
from accord.explore.asking import question_of_fields
from accord.explore.one_item import item_concepts
from accord.explore.side_by_side import ARMS, write_beside
from accord.lm import generate
from accord.steering import Dose, Target, measure_typical
from accord.steering.arms import joint_arms
from accord.text.reader import Batch
from tests.steering.conftest import concepts, lm, states  # noqa: F401  # fixtures

LAYER = 2


@pytest.fixture
def target(lm, concepts):  # noqa: F811
    return Target.of(lm, concepts("topk", LAYER), LAYER)


@pytest.fixture
def typical(target, states):  # noqa: F811
    x = states(LAYER)
    zeros = torch.zeros(len(x), dtype=torch.long)
    return measure_typical(target.concepts, [Batch(x, zeros, zeros, zeros, zeros)])


@pytest.fixture
def active(typical):
    return torch.nonzero(typical.rate > 0).flatten().tolist()[:2]


def test_every_arm_is_what_its_model_alone_writes(lm, target, typical, active):  # noqa: F811
    doses = {active[0]: Dose("factor", 8.0), active[1]: Dose("factor", 0.0)}
    options = {"max_new_tokens": 12, "seed": 3}
    seen = []
    texts = write_beside(target, typical, doses, prompt="a bird", tokens=12, seed=3, shown=seen.append)
    assert [text.arm for text in texts] == list(ARMS)
    steered = accord.steer(lm, {active[0]: Scale(8.0), active[1]: Scale(0.0)}, concepts=target.concepts, layer=LAYER)
    assert texts[0].text == generate(lm, prompts=["a bird"], **options)[0].text
    assert texts[1].text == generate(steered, prompts=["a bird"], **options)[0].text
    assert texts[1].concepts == tuple(active) and set(texts[2].concepts).isdisjoint(active)
    assert len(seen) == sum(len(text.tokens) for text in texts)  # told after every token
    for text in texts:
        assert "".join(text.tokens[: text.same]) == "".join(texts[0].tokens[: text.same])
        assert len(text.next) == 10 and text.next == sorted(text.next, key=lambda each: -each[1])


@pytest.mark.parametrize("kind", ["factor", "added"])
def test_the_random_direction_moves_every_state_as_far(target, typical, active, states, kind):  # noqa: F811
    doses = {k: Dose(kind, 2.0) for k in active}
    own, other, push = joint_arms(target, typical, doses, dict(zip(active, active[::-1], strict=True)), 0)
    x = states(LAYER)[:20]
    edit = own.push if kind == "added" else target.change(own.edits)
    torch.testing.assert_close((push.push(x) - x).norm(dim=1), (edit(x) - x).norm(dim=1), rtol=1e-3, atol=1e-4)
    assert other.concept == active[1]


def test_what_cannot_be_written_is_refused(target, typical, active):
    with pytest.raises(AccordError, match="no such concept"):
        write_beside(target, typical, {24: Dose("factor", 0.0)})
    with pytest.raises(AccordError, match="edited together in one way"):
        write_beside(target, typical, {})
    with pytest.raises(AccordError, match="edited together in one way"):
        write_beside(target, typical, {active[0]: Dose("factor", 0.0), active[1]: Dose("added", 1.0)})


def test_an_items_concepts_are_those_of_the_explanation(lm, target):  # noqa: F811
    task = accord.task("hypernymy", limit=4)
    question = question_of_fields(task, task.items[0].fields)
    found = item_concepts(lm, LAYER, target.concepts, question)
    assert len(found) > 0 and found["concept"].is_unique
    for name in ("generator", "validator"):
        form = FormConcepts.of(AnswersByState.of(lm, question, name, LAYER), target.concepts)
        without = form.without([(int(k),) for k in found["concept"]])[:, 0]
        assert found[f"{name}_contribution"].tolist() == pytest.approx((form.logodds[0] - without).tolist(), abs=1e-5)
    most = found[["generator_contribution", "validator_contribution"]].abs().max(axis=1)
    assert most.is_monotonic_decreasing
