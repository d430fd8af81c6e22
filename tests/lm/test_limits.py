"""How far a model reads, and the lengths at which its numbers switch: nothing is mixed across them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.errors import AccordError
from accord.gap import measure_gap
from accord.lm import Backbone, Query, generate, score
from accord.lm.limits import Limits
from accord.lm.perplexity import perplexity
from accord.repair.scores import Pair, scores
from accord.tasks import task
from accord.text.embeddings import extract
from accord.text.reader import in_order
from tests.lm.test_proofs import ANSWERS, SMALL, ours, plain
from tests.tiny import random_model, tiny_model, tiny_tokenizer

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 3.0, 8.0, 20.0],
    "original_max_position_embeddings": 40,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}


def longrope(**settings: Any) -> Backbone:
    """A Phi-3 that reads sequences of 41 and more tokens with other frequencies."""
    small = {**SMALL, "pad_token_id": 0, "original_max_position_embeddings": 40, "rope_parameters": LONGROPE}
    return Backbone(random_model("phi3", noise=0.35, **{**small, **settings}), tiny_tokenizer())


def dynamic() -> Backbone:
    """A Llama whose frequencies go with the length of every sequence beyond 40 tokens."""
    small = {**SMALL, "max_position_embeddings": 40, "rope_parameters": DYNAMIC}
    return Backbone(random_model("llama", noise=0.35, **small), tiny_tokenizer())


MODELS = {"longrope": longrope, "dynamic": dynamic}


def across(switch: int) -> list[tuple[int, ...]]:
    """Texts on both sides of a switch; most share a beginning, some of it beyond the switch."""
    generator = np.random.default_rng(1)
    shared = generator.integers(3, 299, switch + 10).tolist()
    texts = [shared[:30] + generator.integers(3, 299, n).tolist() for n in (2, 8, 9, 10, 11, 12, 30)]
    texts += [shared + generator.integers(3, 299, n).tolist() for n in (1, 4, 9)]
    texts += [generator.integers(3, 299, n).tolist() for n in (switch - 3, switch - 1, switch, switch + 20)]
    return [tuple(text) for text in texts]


@pytest.mark.parametrize("name", MODELS)
def test_no_score_depends_on_company_across_a_switch(name: str) -> None:
    lm = MODELS[name]()
    expected = Limits(ids=300, switches=(41,)) if name == "longrope" else Limits(ids=300, each_from=41)
    assert lm.limits == expected
    texts = across(41)
    exact = torch.cat([plain(MODELS[name]().model.double(), [text]) for text in texts])
    assert float((ours(lm, texts) - exact).abs().max()) < 2e-5
    assert float((ours(lm, texts[::-1]).flip(0) - exact).abs().max()) < 2e-5


def test_a_model_in_memory_forgets_the_longest_text_it_has_read() -> None:
    lm = dynamic()
    long, middle = torch.arange(3, 93)[None], torch.arange(3, 53)[None]
    before = lm.hidden(middle)[2]
    lm.hidden(long)
    torch.testing.assert_close(lm.hidden(middle)[2], before, atol=0, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_training_scores_are_those_of_one_pair_at_a_time(name: str) -> None:
    lm = MODELS[name]()
    answer = (5, 9) if name == "longrope" else (5,)  # where each length is another, two tokens lie across
    pairs = [Pair(text, answer) for text in across(41) if len(text) != 40]
    together = scores(lm, pairs)
    alone = torch.cat([scores(lm, [pair]) for pair in pairs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)
    scored = [row.total[0] for row in score(lm, [Query(pair.context, (answer,)) for pair in pairs])]
    np.testing.assert_allclose(together.detach().numpy(), scored, atol=1e-4)


def test_an_answer_across_the_switch_is_refused_in_training() -> None:
    with pytest.raises(AccordError, match="lies across"):
        scores(longrope(), [Pair(tuple(range(3, 43)), (5, 9))])


@pytest.mark.parametrize("name", MODELS)
def test_generation_across_the_switch_is_a_plain_loop(name: str) -> None:
    lm = MODELS[name]()
    prompts = ["a" * n for n in (20, 30, 37, 50)]
    samples = generate(lm, prompts=prompts, max_new_tokens=12, temperature=0, repetition_penalty=1.0, special=False)
    fresh = MODELS[name]()
    for prompt, sample in zip(prompts, samples, strict=True):
        ids = list(lm.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        for token in sample.ids:
            if fresh._forget:
                fresh._forget()
            logits = fresh.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            assert int(logits.argmax()) == token
            ids.append(token)


@pytest.mark.parametrize("name", MODELS)
def test_texts_are_read_alike_alone_and_together(name: str, tmp_path: Any) -> None:
    lm = MODELS[name]()
    texts = ["a" * n for n in (10, 35, 39, 41, 45, 70)]
    together = perplexity(lm, texts).nll
    alone = [perplexity(lm, [text]).nll[0] for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    store = extract(lm, texts, tmp_path / "all")
    parts = [extract(lm, [text], tmp_path / f"{i}") for i, text in enumerate(texts)]
    states = torch.cat([_states(part, lm.n_layers) for part in parts])
    torch.testing.assert_close(_states(store, lm.n_layers), states, atol=1e-4, rtol=1e-4)


def _states(store: Any, layer: int) -> Tensor:
    return torch.cat([batch.x for batch in in_order(store, layer, 1000)])


@pytest.mark.parametrize(
    ("kind", "settings", "length"),
    [
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, 64),
        ("gptj", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 8}, 64),
        ("roberta", {**SMALL, "max_position_embeddings": 66, "is_decoder": True, "pad_token_id": 1}, 64),
        ("opt", {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64}, 64),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}, 64),
        ("llama", {**SMALL, "max_position_embeddings": 64}, None),
    ],
)
def test_the_longest_text_is_known(kind: str, settings: dict[str, Any], length: int | None) -> None:
    lm = Backbone(random_model(kind, **{"vocab_size": 300, **settings}), tiny_tokenizer())
    assert lm.limits.length == length
    long = tuple(range(10, 74))
    score(lm, [Query(long, ANSWERS)])
    if length is None:
        score(lm, [Query((*long, 5), ANSWERS)])
        return
    for read in (
        lambda: score(lm, [Query((*long, 5), ANSWERS)]),
        lambda: scores(lm, [Pair((*long, 5), (7,))]),
        lambda: generate(lm, prompts=["a" * 60], max_new_tokens=10),
    ):
        with pytest.raises(AccordError, match="longer than the model can read"):
            read()
    assert perplexity(lm, ["a" * 100]).tokens[0] == 100  # in windows that fit


def test_tokens_that_the_model_lacks_are_named() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<new{i}>" for i in range(40)])
    lm = Backbone(tiny_model(), tokenizer)
    large = int(tokenizer.convert_tokens_to_ids("<new39>"))
    assert large >= 300
    for read in (
        lambda: score(lm, [Query((5, large), ANSWERS)]),
        lambda: score(lm, [Query((5,), ((large,),))]),
        lambda: scores(lm, [Pair((5,), (large,))]),
        lambda: perplexity(lm, ["a <new39>"]),
        lambda: generate(lm, prompts=["a <new39>"]),
    ):
        with pytest.raises(AccordError, match="a token that the model does not have"):
            read()


def test_groups_of_lengths() -> None:
    assert Limits(switches=(5, 9)).grouped([4, 5, 8, 9, 1]) == {0: [0, 4], 1: [1, 2], 2: [3]}
    assert Limits(each_from=6).grouped([4, 5, 6, 7, 6]) == {0: [0, 1], 6: [2, 4], 7: [3]}


def test_a_gap_is_refused_before_any_item_is_scored() -> None:
    class Counting(Backbone):
        runs = 0

        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            self.runs += 1
            return super().hidden(ids, **options)

    items = task("hypernymy", limit=300, validator_shots="zero")
    longest = max(len(prompt) for item in items.items for prompt in items.prompts(item))
    lm = Counting(tiny_model("gpt2", n_positions=longest - 20), tiny_tokenizer())
    lm.runs = 0
    with pytest.raises(AccordError, match="longer than the model can read"):
        measure_gap(lm, items, resamples=0)
    assert lm.runs == 0
