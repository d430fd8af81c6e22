"""Generation: a sample is the same alone and in any batch, equal to a plain loop, and ends at EOS."""

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

from accord.errors import AccordError
from accord.lm import Backbone
from accord.lm.encoding import encode_prompt
from accord.lm.sampling import Sample, generate
from tests.tiny import tiny_model, tiny_tokenizer

PROMPTS = ["A bee is", "", "The kind of food that birds are", "No", "x" * 30]


def backbone(family: str = "llama", *, bos: bool = True, sharp: float = 1.0) -> Backbone:
    model = tiny_model(family)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(sharp)
    return Backbone(model, tiny_tokenizer(bos=bos))


@torch.no_grad()
def plain(lm: Backbone, prompt: str, i: int, j: int, *, seed: int, new: int) -> list[int]:
    """One text, no cache, the model's own logits, the processors of transformers, and the sample's own numbers."""
    chain = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.5),
            TemperatureLogitsWarper(0.7),
            TopKLogitsWarper(100),
            TopPLogitsWarper(0.9),
        ]
    )
    ids = list(encode_prompt(lm.tokenizer, prompt))
    begin = len(ids)
    for chance in np.random.default_rng([seed, i, j]).random(new):
        row = torch.tensor([ids])
        p = chain(row, lm.model(row, use_cache=False).logits[:, -1].float())[0].double().softmax(-1)
        token = int((p.cumsum(-1) > chance).nonzero()[0])
        if token == lm.tokenizer.eos_token_id:
            break
        ids.append(token)
    return ids[begin:]


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_equal_to_one_text_at_a_time(family: str) -> None:
    lm = backbone(family)
    samples = generate(lm, prompts=PROMPTS, n=3, max_new_tokens=12, seed=5, batch_size=4)
    for k, sample in enumerate(samples):
        i, j = divmod(k, 3)
        assert sample.prompt == PROMPTS[i]
        assert list(sample.ids) == plain(lm, PROMPTS[i], i, j, seed=5, new=12)


def test_no_batch_changes_a_sample() -> None:
    lm = backbone()
    whole = generate(lm, prompts=PROMPTS, n=4, max_new_tokens=15)
    assert generate(lm, prompts=PROMPTS, n=4, max_new_tokens=15, batch_size=1) == whole
    assert generate(lm, prompts=PROMPTS, n=4, max_new_tokens=15, batch_size=7) == whole
    assert generate(lm, prompts=PROMPTS[:2], n=2, max_new_tokens=15) == [whole[0], whole[1], whole[4], whole[5]]
    shorter = generate(lm, prompts=PROMPTS, n=4, max_new_tokens=6)
    assert [sample.ids for sample in shorter] == [sample.ids[:6] for sample in whole]
    assert len({sample.ids for sample in whole}) == len(whole)
    assert generate(lm, prompts=PROMPTS, n=4, max_new_tokens=15, seed=1) != whole


def test_samples_can_be_made_in_parts() -> None:
    lm = backbone()
    whole = generate(lm, n=7, max_new_tokens=6)
    assert generate(lm, n=3, max_new_tokens=6) + generate(lm, n=4, first=3, max_new_tokens=6) == whole


def test_a_model_without_cache() -> None:
    lm = backbone()
    cached = generate(lm, prompts=PROMPTS, max_new_tokens=10)
    lm.cacheable = False
    assert generate(lm, prompts=PROMPTS, max_new_tokens=10) == cached


@pytest.mark.parametrize("bos", [True, False])
def test_an_empty_prompt_starts_at_bos_or_eos(bos: bool) -> None:
    lm = backbone(bos=bos)
    samples = generate(lm, n=3, max_new_tokens=5)
    assert [sample.prompt for sample in samples] == [""] * 3
    assert all(0 <= len(sample.ids) <= 5 for sample in samples)
    assert samples == generate(lm, prompts=[""], n=3, max_new_tokens=5)


def test_a_model_without_any_start_says_so() -> None:
    lm = backbone(bos=False)
    lm.tokenizer.eos_token = None
    with pytest.raises(AccordError, match="no BOS or EOS"):
        generate(lm)


class Favouring(Backbone):
    """Gives EOS some probability, so that texts end early and at different places."""

    def lens(self, hidden: Tensor) -> Tensor:
        logits = super().lens(hidden)
        if hidden.ndim == 2:  # the proof at loading reads whole sequences
            logits[:, 2] = logits.amax(-1)
        return logits


def test_ended_texts_leave_the_batch() -> None:
    widths: list[int] = []

    class Counting(Favouring):
        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            widths.append(len(ids))
            return super().hidden(ids, **options)

    lm = Counting(tiny_model(), tiny_tokenizer())
    widths.clear()
    samples = generate(lm, n=16, max_new_tokens=40, batch_size=16)
    finished = [sample for sample in samples if sample.finished]
    assert finished
    assert all(2 not in sample.ids for sample in samples)
    assert all(len(sample.ids) == 40 for sample in samples if not sample.finished)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 16 and widths[-1] < 16
    assert sum(widths) == sum(len(sample.ids) + sample.finished for sample in samples)
    assert samples == generate(lm, n=16, max_new_tokens=40, batch_size=3)


def test_memory_that_runs_out_changes_nothing() -> None:
    class Small(Backbone):
        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            if len(ids) > 3:
                raise torch.OutOfMemoryError("no room")
            return super().hidden(ids, **options)

    small = Small(tiny_model(), tiny_tokenizer())
    seen: list[tuple[int, int]] = []
    samples = generate(small, n=8, max_new_tokens=6, progress=lambda done, total: seen.append((done, total)))
    assert samples == generate(backbone(), n=8, max_new_tokens=6)
    assert seen[-1] == (8, 8)


def test_memory_that_one_text_exceeds() -> None:
    class Full(Backbone):
        full = False

        def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
            if self.full:
                raise torch.OutOfMemoryError("no room")
            return super().hidden(ids, **options)

    lm = Full(tiny_model(), tiny_tokenizer())
    lm.full = True
    with pytest.raises(AccordError, match="out of memory on a single"):
        generate(lm, n=1)


def test_greedy_is_transformers_own() -> None:
    lm = backbone()
    prompt = "A bee is a kind"
    ids = torch.tensor([encode_prompt(lm.tokenizer, prompt)])
    own = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=0
    )[0, ids.shape[1] :].tolist()
    (sample,) = generate(lm, prompts=[prompt], max_new_tokens=20, temperature=0, repetition_penalty=1.0)
    assert list(sample.ids) == [token for token in own if token != 2]


def test_all_tokens_that_end_a_text_do() -> None:
    lm = backbone()
    prompt = "A bee is a kind"
    options: dict[str, Any] = dict(max_new_tokens=20, temperature=0, repetition_penalty=1.0)
    whole = generate(lm, prompts=[prompt], **options)[0].ids
    end = next(token for i, token in enumerate(whole) if i > 3 and token not in whole[:i])
    model = tiny_model()
    model.generation_config.eos_token_id = [2, end]
    several = Backbone(model, tiny_tokenizer())
    assert several.ends == {2, end}
    (sample,) = generate(several, prompts=[prompt], **options)
    ids = torch.tensor([encode_prompt(lm.tokenizer, prompt)])
    own = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=0)
    assert [*sample.ids, end] == own[0, ids.shape[1] :].tolist() == list(whole[: len(sample.ids) + 1])
    assert sample.finished


def test_logits_that_are_not_finite() -> None:
    lm = backbone()
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises(AccordError, match="not finite"):
        generate(lm)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"max_new_tokens": 0}, {"batch_size": 0}])
def test_senseless_numbers(wrong: dict[str, Any]) -> None:
    with pytest.raises(AccordError, match="at least 1"):
        generate(backbone(), **wrong)


def test_text_is_the_tokens_as_text() -> None:
    (sample,) = generate(backbone(), max_new_tokens=8)
    assert isinstance(sample, Sample)
    assert sample.text == tiny_tokenizer().decode(sample.ids, skip_special_tokens=True)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_texts_end_before_what_they_are_to_stop_at(batch_size: int) -> None:
    lm = backbone()
    free = generate(lm, prompts=PROMPTS, max_new_tokens=40, seed=3)
    texts = [sample.text for sample in free]
    stop = [texts[0][3:5], texts[2][10], "never \N{SNOWMAN} written"]
    ended = generate(lm, prompts=PROMPTS, max_new_tokens=40, seed=3, stop=stop, batch_size=batch_size)
    for whole, cut in zip(free, ended, strict=True):
        places = [whole.text.index(each) for each in stop if each in whole.text]
        assert cut.text == whole.text[: min(places, default=None)]
        assert cut.finished == (whole.finished or bool(places))
        assert whole.ids[: len(cut.ids)] == cut.ids and (not places or len(cut.ids) < len(whole.ids))
    assert sum(len(cut.ids) < len(whole.ids) for whole, cut in zip(free, ended, strict=True)) > 0
    with pytest.raises(AccordError, match="text to stop at is empty"):
        generate(lm, prompts=["A bee"], stop=["\n", ""])


def test_prompts_may_be_ids() -> None:
    lm = backbone()
    ids = encode_prompt(lm.tokenizer, PROMPTS[0])
    (by_text,), (by_ids,) = (generate(lm, prompts=[prompt], max_new_tokens=6) for prompt in (PROMPTS[0], list(ids)))
    assert by_ids == by_text
    with pytest.raises(AccordError, match="no tokens"):
        generate(lm, prompts=[[]])
