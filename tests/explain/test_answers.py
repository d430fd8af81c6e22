"""Answers as functions of a state: against measure_gap, against hooks set by hand, against finite differences."""

import numpy as np
import pytest
import torch

from accord.errors import AccordError
from accord.explain.answers import AnswersByState
from accord.gap import measure_gap
from accord.lm import Backbone
from accord.tasks import task
from tests.lm.test_limits import longrope
from tests.tiny import tiny_model, tiny_tokenizer

FORMS = ("generator", "validator")
ASKED = (("generator", "first"), ("generator", "whole"), ("generator", "per_token"), ("validator", "first"))


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2", "no cache", "switch"])
def lm(request: pytest.FixtureRequest) -> Backbone:
    if request.param == "switch":  # below the lengths of the prompts
        return longrope(num_hidden_layers=3, original_max_position_embeddings=16)
    lm = Backbone(tiny_model("llama" if request.param == "no cache" else request.param), tiny_tokenizer())
    lm.cacheable = lm.cacheable and request.param != "no cache"
    return lm


def questions(counted: str):
    return task("hypernymy", limit=5, validator_shots="zero", answer_score=counted)


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize(("form", "counted"), ASKED)
def test_own_states_give_the_measured_logodds(lm, form, counted, layer) -> None:
    measured = measure_gap(lm, questions(counted), resamples=0).scores[f"{form}_logodds"]
    answers = AnswersByState.of(lm, questions(counted), form, layer)
    odds = answers.vary(lambda states, _: [states, states])
    assert odds.shape == (2, 5)
    for row in odds.numpy():
        np.testing.assert_allclose(row, measured, atol=2e-3)


@pytest.mark.parametrize(("form", "counted"), ASKED)
def test_another_state_is_what_a_hook_on_the_whole_prompt_gives(lm, form, counted) -> None:
    answers = AnswersByState.of(lm, questions(counted), form, 2)
    shift = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0))
    [odds] = answers.vary(lambda states, _: [states + shift])
    for i, context in enumerate(answers.contexts):
        tokens, at = answers.plus[i] if form == "generator" else (), len(context) - 1

        def hook(module, args, output, at=at):
            state = output[0] if isinstance(output, tuple) else output
            state[:, at] += shift
            return output

        handle = lm.blocks[1].register_forward_hook(hook)
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([context + tokens]), use_cache=False).logits[0].double()
        handle.remove()
        logp = logits[len(context) - 1 :].log_softmax(-1)
        if form == "generator":
            each = logp[range(len(tokens)), list(tokens)]
            up = {"first": each[0], "whole": each.sum(), "per_token": each.mean()}[counted].exp()
            down = 1 - up
        else:
            up, down = (logp[0].exp()[list(ids[i])].sum() for ids in (answers.plus, answers.minus))
        assert float(odds[i]) == pytest.approx(float(up.log() - down.log()), abs=2e-3)


def test_answers_of_several_tokens_are_among_them(lm) -> None:
    assert {len(ids) for ids in AnswersByState.of(lm, questions("whole"), "generator", 2).plus} > {4}


@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize(("form", "counted"), ASKED)
def test_gradients_are_finite_differences(lm, form, counted, layer) -> None:
    answers = AnswersByState.of(lm, questions(counted), form, layer)
    slope = answers.gradient()
    direction = torch.randn(5, lm.d_model, generator=torch.Generator().manual_seed(1))
    step = 2e-2
    up, down = answers.vary(lambda s, which: [s + step * direction[which], s - step * direction[which]])
    np.testing.assert_allclose(
        (slope * direction).sum(-1).numpy(), ((up - down) / (2 * step)).numpy(), atol=5e-3, rtol=5e-2
    )


def test_answers_that_lie_across_a_switch_are_refused() -> None:
    lm = longrope(num_hidden_layers=3)
    with pytest.raises(AccordError, match="across a length"):
        AnswersByState.of(lm, questions("whole"), "generator", 2).vary(lambda states, _: [states])


def test_a_layer_that_is_not_there(lm) -> None:
    with pytest.raises(AccordError, match="no such layer"):
        AnswersByState.of(lm, questions("first"), "validator", 7)


@pytest.mark.parametrize("kept", [2**29, 0])
@pytest.mark.parametrize(("form", "layer"), [("validator", 3), ("generator", 3), ("generator", 1)])
def test_prompts_are_read_once_for_all_passes(lm, form, layer, kept, monkeypatch) -> None:
    monkeypatch.setattr("accord.explain.answers._KEPT", kept)
    answers = AnswersByState.of(lm, questions("first"), form, layer)
    first = answers.vary(lambda states, _: [states + 1])
    tokens = []
    hidden = lm.hidden
    monkeypatch.setattr(lm, "hidden", lambda ids, **keys: tokens.append(ids.numel()) or hidden(ids, **keys))
    again = answers.vary(lambda states, _: [states + 1])
    np.testing.assert_array_equal(first, again)
    if layer == 3:  # the top: nothing is left to run
        assert not tokens
    elif kept and lm.cacheable:  # the last position of each item is run with the other state, and nothing before
        assert sum(tokens) <= 2 * len(answers.contexts) * (max(map(len, answers.contexts)) if lm.limits.switches else 1)
