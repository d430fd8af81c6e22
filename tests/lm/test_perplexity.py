"""Perplexity against one text at a time: any batch, any judge, texts longer than a window, empty texts."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import AccordError
from accord.lm import Backbone, load
from accord.lm import perplexity as module
from accord.lm.perplexity import Perplexity, perplexity
from accord.lm.windows import tokenize
from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = ["A bee is a kind of food.", "", "no", "x", "The birds are kind. " * 6, "Yes, yes.", "naïve café 🙂"]


def backbone(family: str = "llama", *, bos: bool = True) -> Backbone:
    return Backbone(tiny_model(family), tiny_tokenizer(bos=bos))


@torch.no_grad()
def plain(lm: Backbone, text: str, max_length: int = 1024, stride: int | None = None) -> tuple[float, int]:
    """One text, window by window, through the model's own logits, each token from its own window."""
    start = [token for token in (lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id) if token is not None][:1]
    ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    room = max_length - len(start)
    stride = stride or max_length // 2
    total, count, scored, begin = 0.0, 0, 0, 0
    while scored < len(ids):
        window = start + ids[begin : begin + room]
        logp = lm.model(torch.tensor([window]), use_cache=False).logits[0].double().log_softmax(-1)
        for place in range(scored, min(begin + room, len(ids))):
            at = place - begin + len(start)
            if at > 0:
                total, count = total - float(logp[at - 1, window[at]]), count + 1
        scored = min(begin + room, len(ids))
        begin += min(stride, room)
    return total, count


def check(lm: Backbone, texts: list[str], max_length: int = 1024, stride: int | None = None, **options: Any) -> None:
    result = perplexity(lm, texts, max_length=max_length, stride=stride, **options)
    expected = [plain(lm, text, max_length, stride) for text in texts]
    assert result.tokens.tolist() == [count for _, count in expected]
    np.testing.assert_allclose(result.nll, [total for total, _ in expected], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_equal_to_one_text_at_a_time(family: str, bos: bool) -> None:
    check(backbone(family, bos=bos), TEXTS, batch_tokens=64)


@pytest.mark.parametrize("bos", [True, False])
def test_tokens_are_given_once_with_their_places(bos: bool) -> None:
    lm = backbone(bos=bos)
    tokens = tokenize(lm, TEXTS, max_length=12)
    tokens_read: dict[tuple[int, int], int] = {}

    def visit(owner: Any, place: Any, states: Tensor, targets: Tensor) -> None:
        assert len(states) == len(targets) == len(owner) == len(place)
        for key, token in zip(zip(owner.tolist(), place.tolist(), strict=True), targets.tolist(), strict=True):
            assert key not in tokens_read
            tokens_read[key] = token

    module.read_tokens(lm, tokens, visit, stride=5, batch_tokens=64)
    assert tokens_read == {(text, i): token for text in range(len(TEXTS)) for i, token in enumerate(tokens.of(text))}


def test_no_start_token_at_all() -> None:
    lm = backbone(bos=False)
    lm.tokenizer.eos_token = None
    check(lm, TEXTS)
    result = perplexity(lm, TEXTS)
    assert result.unscored == 3  # the empty text, and those of a single token
    assert result.tokens[3] == 0


@given(
    st.lists(st.text("ab yes", max_size=60), min_size=1, max_size=6),
    st.integers(2, 30),
    st.one_of(st.none(), st.integers(1, 40)),
    st.integers(1, 200),
)
@settings(max_examples=25, deadline=None)
def test_windows_of_long_texts(texts: list[str], max_length: int, stride: int | None, batch: int) -> None:
    check(LM, texts, max_length, stride, batch_tokens=batch)


LM = backbone()


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(2, 12), st.one_of(st.none(), st.integers(1, 20)))
@settings(max_examples=100, deadline=None)
def test_every_token_is_fresh_once(lengths: list[int], max_length: int, stride: int | None) -> None:
    tokens = tokenize(LM, ["a" * n for n in lengths], max_length=max_length)
    room = max_length - 1
    for text, length in enumerate(lengths):
        windows = [window for window in tokens.windows(stride) if window.text == text]
        fresh = [place for window in windows for place in range(window.fresh, window.end)]
        assert fresh == list(range(length if stride else min(length, room)))
        for window in windows:
            assert window.begin <= window.fresh < window.end <= window.begin + room
            # all the context that the stride allows
            assert window.fresh == 0 or window.fresh - window.begin >= room - min(stride or room, room)


def test_logits_never_exceed_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Watched(Backbone):
        def lens(self, hidden: Tensor) -> Tensor:
            logits = super().lens(hidden)
            sizes.append(logits.numel())
            return logits

    lm = Watched(tiny_model(), tiny_tokenizer())
    whole = perplexity(lm, TEXTS)
    monkeypatch.setattr(module, "_LOGIT_CHUNK", 2000)
    sizes.clear()
    np.testing.assert_allclose(perplexity(lm, TEXTS).nll, whole.nll, rtol=1e-5)
    assert max(sizes) <= 2000


def test_memory_that_runs_out_changes_nothing() -> None:
    class Small(Backbone):
        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            if len(ids) > 2:
                raise torch.OutOfMemoryError("no room")
            return super().hidden(ids, **options)

    seen: list[tuple[int, int]] = []
    result = perplexity(Small(tiny_model(), tiny_tokenizer()), TEXTS, progress=lambda a, b: seen.append((a, b)))
    np.testing.assert_allclose(result.nll, perplexity(LM, TEXTS).nll, rtol=1e-5)
    assert seen[-1][0] == seen[-1][1]


def test_one_text_exceeds_memory() -> None:
    class Full(Backbone):
        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            if ids.shape[1] > 30:  # longer than what a model is tried on when it is made
                raise torch.OutOfMemoryError("no room")
            return super().hidden(ids, **options)

    with pytest.raises(AccordError, match="out of memory on a single"):
        perplexity(Full(tiny_model(), tiny_tokenizer()), TEXTS)


def test_means_and_intervals() -> None:
    result = Perplexity(np.log([2.0, 8.0**3, 1.0]), np.array([1, 3, 0]))
    np.testing.assert_allclose(result.per_text, [2, 8, np.nan])
    assert result.unscored == 1
    assert result.mean == pytest.approx(5)
    assert result.token_weighted == pytest.approx((2 * 8**3) ** 0.25)
    few = result.summary()  # two texts show no spread that can be trusted
    assert few["mean"]["value"] == pytest.approx(5) and np.isnan(few["mean"]["low"])
    assert few["token_weighted"]["value"] == pytest.approx((2 * 8**3) ** 0.25)


def test_intervals_cover_the_mean() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        drawn = Perplexity(generator.normal(3, 0.3, 80) * 10, np.full(80, 10))
        interval = drawn.summary()["mean"]
        inside += interval["low"] <= np.exp(3 + 0.3**2 / 2) <= interval["high"]
    assert inside >= 50


def test_nothing_to_score() -> None:
    result = perplexity(LM, ["", ""])
    assert result.unscored == 2
    assert np.isnan(result.mean) and np.isnan(result.token_weighted)
    assert np.isnan(result.summary()["mean"]["low"])
    assert perplexity(LM, []).unscored == 0


def test_senseless_settings() -> None:
    with pytest.raises(AccordError, match="stride"):
        perplexity(LM, TEXTS, stride=0)
    with pytest.raises(AccordError, match="leaves no room"):
        perplexity(LM, TEXTS, max_length=1)


def test_logits_that_are_not_finite() -> None:
    lm = backbone()
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises(AccordError, match="not finite"):
        perplexity(lm, TEXTS)


@pytest.mark.real
def test_a_real_model_prefers_english() -> None:
    lm = load("smollm2-135m", device="cpu")
    texts = ["The capital of France is Paris.", "Paris the of is France capital.", "zq xv wj kk pf."]
    result = perplexity(lm, texts)
    assert result.per_text[0] < min(result.per_text[1:])
    for text, nll, count in zip(texts, result.nll, result.tokens, strict=True):
        assert plain(lm, text) == (pytest.approx(nll, rel=1e-4), count)
