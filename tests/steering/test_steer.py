"""Steered models against the same change made by hand: what an edit means, where it is made, whole and cached."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

import accord
from accord.concepts import ConceptModel, Encoded, Scale, Set
from accord.errors import AccordError
from accord.gap import measure_gap
from accord.heads import ConceptLM, Reader
from accord.lm import Backbone, LanguageModel, Query, generate, score
from accord.lm.encoding import encode_prompt
from accord.lm.kv import kv_cache
from accord.lm.perplexity import perplexity
from accord.lm.prompted import after_prompt
from accord.steering.edits import AddDirection
from accord.steering.target import Target
from tests.gap.test_measure import pairs

LAYERS = (1, 3)
HEADS = ("original", "new")
PROMPTS = ["A bee is", "", "The kind of food that birds are", "No", "Are birds food, or kind?"]


def ids(n: int = 9) -> Tensor:
    return torch.randint(3, 250, (2, n), generator=torch.Generator().manual_seed(1))


def logits(lm: LanguageModel, rows: Tensor) -> Tensor:
    with torch.no_grad():
        return lm.lens(lm.hidden(rows)[lm.n_layers])


@torch.no_grad()
def by_hand(
    lm: Backbone, layer: int, concepts: ConceptModel, edits: dict[int, Any], rows: Tensor, span: range, keep: bool
) -> Tensor:
    """Logits of a backbone with strengths edited one state at a time, by a hook of our own."""

    def change(_: Any, args: Any, output: Any) -> Any:
        state = (output[0] if isinstance(output, tuple) else output).clone()
        for b in range(state.shape[0]):
            for p in span:
                x = state[b, p : p + 1]
                encoded = concepts.encode(x)
                strength = encoded.strength.clone()
                for k, edit in edits.items():
                    strength[:, k] = edit.value if isinstance(edit, Set) else strength[:, k] * edit.factor
                after = concepts.decode(Encoded(strength, encoded.content))
                state[b, p] = (x - concepts.decode(encoded) + after if keep else after)[0]
        return (state, *output[1:]) if isinstance(output, tuple) else state

    handle = lm.blocks[layer - 1].register_forward_hook(change)
    try:
        return lm.model(rows, use_cache=False).logits.float()
    finally:
        handle.remove()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["topk", "lcblm"])
@pytest.mark.parametrize("keep", [True, False])
def test_concepts_spliced_into_a_backbone(lm: Backbone, concepts: Any, kind: str, layer: int, keep: bool) -> None:
    model = concepts(kind, layer)
    steered = accord.steer(lm, {0: 0.0, 2: 3.0, 4: Set(1.5)}, concepts=model, layer=layer, keep_error=keep)
    expected = by_hand(lm, layer, model, {0: Set(0.0), 2: Scale(3.0), 4: Set(1.5)}, ids(), range(1, 9), keep)
    torch.testing.assert_close(logits(steered, ids()), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, logits(lm, ids()), atol=1e-2)


@pytest.mark.parametrize("keep", [True, False])
def test_a_direction_is_added_on_top(lm: Backbone, concepts: Any, keep: bool) -> None:
    model = concepts("topk", 3)
    vector = torch.linspace(-1, 1, lm.d_model)
    options: dict[str, Any] = {"concepts": model, "layer": 3, "keep_error": keep}
    with torch.no_grad():
        for edits in ({}, {0: 0.0, 2: Set(3.0)}):
            unpushed = accord.steer(lm, edits, **options)
            pushed = accord.steer(lm, edits, push=AddDirection(3, vector), **options)
            before, after = (side.hidden(ids())[3] for side in (unpushed, pushed))
            torch.testing.assert_close(after[:, 1:], before[:, 1:] + vector, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(after[:, 0], before[:, 0])  # the first position is left alone
        raw = lm.hidden(ids())[3][:, 1:]
        plain = accord.steer(lm, {}, **options).hidden(ids())[3][:, 1:]
        assert torch.allclose(plain, raw, atol=1e-4) == keep  # else the reconstruction, edited or not
    with pytest.raises(AccordError, match="another width"):
        accord.steer(lm, {}, push=AddDirection(3, vector[:5]), **options)


def test_a_number_is_a_factor_and_one_changes_nothing(lm: Backbone, concepts: Any) -> None:
    model = concepts("topk", 3)
    same = accord.steer(lm, {0: 1.0, 5: 1}, concepts=model, layer=3)
    torch.testing.assert_close(logits(same, ids()), logits(lm, ids()), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        strength = model.encode(lm.hidden(ids())[3][:, 1:].flatten(0, 1)).strength
    idle = int((strength == 0).all(0).nonzero()[0])
    asleep = accord.steer(lm, {idle: 50.0}, concepts=model, layer=3)  # a factor wakes nothing
    torch.testing.assert_close(logits(asleep, ids()), logits(lm, ids()), rtol=1e-4, atol=1e-4)
    awake = accord.steer(lm, {idle: Set(5.0)}, concepts=model, layer=3)
    assert not torch.allclose(logits(awake, ids()), logits(lm, ids()), atol=1e-1)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("head", HEADS)
def test_a_concept_lm_is_edited_in_its_own_concepts(concept_lm: Any, head: str, layer: int) -> None:
    model = concept_lm("topk", layer, head).with_edits({7: Set(2.0)})
    steered = accord.steer(model, {3: 4.0, 9: Set(1.0)})
    expected = model.with_edits({7: Set(2.0), 3: Scale(4.0), 9: Set(1.0)})  # beside its own edits
    torch.testing.assert_close(logits(steered, ids()), logits(expected, ids()))
    assert not torch.allclose(logits(steered, ids()), logits(model, ids()), atol=1e-2)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("span", [(1, None), (4, None), (1, 5), (3, 6), (1, 0)])
def test_edits_of_a_span(concept_lm: Any, head: str, layer: int, span: tuple[int, int | None]) -> None:
    model = concept_lm("lcblm", layer, head)
    edits = {1: Scale(0.0), 3: Set(2.0)}
    first, stop = span
    steered = Target.of(model, None, None).steered(edits, first, stop)
    inside = range(first, 9 if stop is None else stop)
    expected = mixed(model, edits, ids(), inside)
    torch.testing.assert_close(logits(steered, ids()), expected, rtol=1e-4, atol=1e-4)
    cache, parts = kv_cache([]), []
    with torch.no_grad():
        for part in ids().split([1, 3, 1, 4], dim=1):
            parts.append(steered.lens(steered.hidden(part, cache=cache)[steered.n_layers]))
        torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-4, atol=1e-4)
        at = torch.tensor([[0, 5], [3, 8]])
        some = steered.lens(steered.hidden(ids(), at=at)[steered.n_layers])
    torch.testing.assert_close(some, expected[torch.arange(2)[:, None], at], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def mixed(model: ConceptLM, edits: dict[int, Any], rows: Tensor, inside: range) -> Tensor:
    """Logits with the edits inside and none outside, by hand."""
    plain, edited = model.reader, Reader(model.reader.reads, model.reader.concepts, edits=edits)
    if model.head is not None:
        states = model.backbone.hidden(rows, layers=[model.layer])[model.layer]
        logits = [model.backbone.lens(states[:, 0])]
        logits += [model.head((edited if p in inside else plain)(states[:, p])) for p in range(1, rows.shape[1])]
        return torch.stack(logits, dim=1)

    def change(_: Any, args: Any, output: Any) -> Any:
        state = (output[0] if isinstance(output, tuple) else output).clone()
        for p in range(1, state.shape[1]):
            state[:, p] = (edited if p in inside else plain)(state[:, p])
        return (state, *output[1:]) if isinstance(output, tuple) else state

    handle = model.backbone.blocks[model.layer - 1].register_forward_hook(change)
    try:
        return model.backbone.model(rows, use_cache=False).logits.float()
    finally:
        handle.remove()


@torch.no_grad()
def one_at_a_time(target: Target, edits: Any, part: str, prompt: str, i: int, j: int, new: int) -> list[int]:
    """A text of one prompt, no cache, its own positions edited, the processors of transformers."""
    chain = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.5),
            TemperatureLogitsWarper(0.7),
            TopKLogitsWarper(100),
            TopPLogitsWarper(0.9),
        ]
    )
    written = list(encode_prompt(target.lm.tokenizer, prompt))
    length = len(written)
    for chance in np.random.default_rng([0, i, j]).random(new):
        row = torch.tensor([written])
        span = range(max(1, length - 1), len(written)) if part == "generated" else range(1, length - 1)
        if isinstance(target.lm, ConceptLM):
            last = mixed(target.lm, edits, row, span)[:, -1]
        else:
            assert isinstance(target.lm, Backbone)
            last = by_hand(target.lm, target.layer, target.concepts, edits, row, span, True)[:, -1]
        p = chain(row, last)[0].double().softmax(-1)
        token = int((p.cumsum(-1) > chance).nonzero()[0])
        if token == target.lm.tokenizer.eos_token_id:
            break
        written.append(token)
    return written[length:]


@pytest.mark.parametrize("part", ["generated", "prompt"])
@pytest.mark.parametrize("head", [None, *HEADS])
def test_parts_of_texts_with_prompts_of_many_lengths(
    lm: Backbone, concepts: Any, concept_lm: Any, head: str | None, part: Any
) -> None:
    edits = {2: Set(6.0), 5: Scale(0.0)}
    if head is None:
        target = Target.of(lm, concepts("topk", 2), 2)
        steered = accord.steer(lm, edits, concepts=target.concepts, layer=2, positions=part)
    else:
        target = Target.of(concept_lm("topk", 2, head), None, None)
        steered = accord.steer(target.lm, edits, positions=part)
    samples = generate(steered, prompts=PROMPTS, n=2, max_new_tokens=8)
    expected = [
        one_at_a_time(target, edits, part, prompt, i, j, 8) for i, prompt in enumerate(PROMPTS) for j in range(2)
    ]
    assert [list(sample.ids) for sample in samples] == expected
    assert generate(steered, prompts=PROMPTS, n=2, max_new_tokens=8, batch_size=3) == samples
    if part == "generated":
        assert samples != generate(target.lm, prompts=PROMPTS, n=2, max_new_tokens=8)


@pytest.mark.parametrize("part", ["generated", "prompt"])
def test_a_querys_context_is_its_prompt(lm: Backbone, concepts: Any, part: Any) -> None:
    model, edits = concepts("topk", 2), {2: Set(6.0)}
    steered = accord.steer(lm, edits, concepts=model, layer=2, positions=part)
    queries = [Query(context, ((7, 9), (30,))) for context in ((1, 5, 6, 7), (1, 5), (1, 5, 6, 8), (1,))]
    for query, scores in zip(queries, score(steered, queries), strict=True):
        length = len(query.context)
        span = range(max(1, length - 1), length + 1) if part == "generated" else range(1, length - 1)
        row = torch.tensor([[*query.context, 7]])
        p = by_hand(lm, 2, model, edits, row, span, True).log_softmax(-1)[0]
        np.testing.assert_allclose(scores.total[0], float(p[length - 1, 7] + p[length, 9]), atol=1e-4)
        np.testing.assert_allclose(scores.first[1], float(p[length - 1, 30]), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("part", ["all", "generated", "prompt"])
def test_a_direction_on_top_of_edits(lm: Backbone, concepts: Any, part: Any) -> None:
    model, vector = concepts("topk", 2), torch.randn(lm.d_model, generator=torch.Generator().manual_seed(2))
    steered = Target.of(lm, model, 2).at({2: Set(6.0)}, part, AddDirection(2, vector))
    length, row = 5, ids(8)[:1]
    span = {"all": range(1, 8), "generated": range(length - 1, 8), "prompt": range(1, length - 1)}[part]

    def push(_: Any, args: Any, output: Any) -> Any:
        state = (output[0] if isinstance(output, tuple) else output).clone()
        state[:, span.start : span.stop] += vector
        return (state, *output[1:]) if isinstance(output, tuple) else state

    plain = by_hand(lm, 2, model, {2: Set(6.0)}, row, span, True)
    handle = lm.blocks[1].register_forward_hook(push)
    try:
        pushed = by_hand(lm, 2, model, {}, row, range(0), True)
    finally:
        handle.remove()
    both = logits(after_prompt(steered, length), row)
    only = logits(after_prompt(Target.of(lm, model, 2).at({}, part, AddDirection(2, vector)), length), row)
    torch.testing.assert_close(only, pushed, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(both, plain, atol=1e-2) and not torch.allclose(both, pushed, atol=1e-2)


def test_steered_models_are_read_like_any_other(lm: Backbone, concepts: Any, concept_lm: Any) -> None:
    texts = ["A bee is a kind of food.", "no"]
    own = concept_lm("topk", 3, "new")
    for model, options in ((lm, {"concepts": concepts("topk", 3), "layer": 3}), (own, {})):
        steered = accord.steer(model, {0: Set(3.0)}, **options)
        assert not np.allclose(perplexity(steered, texts).nll, perplexity(model, texts).nll, atol=1e-2)
        assert steered.settings() != model.settings()
        gaps = [measure_gap(side, pairs(6), layers=True, resamples=0).scores for side in (model, steered)]
        columns = ["generator_logodds", "validator_logodds"]
        assert not np.allclose(gaps[0][columns], gaps[1][columns], atol=1e-2)
        part = accord.steer(model, {0: Set(3.0)}, positions="generated", **options)
        assert part.settings() != steered.settings()
        gap = measure_gap(part, pairs(6), layers=True, resamples=0)
        assert not np.allclose(gap.scores[columns], gaps[0][columns], atol=1e-2)
        with pytest.raises(AccordError, match="where a prompt ends"):
            perplexity(part, texts)


def test_what_cannot_be_steered_is_refused(lm: Backbone, concepts: Any, concept_lm: Any) -> None:
    model = concepts("topk", 2)
    for wrong, options, match in [
        ({99: 0.0}, {"concepts": model, "layer": 2}, "no such concept"),
        ({0: float("nan")}, {"concepts": model, "layer": 2}, "finite"),
        ({0: True}, {"concepts": model, "layer": 2}, "finite"),
        ({0: 0.0}, {"concepts": model, "layer": 9}, "no such layer"),
        ({0: 0.0}, {"concepts": model}, "needs a concept model and its layer"),
        ({0: 0.0}, {}, "needs a concept model and its layer"),
        ({0: 0.0}, {"concepts": model, "layer": 2, "positions": "last"}, "'all' or 'prompt' or 'generated'"),
    ]:
        with pytest.raises(AccordError, match=match):
            accord.steer(lm, wrong, **options)  # type: ignore[arg-type]
    for positions in ("all", "generated"):
        with pytest.raises(AccordError, match="no such concept"):
            accord.steer(concept_lm("topk", 2, "new"), {99: 0.0}, positions=positions)  # type: ignore[arg-type]
    with pytest.raises(AccordError, match="reads no concepts"):
        accord.steer(ConceptLM(lm, 2, Reader()), {0: 0.0})
