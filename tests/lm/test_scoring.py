"""Scoring against the plain way: one prompt at a time, the whole forward pass, log-softmax over everything."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import AccordError
from accord.lm import Backbone, LanguageModel, Query, score
from accord.lm.edited import Readout, Steered, WithReadout
from accord.lm.prefix_tree import grow
from accord.lm.scoring import _log_sum, _ranks, _reduce, answer_logodds, check_queries
from accord.lm.states import end_states
from accord.steering.edits import AddDirection
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer


def backbone(family: str = "llama") -> Backbone:
    return Backbone(tiny_model(family), tiny_tokenizer())


@torch.no_grad()
def plain(lm: Backbone, query: Query) -> list[tuple[float, float, float, int]]:
    """(first, log-odds, total, rank) of each answer, a forward pass for each answer, in float64."""
    rows = []
    for answer in query.answers:
        ids = torch.tensor([query.context + answer])
        logits = lm.model(ids, use_cache=False).logits[0].double()
        at = len(query.context) - 1
        logp = logits.log_softmax(-1)
        p = logp[at].exp()
        others = torch.cat([p[: answer[0]], p[answer[0] + 1 :]]).sum().log()
        total = sum(float(logp[at + i, token]) for i, token in enumerate(answer))
        rank = int((logits[at] > logits[at, answer[0]]).sum()) + 1
        rows.append((float(logp[at, answer[0]]), float(logp[at, answer[0]] - others), total, rank))
    return rows


def random_queries(seed: int, n: int = 12) -> list[Query]:
    """Queries with shared prefixes, repeated contexts, contexts inside others, and answers of 1 to 3 tokens."""
    r = random.Random(seed)
    stems = [tuple(r.randrange(300) for _ in range(r.randint(1, 9))) for _ in range(3)]
    queries = []
    for _ in range(n):
        context = r.choice(stems) + tuple(r.randrange(4) for _ in range(r.randint(0, 5)))
        answers = {tuple(r.randrange(300) for _ in range(r.randint(1, 3))) for _ in range(r.randint(1, 4))}
        queries.append(Query(context, tuple(answers)))
    return queries + queries[:2]


@torch.no_grad()
def test_states_are_seen_as_they_are_read() -> None:
    lm, queries, states_read = backbone(), random_queries(2), {}
    score(lm, queries, layers=True, seen=lambda ids, states: states_read.update(zip(ids, states, strict=True)))
    assert {query.context for query in queries} <= states_read.keys()
    for ids, state in states_read.items():
        torch.testing.assert_close(state, lm.hidden(torch.tensor([ids]))[lm.n_layers][0, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_matches_the_plain_reference(family: str) -> None:
    lm = backbone(family)
    assert lm.cacheable
    queries = random_queries(1)
    for query, got in zip(queries, score(lm, queries, batch_tokens=24), strict=True):
        first, logodds, total, rank = map(np.array, zip(*plain(lm, query), strict=True))
        np.testing.assert_allclose(got.first, first, atol=1e-4)
        np.testing.assert_allclose(got.logodds, logodds, atol=1e-4)
        np.testing.assert_allclose(got.total, total, atol=1e-4)
        np.testing.assert_array_equal(got.rank, rank)


@torch.no_grad()
def test_greedy_answers_are_those_whose_every_token_is_the_most_probable() -> None:
    lm, context = backbone(), (5, 9, 17)
    ids = list(context)
    for _ in range(3):
        ids.append(int(lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    best = tuple(ids[3:])
    others = [(*best[:i], (best[i] + 1) % 300, *best[i + 1 :]) for i in range(3)]
    for compared in (False, True):
        [scored] = score(lm, [Query(context, (best, best[:2], *others), compared=compared)], layers=compared)
        assert scored.greedy.tolist() == [True, True, False, False, False]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), batch_tokens=st.integers(1, 200))
def test_neither_batch_size_nor_order_changes_scores(seed: int, batch_tokens: int) -> None:
    lm = _shared()
    queries = random_queries(seed)
    expected = dict(zip(queries, score(lm, queries), strict=True))
    shuffled = random.Random(seed).sample(queries, len(queries))
    for query, got in zip(shuffled, score(lm, shuffled, batch_tokens=batch_tokens), strict=True):
        np.testing.assert_allclose(got.first, expected[query].first, atol=1e-4)
        np.testing.assert_allclose(got.total, expected[query].total, atol=1e-4)


_CACHE: list[Backbone] = []


def _shared() -> Backbone:
    if not _CACHE:
        _CACHE.append(backbone())
    return _CACHE[0]


def test_layers_are_scored_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    query, rows = Query((5, 6), ((7, 8),)), []
    for n in (1, 3):
        lm = Backbone(tiny_model(num_hidden_layers=n), tiny_tokenizer())
        lens = lm.lens
        [top] = score(lm, [query], every_token=True)
        monkeypatch.setattr(lm, "lens", lambda states, lens=lens: rows.append(len(states)) or lens(states))
        rows.clear()
        [every] = score(lm, [query], layers=True)
        assert sum(rows) == n + 2  # below the top the context alone, whose next token is scored there
        assert top.layer_first is None and top.layer_logodds is None and top.layer_steps is None
        assert every.layer_first is not None and every.layer_first.shape == (n + 1, 1) and every.layer_steps is None
        assert every.layer_logodds is not None and every.layer_logodds.shape == (n + 1, 1)


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_layers_are_the_lens_of_each_layer(family: str) -> None:
    lm = backbone(family)
    queries = random_queries(2)
    for query, got in zip(queries, score(lm, queries, layers=True, batch_tokens=30), strict=True):
        assert got.layer_first is not None and got.layer_logodds is not None
        with torch.no_grad():
            states = lm.hidden(torch.tensor([query.context]), layers=range(lm.n_layers + 1))
            lens = {layer: lm.lens(state[0, -1]) for layer, state in states.items()}
        for layer, logits in lens.items():
            logp = logits.double().log_softmax(-1)
            tokens = [answer[0] for answer in query.answers]
            np.testing.assert_allclose(got.layer_first[layer], logp[tokens].numpy(), atol=1e-4)
            odds = [logp[t] - torch.cat([logp[:t], logp[t + 1 :]]).logsumexp(-1) for t in tokens]
            np.testing.assert_allclose(got.layer_logodds[layer], torch.stack(odds).numpy(), atol=1e-4)
        np.testing.assert_allclose(got.layer_first[-1], got.first)
        np.testing.assert_allclose(got.layer_logodds[-1], got.logodds)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("every_token", [False, True])
def test_answers_that_are_compared_differ_at_each_layer_as_their_log_probabilities_do(
    wrapped: bool, every_token: bool
) -> None:
    lm: LanguageModel = backbone()
    if wrapped:
        weight = torch.linspace(-1, 1, lm.d_model)
        lm = WithReadout(Steered(lm, [AddDirection(1, weight)]), Readout((2,), weight, 0.3, (5, 6), (7,)))
    rng = random.Random(3)
    contexts = [tuple(rng.choices(range(10, 60), k=rng.randint(2, 9))) for _ in range(6)]
    whole = [Query(context, ((5,), (9,), (7,))) for context in contexts]
    compared = [Query(context, ((5,), (9,), (7,)), compared=True) for context in contexts]
    compared[0] = whole[0]  # both in one call
    others = [Query(contexts[1], ((5, 8),)), Query((11, 12), ((9,),))]  # the first shares a context, the second none
    wanted = score(lm, [*whole, *others], layers=True, every_token=every_token)
    found = score(lm, [*compared, *others], layers=True, every_token=every_token)
    for one, other in zip(wanted, found, strict=True):
        assert one.layer_first is not None and other.layer_first is not None
        differences = [scores.layer_first - scores.layer_first[:, :1] for scores in (one, other)]
        np.testing.assert_allclose(*differences, atol=1e-5)
        for name in ("first", "logodds", "total"):  # at the top nothing changes
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6)
    # Nobody reads the rank of a word that is only compared with others.
    assert not any(other.rank.size for other in found[1:6]) and all(one.rank.size for one in wanted)
    np.testing.assert_array_equal(found[-2].rank, wanted[-2].rank)
    assert np.isnan(found[2].layer_logodds[:-1]).all() and not np.isnan(found[1].layer_logodds).any()
    np.testing.assert_allclose(found[-2].layer_first, wanted[-2].layer_first, atol=1e-5)


def test_the_whole_vocabulary_is_ranked_for_those_alone_who_read_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, ranked = backbone(), []
    monkeypatch.setattr(
        "accord.lm.scoring._ranks", lambda logits, *more: ranked.append(len(logits)) or _ranks(logits, *more)
    )
    for compared in (False, True):
        score(lm, [Query((i, 5), ((6,), (7, 8)), compared=compared) for i in range(4)], layers=True)
        assert sum(ranked) == 4  # contexts at the top layer, of the first round


def test_answers_of_several_tokens_that_are_compared_lose_their_ranks_alone() -> None:
    lm, answers = backbone(), ((5,), (9, 3), (7, 1, 2))
    whole, compared = (score(lm, [Query((11, 12, 13), answers, compared=c)], layers=True, every_token=True)[0]
                       for c in (False, True))  # fmt: skip
    assert whole.layer_steps is not None and compared.layer_steps is not None
    for name in ("first", "logodds", "total", "layer_first", "layer_logodds"):
        np.testing.assert_array_equal(getattr(compared, name), getattr(whole, name))
    for one, other in zip((*whole.steps, *whole.layer_steps), (*compared.steps, *compared.layer_steps), strict=True):
        np.testing.assert_array_equal(one, other)
    assert compared.rank.size == 0 and whole.rank.size == 3 and compared.rank.dtype == whole.rank.dtype == np.int64


@pytest.mark.parametrize("spread", [1.0, 30.0, 400.0])
def test_the_sum_over_the_vocabulary_is_that_in_float64(spread: float) -> None:
    """Also where most of it underflows, and where tokens are shut out."""
    logits = torch.randn(5, 2000, generator=torch.Generator().manual_seed(0)) * spread
    logits[:, 7] = -torch.inf
    logits[3:, 11] = 2000.0
    best, norm = _log_sum(logits, torch.empty(8, 2000))
    assert torch.equal(best[:, 0], logits.max(-1).values)
    torch.testing.assert_close(norm[:, 0].double(), logits.double().logsumexp(-1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shift", [-300.0, 0.0, 300.0])
def test_what_is_read_at_an_end_is_that_in_float64(shift: float) -> None:
    """Of rows that are sure of a token and rows that are not, however high their logits lie."""
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0, 1, 8, 8, 40, 40]]).T
    targets = [
        [3],
        [4, 5, 4],
        [int(logits[2].argmax())],
        [7, int(logits[3].argmax())],
        [8, 9],
        [int(logits[5].argmax())],
    ]
    lens = SimpleNamespace(lens=lambda states: states + shift)
    wanted = [i % 2 == 0 for i in range(6)]
    found = _reduce(lens, logits, targets, "", wanted, lambda _: torch.empty(6, 50))  # type: ignore[arg-type]
    for row, tokens, got, ranked in zip((logits + shift).double(), targets, found, wanted, strict=True):
        logp = row.log_softmax(-1)
        odds = [logp[t] - torch.cat([logp[:t], logp[t + 1 :]]).logsumexp(-1) for t in tokens]
        np.testing.assert_allclose(got.first, logp[tokens].numpy(), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(got.logodds, torch.stack(odds).numpy(), rtol=1e-5, atol=1e-4)
        assert got.best is not None and got.best.tolist() == [bool(row[t] == row.max()) for t in tokens]
        assert (got.rank is None) == (not ranked)
        if got.rank is not None:
            assert got.rank.tolist() == [1 + int((row > row[t]).sum()) for t in tokens]


def test_without_a_usable_cache_the_numbers_are_the_same() -> None:
    queries = random_queries(3)
    lm, other = backbone(), backbone()
    other.cacheable = False
    for a, b in zip(score(lm, queries), score(other, queries), strict=True):
        np.testing.assert_allclose(a.total, b.total, atol=1e-4)


def test_log_odds_near_certainty_keep_their_digits() -> None:
    lm = backbone()
    with torch.no_grad():
        lm._head.weight.mul_(400)
    got = score(lm, [*random_queries(4), Query((5,), tuple((t,) for t in range(300)))])
    top = max(float(s.logodds.max()) for s in got)
    assert 40 < top < np.inf
    sure = got[-1]
    best = int(sure.first.argmax())
    others = np.logaddexp.reduce(np.delete(sure.first, best))
    assert sure.logodds[best] == pytest.approx(-others, rel=1e-5)


def test_running_out_of_memory_halves_the_batch_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = backbone()
    queries = random_queries(5)
    expected = score(lm, queries)
    whole, sizes = lm.hidden, []

    def small_memory(ids: torch.Tensor, **options: object) -> object:
        if ids.numel() > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(ids.numel())
        return whole(ids, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(lm, "hidden", small_memory)
    for a, b in zip(score(lm, queries), expected, strict=True):
        np.testing.assert_allclose(a.total, b.total, atol=1e-4)
    assert sizes and max(sizes) <= 16
    with pytest.raises(AccordError, match="single sequence"):
        score(lm, [Query(tuple(range(40)), ((1,),))])


def test_a_pass_has_as_many_tokens_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, sizes = backbone(), []
    whole = lm.hidden
    monkeypatch.setattr(lm, "hidden", lambda ids, **keys: sizes.append(ids.numel()) or whole(ids, **keys))
    for most in (20, 60):
        sizes.clear()
        score(lm, random_queries(5), batch_tokens=most)
        assert most / 2 < max(sizes) <= most


def test_other_errors_of_the_model_are_not_mistaken_for_memory() -> None:
    class Broken(Backbone):
        def lens(self, hidden: Tensor) -> Tensor:
            if hidden.ndim == 2:  # the proofs at loading read whole sequences
                raise IndexError("out of range")
            return super().lens(hidden)

    with pytest.raises(IndexError), torch.no_grad():
        score(Broken(tiny_model(), tiny_tokenizer()), [Query((10,), ((1,),))])


def test_logits_that_are_not_finite_are_an_error() -> None:
    lm = backbone()
    with torch.no_grad():
        lm._head.weight[7] = float("nan")
    with pytest.raises(AccordError, match=r"not finite(.|\n)*layer 3"):
        score(lm, random_queries(6))


def test_empty_queries_are_refused() -> None:
    lm = _shared()
    for query in (Query((), ((1,),)), Query((1,), ()), Query((1,), ((),))):
        with pytest.raises(AccordError, match="at least one token"):
            score(lm, [query])


def test_shared_prefixes_are_computed_once() -> None:
    lm = backbone()
    prefix = tuple(range(50))
    queries = [Query((*prefix, 60 + i, 70, 80), ((1,),)) for i in range(20)]
    seen: list[tuple[int, int]] = []
    score(lm, queries, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (50 + 20 * 3, 50 + 20 * 3)


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, unique=True),
    st.sampled_from([0, 3, 10**9]),
)
def test_the_tree_spells_every_sequence_once(sequences: list[tuple[int, ...]], min_saving: int) -> None:
    spelled: dict[int, tuple[int, ...]] = {}

    def visit(node, path) -> None:  # type: ignore[no-untyped-def]
        assert node.start == len(path)
        for position, i in node.reads:
            assert i not in spelled
            spelled[i] = path + node.tokens[: position + 1]
        for child in node.children:
            visit(child, path + node.tokens)

    for root in grow(sequences, min_saving=min_saving):
        visit(root, ())
    assert [spelled[i] for i in range(len(sequences))] == sequences


def test_every_beginning_of_a_long_text_is_read_in_one_node() -> None:
    """What an answer of many tokens is scored by; a function within a function for each would be too many."""
    text = tuple(range(5000))
    (root,) = grow([text[:n] for n in range(3, 5001)], min_saving=1)
    assert root.tokens == text and not root.children
    assert root.reads == [(n - 1, n - 3) for n in range(3, 5001)]


def test_end_states_are_the_states_of_the_whole_sequence() -> None:
    lm = _shared()
    sequences = list(dict.fromkeys(q.context for q in random_queries(7)))
    got: dict[tuple[int, int], torch.Tensor] = {}

    def read(layer: int, states: torch.Tensor, which: list[int]) -> None:
        got.update({(layer, i): state for state, i in zip(states, which, strict=True)})

    with torch.no_grad():
        end_states(lm, sequences, read, layers=[0, 2], batch_tokens=16)
        for i, ids in enumerate(sequences):
            for layer, state in lm.hidden(torch.tensor([ids]), layers=[0, 2]).items():
                torch.testing.assert_close(got[layer, i], state[0, -1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_logits_are_made_of_a_few_rows_at_a_time(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, queries, sizes = backbone(), random_queries(8), []
    lens = lm.lens
    monkeypatch.setattr(lm, "lens", lambda states: sizes.append(len(states)) or lens(states))
    expected, read = score(lm, queries, layers=True, every_token=True), sum(sizes)
    sizes.clear()
    monkeypatch.setattr("accord.lm.scoring._LOGIT_CHUNK", rows * 300)
    monkeypatch.setattr("accord.lm.scoring._FEWEST_ROWS", 1)
    for a, b in zip(score(lm, queries, layers=True, every_token=True), expected, strict=True):
        np.testing.assert_allclose(a.total, b.total, atol=1e-4)
        np.testing.assert_array_equal(a.rank, b.rank)
        for one, other in zip(a.layer_steps or (), b.layer_steps or (), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    assert max(sizes) == max(rows, 1) and sum(sizes) == read


class ByLength(Backbone):
    """Another model for each length of prompt; the tokens of their passes are noted."""

    def __init__(self) -> None:
        super().__init__(tiny_model(), tiny_tokenizer())
        self.passed: list[int] = []

    def after_prompt(self, length: int) -> LanguageModel:
        lm = Backbone(tiny_model(seed=length), tiny_tokenizer())
        whole = lm.hidden
        lm.hidden = lambda ids, **keys: self.passed.append(ids.numel()) or whole(ids, **keys)  # type: ignore
        return lm


@pytest.mark.parametrize("every_token", [False, True])
def test_each_query_is_scored_by_the_model_for_its_length_of_prompt(every_token: bool) -> None:
    lm = ByLength()
    queries = [Query(context, ((5, 6), (7,))) for context in ((1, 2), (3,), (1, 2, 3, 4), (2, 2), (9,))]
    told: list[tuple[int, int]] = []
    keys = {"layers": True, "every_token": every_token, "batch_tokens": 3}
    found = score(lm, queries, progress=lambda *done: told.append(done), **keys)  # type: ignore[arg-type]
    assert lm.passed[:4] == [3, 3, 2, 2]  # two prompts of a length do not share a pass of 3 tokens
    for query, got in zip(queries, found, strict=True):
        [want] = score(lm.after_prompt(len(query.context)), [query], **keys)  # type: ignore[arg-type]
        np.testing.assert_allclose(got.total, want.total, atol=1e-5)
        np.testing.assert_allclose(got.layer_first, want.layer_first, atol=1e-5)
        assert (got.layer_steps is None) == (want.layer_steps is None) == (not every_token)
    assert told == [(2, 5), (4, 5), (5, 5)]
    with pytest.raises(AccordError, match="at least one token"):
        score(lm, [Query((), ((1,),))])


def test_a_texts_score_is_read_from_the_start_token_on() -> None:
    lm = backbone()
    ids = tuple(lm.tokenizer("food of birds", add_special_tokens=False)["input_ids"])
    assert Query.of_text(lm, "food of birds") == Query((1,), (ids,))
    [got], [want] = score(lm, ["food of birds"]), score(lm, [Query((1,), (ids,))])
    assert got.total == want.total and [len(steps) for steps in got.steps] == [len(ids)]
    with pytest.raises(AccordError, match="no tokens"):
        score(lm, [""])
    with pytest.raises(AccordError, match="token ids"):
        Query((1.5,), ((2,),))  # type: ignore[arg-type]
    assert Query([1, 2], [[3], [4, 5]], True) == Query((1, 2), ((3,), (4, 5)), compared=True)  # type: ignore[arg-type]


def test_log_odds_of_an_answer_are_those_of_its_probability() -> None:
    steps = torch.tensor([[0.3, -1.0, 2.0], [-0.2, 0.1, -3.0]], dtype=torch.float64)
    for n in (1, 2, 3):
        p = steps[:, :n].sigmoid()
        for counted, whole in (("first", p[:, 0]), ("whole", p.prod(-1)), ("per_token", p.prod(-1) ** (1 / n))):
            want = (whole / (1 - whole)).log()
            for each in (steps[:, :n], steps[:, :n].float()):
                found = answer_logodds(each, counted)  # type: ignore[arg-type]
                torch.testing.assert_close(found.double(), want, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(answer_logodds(steps[1, :n], counted), want[1])  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(lambda s: answer_logodds(s, "whole"), steps[:, :n].clone().requires_grad_())
    certain = torch.full((1, 2), 200.0)
    assert torch.isfinite(answer_logodds(certain, "whole")).all() and answer_logodds(certain, "whole") > 80
    assert answer_logodds(certain.double(), "whole") > 600 - 410
    assert torch.isfinite(answer_logodds(4 * certain.double(), "whole")).all()  # where log p is 0 to the last bit


def test_the_last_token_of_an_answer_is_not_read_and_may_stand_beyond_the_longest_sequence() -> None:
    lm = Backbone(tiny_model("gpt2", n_positions=64), tiny_tokenizer())
    prompt = tuple(range(10, 74))
    for n, answer in ((64, (5,)), (62, (5, 6, 7))):
        [got] = score(lm, [Query(prompt[:n], (answer, answer[:1]))])
        assert np.isfinite(got.total).all()
    for n, answer in ((64, (5, 6)), (62, (5, 6, 7, 8))):
        for check in (score, check_queries):
            with pytest.raises(AccordError, match="64"):
                check(lm, [Query(prompt[:n], (answer[:1], answer)), Query((1,), ((2,),))])


def test_a_token_that_the_model_lacks_is_told() -> None:
    for query in (Query((5, 300), ((7,),)), Query((5,), ((7,), (7, 300)))):
        with pytest.raises(AccordError, match=r"LlamaForCausalLM(.|\n)*300"):
            check_queries(_shared(), [query, Query((1,), ((2,),))])
