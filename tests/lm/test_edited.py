"""Edits of a running model against the same change made by hand, whole and through a cache."""

import numpy as np
import pytest
import torch

from accord.errors import AccordError
from accord.lm import Backbone, Query, score
from accord.lm.edited import Readout, Steered, WithReadout, backbone_of
from accord.lm.kv import kv_cache
from accord.steering import AddDirection
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model("llama"), tiny_tokenizer())


def _ids(n: int = 9) -> torch.Tensor:
    return torch.randint(3, 250, (2, n), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_direction_is_added_at_the_positions_asked(lm: Backbone) -> None:
    vector = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(2))
    ids = _ids()
    plain = lm.hidden(ids, layers=[1])[1]
    for first, stop, touched in [(1, None, range(1, 9)), (4, 6, range(4, 6)), (0, None, range(1, 9)), (8, 3, range(0))]:
        steered = Steered(lm, [AddDirection(1, vector)], first=first, stop=stop)
        expected = plain.clone()
        for position in touched:
            expected[:, position] += vector
        torch.testing.assert_close(steered.hidden(ids, layers=[1])[1], expected)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 2])
def test_edits_through_a_cache_are_those_of_the_whole(lm: Backbone, layer: int) -> None:
    vector = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(3))
    read = Readout((layer,), vector / 7, 0.3, plus=(5, 6), minus=(9,))
    steered = WithReadout(Steered(lm, [AddDirection(layer, vector)], first=3, stop=7), read)
    ids = _ids()
    whole = steered.lens(steered.hidden(ids)[lm.n_layers])
    cache = kv_cache([])
    parts = [steered.lens(steered.hidden(part, cache=cache)[lm.n_layers]) for part in ids.split([1, 4, 4], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_readout_moves_the_logodds_by_its_value_and_no_other_logit(lm: Backbone) -> None:
    read = Readout((1,), torch.randn(lm.d_model, generator=torch.Generator().manual_seed(4)) / 5, -0.2, (5, 6), (9, 11))
    model, ids = WithReadout(lm, read), _ids()
    before = lm.lens(lm.hidden(ids)[lm.n_layers])
    after = model.lens(model.hidden(ids)[lm.n_layers])
    others = [i for i in range(lm.vocab_size) if i not in (5, 6, 9, 11)]
    torch.testing.assert_close(after[..., others], before[..., others])

    def logodds(logits: torch.Tensor) -> torch.Tensor:
        return logits[..., [5, 6]].logsumexp(-1) - logits[..., [9, 11]].logsumexp(-1)

    value = read(lm.hidden(ids, layers=[1]))
    value[:, 0] = 0  # a sequence's first position is left alone
    torch.testing.assert_close(logodds(after) - logodds(before), value, rtol=1e-4, atol=1e-4)
    # The lens of lower layers is the wrapped model's own.
    lower = model.lens(model.hidden(ids, layers=[2])[2])
    torch.testing.assert_close(lower, lm.lens(lm.hidden(ids, layers=[2])[2]))


@torch.no_grad()
def test_a_readout_of_several_layers_is_their_sum_within_its_limit(lm: Backbone) -> None:
    weight = torch.randn(2 * lm.d_model, generator=torch.Generator().manual_seed(6))
    states = lm.hidden(_ids(), layers=[1, 3])
    plain = Readout((1, 3), weight, 0.4, (5,), (9,))(states)
    expected = torch.cat([states[1], states[3]], dim=-1) @ weight + 0.4
    torch.testing.assert_close(plain, expected, rtol=1e-4, atol=1e-3)
    limit = float(plain.abs().median())
    limited = Readout((1, 3), weight, 0.4, (5,), (9,), limit)
    torch.testing.assert_close(limited(states), expected.clamp(-limit, limit), rtol=1e-4, atol=1e-3)
    model = WithReadout(lm, limited)
    moved = model.lens(model.hidden(_ids())[lm.n_layers]) - lm.lens(lm.hidden(_ids())[lm.n_layers])
    assert float(moved.abs().max()) <= limit / 2 + 1e-4


def test_edited_models_are_scored_like_any_other(lm: Backbone) -> None:
    vector = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(5))
    model = WithReadout(Steered(lm, [AddDirection(2, vector)]), Readout((2,), vector / 9, 0.1, (7,), (8,)))
    contexts = [(5, 6, 7, 8, *tail) for tail in [(9, 10), (9, 11, 12), (13,)]]
    together = score(model, [Query(context, ((7,), (8, 3))) for context in contexts])
    for context, answer_score in zip(contexts, together, strict=True):
        with torch.no_grad():
            logits = model.lens(model.hidden(torch.tensor([context]))[lm.n_layers])[0, -1]
        np.testing.assert_allclose(answer_score.first[0], float(logits.log_softmax(-1)[7]), rtol=1e-4)


def test_wrong_layers_are_refused_and_the_backbone_is_found(lm: Backbone) -> None:
    with pytest.raises(AccordError, match="no such layer"):
        Steered(lm, [AddDirection(9, torch.zeros(lm.d_model))])
    with pytest.raises(AccordError, match="no such layer"):
        WithReadout(lm, Readout((-1,), torch.zeros(lm.d_model), 0.0, (1,), (2,)))
    for width in (31, 33, 64):
        with pytest.raises(AccordError, match="states of another width"):
            WithReadout(lm, Readout((1,), torch.zeros(width), 0.0, (1,), (2,)))
    assert backbone_of(WithReadout(Steered(lm, []), Readout((1,), torch.zeros(32), 0.0, (1,), (2,)))) is lm
