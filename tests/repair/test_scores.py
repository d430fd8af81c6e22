"""Scores with gradients against one pair at a time through the plain model."""

from typing import Any

import pytest
import torch
from tests.tiny import tiny_mixed, tiny_model, tiny_tokenizer
from torch import Tensor

from accord.errors import AccordError
from accord.lm import Backbone
from accord.lm.limits import Limits
from accord.repair.method import frozen
from accord.repair.scores import Divergence, Odds, Pair, Scored, _Group, _groups, _micro_batch, backward, scores

PREFIX = tuple(range(10, 34))
PAIRS: list[Scored] = [
    Pair((*PREFIX, 40), (50,)),
    Pair((5, 6, 7), (8, 9, 11)),
    Pair((*PREFIX, 41, 42, 43), (51, 52)),
    Odds((*PREFIX, 41), ((53,), (54,)), ((55,), (56,), (57,))),
    Pair((9,), (60, 61)),
    Pair((*PREFIX, 44, 45), (58, 59, 60)),
    Pair((*PREFIX, 40), (50,)),  # the same again
    Odds((5, 6, 8, 70), ((3,),), ((4,),)),
    Odds((*PREFIX, 44, 45), ((58, 59), (60,)), ((61, 62, 63),)),  # of several tokens each
    Pair((*PREFIX, 46), (61, 62, 63), per_token=True),
    Pair((7, 6), (62, 63), per_token=True),
]


def one_at_a_time(model: Any, pairs: list[Scored]) -> Tensor:
    def whole(context: tuple[int, ...], answer: tuple[int, ...]) -> Tensor:
        logp = model(torch.tensor([context + answer])).logits.float().log_softmax(-1)[0]
        return torch.stack([logp[len(context) - 1 + i, token] for i, token in enumerate(answer)]).sum()

    def value(pair: Scored) -> Tensor:
        if isinstance(pair, Pair):
            return whole(pair.context, pair.answer) / (len(pair.answer) if pair.per_token else 1)
        plus, minus = (torch.stack([whole(pair.context, ids) for ids in side]) for side in (pair.plus, pair.minus))
        return plus.logsumexp(0) - minus.logsumexp(0)

    return torch.stack([value(pair) for pair in pairs])


def pairwise(values: Tensor) -> dict[str, Tensor]:
    """A loss in which every score meets every other."""
    return {"a": torch.nn.functional.softplus(values[None] - values[:, None]).mean(), "b": values.square().mean() / 9}


def gradients(model: torch.nn.Module) -> Tensor:
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad(set_to_none=True)
    return flat


def close(got: Tensor, wanted: Tensor) -> None:
    """To 1e-5 of the largest."""
    assert float((got - wanted).detach().abs().max()) <= 1e-5 * float(wanted.detach().abs().max())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "opt", "qwen3", "mistral"])
@pytest.mark.parametrize("cacheable", [True, False])
def test_scores_and_gradients_are_those_of_one_pair_at_a_time(family: str, cacheable: bool) -> None:
    lm = Backbone(tiny_model(family), tiny_tokenizer())
    lm.cacheable &= cacheable
    wanted = one_at_a_time(lm.model, PAIRS)
    sum(pairwise(wanted).values()).backward()
    expected = gradients(lm.model)
    got = scores(lm, PAIRS)
    close(got, wanted)
    close(torch.tensor(frozen(lm, PAIRS)), wanted)
    for micro_batch in (None, 1, 3):
        terms = backward(lm, PAIRS, pairwise, micro_batch=micro_batch)
        close(gradients(lm.model), expected)
        close(terms["a"], pairwise(wanted)["a"])


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss", "mamba", "jamba"])
def test_experts_and_recurrent_layers_have_the_same_gradients(kind: str) -> None:
    lm = Backbone(tiny_mixed(kind), tiny_tokenizer())
    wanted = one_at_a_time(lm.model, PAIRS)
    sum(pairwise(wanted).values()).backward()
    expected = gradients(lm.model)
    for micro_batch in (None, 3):
        backward(lm, PAIRS, pairwise, micro_batch=micro_batch)
        close(gradients(lm.model), expected)


@pytest.mark.parametrize(("micro_batch", "passes"), [(None, 1), (2, 2)])
def test_a_shared_prefix_passes_once(micro_batch: int | None, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    seen, hidden = [], lm.hidden

    def counted(ids: Tensor, **how: Any) -> dict[int, Tensor]:
        seen.append(ids.numel())
        return hidden(ids, **how)

    monkeypatch.setattr(lm, "hidden", counted)
    pairs = [Pair((*PREFIX, 40 + i), (50,)) for i in range(6)]
    backward(lm, pairs, pairwise, micro_batch=micro_batch)
    assert sum(seen) == passes * (len(PREFIX) + 6)


def test_one_long_answer_among_short_ones_fills_no_batch_with_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    sizes, hidden = [], lm.hidden

    def counted(ids: Tensor, **how: Any) -> dict[int, Tensor]:
        sizes.append(ids.numel())
        return hidden(ids, **how)

    monkeypatch.setattr(lm, "hidden", counted)
    monkeypatch.setattr("accord.repair.scores._TOKENS", 200)
    pairs = [Pair((5, 6, 7 + i), (8, 9)) for i in range(15)] + [Pair((5, 6, 7), tuple(range(5, 55)))]
    backward(lm, pairs, pairwise)
    assert sum(len(pair.context) + len(pair.answer) - 1 for pair in pairs) < 200 and max(sizes) <= 200


@pytest.mark.parametrize(("limit", "size"), [("_TOKENS", 20), ("_LOGITS", 4 * 64), ("_TOKENS", 1)])
def test_what_would_fill_the_memory_goes_in_parts_unasked(
    limit: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    rows, hidden = [], lm.hidden

    def counted(ids: Tensor, **how: Any) -> dict[int, Tensor]:
        rows.append(len(ids))
        return hidden(ids, **how)

    monkeypatch.setattr(lm, "hidden", counted)
    backward(lm, PAIRS, pairwise)
    expected, at_once = gradients(lm.model), max(rows)
    monkeypatch.setattr(f"accord.repair.scores.{limit}", size)
    rows.clear()
    backward(lm, PAIRS, pairwise)
    assert max(rows) < at_once
    close(gradients(lm.model), expected)


def test_pairs_that_begin_alike_share_what_they_have_in_common() -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    # Shorter contexts first; what shares nothing is a group too.
    assert _groups(lm, PAIRS) == [_Group(PREFIX, (0, 6, 3, 9, 5, 8, 2)), _Group((), (4, 10, 1, 7))]
    for n, shared in ((15, 0), (16, 16), (20, 20)):  # a few tokens are computed anew sooner than kept
        alike = [Pair((*PREFIX[:n], 40 + i), (50,)) for i in range(3)]
        assert _groups(lm, alike) == [_Group(PREFIX[:shared], (0, 1, 2))]
    # A context leaves its last token to be read, however alike; a longer one has no more of the prefix than the others.
    assert _groups(lm, [Pair(PREFIX, (50,))] * 2) == [_Group(PREFIX[:-1], (0, 1))]
    near = [Pair((*PREFIX[:20], 99, 98), (50,)), Pair((*PREFIX, 40), (50,)), Pair((*PREFIX, 41), (50,))]
    assert _groups(lm, near) == [_Group(PREFIX[:20], (0, 1, 2))]
    lm.cacheable = False
    assert _groups(lm, near) == [_Group((), (0, 1, 2))]
    # Lengths that a model reads with other numbers share nothing; those below may be missing.
    lm.cacheable, lm.limits = True, Limits(switches=(28,))
    longer = [Pair((*PREFIX, 40, 41, 42, 43 + i), (50,)) for i in range(2)]
    assert _groups(lm, longer) == [_Group((), (0, 1))]
    assert _groups(lm, [*longer, *near]) == [_Group(PREFIX[:20], (2, 3, 4)), _Group((), (0, 1))]


@pytest.mark.parametrize(
    ("tokens", "read", "size"), [(61, 26, 12), (60, 26, 11), (61, 25, 11), (16, 99, 3), (99, 5, 2), (1, 99, 1)]
)
def test_parts_are_of_as_many_pairs_as_fit(tokens: int, read: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what seven share their nine rows have up to 4 tokens, five others up to 5; 26 logits are read."""
    lm = Backbone(tiny_model(), tiny_tokenizer())
    pairs = [*PAIRS, Divergence((5, 6), torch.zeros(300))]
    monkeypatch.setattr("accord.repair.scores._TOKENS", tokens)
    monkeypatch.setattr("accord.repair.scores._LOGITS", 300 * read)
    assert _micro_batch(lm, pairs, _groups(lm, pairs)) == size


def test_chunks_are_carried_back_with_the_dropout_of_their_scores() -> None:
    lm = Backbone(tiny_model("gpt2", resid_pdrop=0.5), tiny_tokenizer())
    lm.model.train()
    pairs = [Pair((5, 6, i), (8, 9)) for i in range(10, 16)]
    torch.manual_seed(4)
    parts = torch.cat([scores(lm, pairs[:4]), scores(lm, pairs[4:])])
    sum(pairwise(parts).values()).backward()
    expected = gradients(lm.model)
    backward(lm, pairs, pairwise, micro_batch=4, seed=4)
    close(gradients(lm.model), expected)
    backward(lm, pairs, pairwise, micro_batch=4, seed=5)
    assert (gradients(lm.model) - expected).abs().max() > 1e-3


def test_a_pair_of_nothing_is_refused() -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    with pytest.raises(AccordError, match="at least one token"):
        scores(lm, [Pair((5,), ())])


def test_a_pair_is_as_long_as_the_model_reads_and_its_last_token_is_not_read() -> None:
    lm, context = Backbone(tiny_model("gpt2", n_positions=64), tiny_tokenizer()), tuple(range(10, 72))
    assert torch.isfinite(scores(lm, [Pair(context, (5, 6, 7)), Odds(context, ((5, 6, 7),), ((8,),))])).all()
    for pair in (Pair(context, (5, 6, 7, 8)), Odds(context, ((8,),), ((5, 6, 7, 8),))):
        with pytest.raises(AccordError, match="64"):
            scores(lm, [pair])
    for pair in (Pair((5, 300), (6,)), Pair((5,), (6, 300)), Odds((5,), ((6,),), ((300,),))):
        with pytest.raises(AccordError, match="300"):
            scores(lm, [pair])
