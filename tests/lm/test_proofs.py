"""What is proven of a model when it is made: by behaviour, in any precision, whatever things are called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.errors import AccordError
from accord.lm import Backbone, Query, load, score
from tests.tiny import random_model, tiny_model, tiny_tokenizer

SMALL: dict[str, Any] = dict(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=256,
)
MAMBA: dict[str, Any] = dict(
    vocab_size=300,
    hidden_size=32,
    num_hidden_layers=2,
    state_size=8,
    num_heads=8,
    head_dim=8,
    n_groups=2,
    chunk_size=16,
)
RECURRENT = {**SMALL, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 16, "pad_token_id": 0}
FALCON_H1 = {**SMALL, "mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1}
FALCON_H1 |= {"mamba_d_state": 8, "mamba_chunk_size": 16, "lm_head_multiplier": 0.3}

ANSWERS = ((5,), (77,), (250,))


def prompts(n: int = 12, longest: int = 60) -> list[tuple[int, ...]]:
    """Prompts of mixed lengths; half of them share 30 tokens."""
    generator = np.random.default_rng(0)
    shared = generator.integers(3, 299, 30).tolist()
    rows = [generator.integers(3, 299, int(generator.integers(2, longest - 30))).tolist() for _ in range(n)]
    return [tuple(shared + row if i % 2 else row) for i, row in enumerate(rows)]


@torch.no_grad()
def plain(model: PreTrainedModel, texts: Sequence[tuple[int, ...]]) -> Tensor:
    """log p [text, answer] of plain transformers, each text alone."""
    rows = [model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].double() for text in texts]
    return torch.stack([row.log_softmax(-1)[[ids[0] for ids in ANSWERS]] for row in rows])


def ours(lm: Backbone, texts: Sequence[tuple[int, ...]]) -> Tensor:
    """The same by accord, all at once."""
    return torch.tensor(np.stack([row.first for row in score(lm, [Query(text, ANSWERS) for text in texts])]))


@pytest.mark.parametrize(
    ("kind", "settings", "finish"),
    [
        ("recurrent_gemma", {**RECURRENT, "logits_soft_cap": 3.0}, "soft-cap 3"),
        ("falcon_h1", FALCON_H1, "× 0.3"),
        ("hyperclovax", {**SMALL, "logits_scaling": 0.7}, "× 0.7"),
        ("cohere", {**SMALL, "logit_scale": 0.2}, "× 0.2"),
    ],
)
def test_what_follows_the_head_is_learnt_in_any_precision(kind: str, settings: dict[str, Any], finish: str) -> None:
    model = random_model(kind, **settings)
    texts = prompts()
    lm = Backbone(model, tiny_tokenizer())
    assert str(lm.lens_parts()[2]) == finish
    exact = plain(model.double(), texts)
    assert float((ours(Backbone(model.float(), tiny_tokenizer()), texts) - exact).abs().max()) < 2e-5
    half = Backbone(model.to(torch.bfloat16), tiny_tokenizer())
    assert str(half.lens_parts()[2]) == finish
    assert half.proofs["lens"].difference < 2e-5  # as tight as in float32
    off, own = ((each - exact).abs().mean() for each in (ours(half, texts), plain(model, texts)))
    assert off < 1.5 * own  # as near as transformers in that precision


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mamba", {k: v for k, v in MAMBA.items() if k not in ("num_heads", "head_dim", "n_groups", "chunk_size")}),
        ("mamba2", MAMBA),
    ],
)
def test_recurrent_models_in_half_precision(kind: str, settings: dict[str, Any]) -> None:
    model = random_model(kind, noise=0.05, **settings)
    texts = prompts()
    exact = plain(model.double(), texts)
    single = Backbone(model.float(), tiny_tokenizer())
    assert not single.cacheable
    assert float((ours(single, texts) - exact).abs().max()) < 2e-5
    half = Backbone(model.to(torch.bfloat16), tiny_tokenizer())
    off, own = ((each - exact).abs().mean() for each in (ours(half, texts), plain(model, texts)))
    assert off < 1.5 * own


def test_a_soft_cap_shows_however_small_the_logits_are() -> None:
    model = tiny_model("gemma2", final_logit_softcapping=500.0)
    assert str(Backbone(model, tiny_tokenizer()).lens_parts()[2]) == "soft-cap 500"


def test_a_factor_before_the_head() -> None:
    model = tiny_model("llama")
    inner = model.model.forward

    def halved(*args: Any, **kwargs: Any) -> Any:
        output = inner(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state / 4
        return output

    model.model.forward = halved
    lm = Backbone(model, tiny_tokenizer())
    texts = prompts()
    assert float((ours(lm, texts) - plain(model.double(), texts)).abs().max()) < 2e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bend_that_is_no_soft_cap_is_refused(dtype: torch.dtype) -> None:
    model = tiny_model("llama").to(dtype)
    inner = model.forward

    def bent(*args: Any, **kwargs: Any) -> Any:
        output = inner(*args, **kwargs)
        output.logits = output.logits.sign() * output.logits.abs().sqrt()
        return output

    model.forward = bent
    with pytest.raises(AccordError, match="neither a scale nor a soft-cap"):
        Backbone(model, tiny_tokenizer())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_sees_what_follows_is_refused(dtype: torch.dtype) -> None:
    model = random_model("gemma3_text", **SMALL, use_bidirectional_attention=True)
    with pytest.raises(AccordError, match="depend on what follows"):
        Backbone(model.to(dtype), tiny_tokenizer())


def test_states_of_another_shape_are_refused_by_name() -> None:
    class Four(nn.Module):
        def __init__(self, block: nn.Module, first: bool, last: bool) -> None:
            super().__init__()
            self.block, self.first, self.last = block, first, last

        def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
            state = hidden_states if self.first else hidden_states.mean(2)
            state = self.block(state, **kwargs)
            return state if self.last else state.unsqueeze(2).expand(-1, -1, 4, -1)

    model = tiny_model("llama")
    n = len(model.model.layers)
    model.model.layers = nn.ModuleList(Four(b, i == 0, i == n - 1) for i, b in enumerate(model.model.layers))
    with pytest.raises(AccordError, match=r"its states are \[2, 12, 4, 32\]"):
        Backbone(model, tiny_tokenizer())


def test_blocks_between_which_something_happens_are_refused() -> None:
    model = tiny_model("llama")
    model.model.layers[1].register_forward_pre_hook(lambda _, args: (args[0] * 2, *args[1:]))
    with pytest.raises(AccordError, match="what leaves its block 1 is not what enters the next"):
        Backbone(model, tiny_tokenizer())


def test_padding_that_changes_numbers_is_never_given() -> None:
    model = tiny_model("llama")
    inner = model.model.layers[0].forward

    def wider(hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return inner(hidden_states, **kwargs) * (1 + hidden_states.shape[1] / 100)

    model.model.layers[0].forward = wider
    lm = Backbone(model, tiny_tokenizer())
    assert lm.limits.each_from == 1 and not lm.cacheable
    texts = prompts()
    torch.testing.assert_close(ours(lm, texts), plain(model, texts), atol=1e-5, rtol=1e-5)


def test_rows_that_change_each_other_are_read_one_at_a_time() -> None:
    model = tiny_model("llama")
    inner = model.model.layers[1].forward

    def crowded(hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return inner(hidden_states, **kwargs) * (1 + (len(hidden_states) - 1) / 10)

    model.model.layers[1].forward = crowded
    lm = Backbone(model, tiny_tokenizer())
    texts = prompts()
    torch.testing.assert_close(ours(lm, texts), plain(model, texts), atol=1e-5, rtol=1e-5)


def test_windows_are_reached_beyond() -> None:
    lm = Backbone(tiny_model("mistral", sliding_window=40), tiny_tokenizer())
    assert lm.proofs["cache"].note == "tried on 64 tokens"
    assert lm.cacheable


def test_a_cache_that_is_wrong_behind_a_window_is_not_used() -> None:
    model = tiny_model("mistral", sliding_window=40)
    inner = model.model.layers[0].self_attn.forward

    def forgetful(hidden_states: Tensor, **kwargs: Any) -> Any:
        past = kwargs.get("past_key_values")
        output = inner(hidden_states, **kwargs)
        if past is not None and past.get_seq_length() > 41:
            return (output[0] * 1.01, *output[1:])
        return output

    model.model.layers[0].self_attn.forward = forgetful
    lm = Backbone(model, tiny_tokenizer())
    assert not lm.cacheable and lm.proofs["causality"].holds
    texts = prompts()
    torch.testing.assert_close(ours(lm, texts), plain(model, texts), atol=1e-5, rtol=1e-5)


VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGES: dict[str, dict[str, Any]] = {
    "gemma3": {
        "text_config": {**SMALL, "sliding_window": 8, "pad_token_id": 0},
        "vision_config": {**VISION, "image_size": 28, "patch_size": 14},
        "image_token_index": 299,
    },
    "qwen2_vl": {
        "text_config": {
            **{name: value for name, value in SMALL.items() if name != "head_dim"},
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        },
        "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4},
        "image_token_id": 298,
        "video_token_id": 299,
    },
    "llama4": {
        "text_config": {
            **SMALL,
            "intermediate_size_mlp": 48,
            "num_local_experts": 2,
            "attention_chunk_size": 16,
            "pad_token_id": 0,
        },
        "vision_config": {**VISION, "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32},
    },
}


@pytest.mark.parametrize("kind", IMAGES)
def test_models_that_read_images_work_through_their_text_part(kind: str, tmp_path: Path) -> None:
    model = random_model(kind, **IMAGES[kind])
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    lm = load(tmp_path, device="cpu")
    assert isinstance(lm, Backbone)
    assert lm.n_layers == 2
    texts = prompts()
    model.set_experts_implementation("eager")
    assert float((ours(lm, texts) - plain(model.double(), texts)).abs().max()) < 2e-5
