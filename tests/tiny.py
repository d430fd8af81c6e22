"""Tiny random models of many families, and a tiny tokenizer: real architectures, made in memory in milliseconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto import modeling_auto

from accord.gap import NO_FORMS, YES_FORMS
from accord.lm.encoding import single_tokens

_SMALL = dict(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=256,
)
_GROUPED = {**_SMALL, "num_key_value_heads": 2}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": 6}),
    "qwen2": ("Qwen2", _GROUPED),
    "qwen3": ("Qwen3", {**_GROUPED, "head_dim": 8}),
    "gemma2": ("Gemma2", {**_GROUPED, "head_dim": 8, "sliding_window": 6, "final_logit_softcapping": 2.0}),
    "gemma3": (
        "Gemma3Text",
        {**_GROUPED, "head_dim": 8, "sliding_window": 6, "final_logit_softcapping": 1.5},
    ),
    "gpt2": ("GPT2", dict(vocab_size=300, n_embd=32, n_layer=3, n_head=4, n_positions=256)),
    "gpt-neox": ("GPTNeoX", _SMALL),
    "opt": (
        "OPT",
        dict(
            vocab_size=300,
            hidden_size=32,
            word_embed_proj_dim=16,
            ffn_dim=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=256,
        ),
    ),
    "phi3": ("Phi3", {**_GROUPED, "pad_token_id": 0}),
    "olmo2": ("Olmo2", _GROUPED),
    "cohere": ("Cohere", {**_GROUPED, "logit_scale": 0.25}),
    "granite": ("Granite", {**_GROUPED, "logits_scaling": 3.0}),
}


def tiny_model(family: str = "llama", seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model of `family` with sharp enough logits that wrong numbers show."""
    stem, settings = FAMILIES[family]
    config = getattr(transformers, f"{stem}Config")(**{"bos_token_id": 1, "eos_token_id": 2, **settings, **changes})
    torch.manual_seed(seed)
    name = "Gemma3" if stem == "Gemma3Text" else stem
    name += {"GPT2": "LMHeadModel"}.get(stem, "ForCausalLM")
    model: PreTrainedModel = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Norm weights off their default too, so that a forgotten norm cannot pass for an identity.
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model.eval()


_STATES = dict(vocab_size=300, hidden_size=32, num_hidden_layers=3, pad_token_id=0)
_EXPERTS = {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "pad_token_id": 0}
_GATED = {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "pad_token_id": 0}

# Experts in stacks of matrices, and layers that are no attention, by their type in transformers.
MIXED: dict[str, dict[str, Any]] = {
    "qwen3_moe": {**_EXPERTS, "head_dim": 8, "moe_intermediate_size": 24},
    "gpt_oss": {**_GATED, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "deepseek_v3": {
        **_GROUPED,
        **dict(num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, n_group=1),
        **dict(moe_intermediate_size=24, first_k_dense_replace=1, topk_group=1, q_lora_rank=16, kv_lora_rank=16),
        **dict(qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, pad_token_id=0),
    },
    "mamba": {**_STATES, "state_size": 8},
    "mamba2": {**_STATES, **dict(state_size=16, num_heads=8, head_dim=8, expand=2, n_groups=1, chunk_size=16)},
    "falcon_h1": {
        **_GROUPED,
        **dict(head_dim=8, mamba_d_ssm=64, mamba_n_heads=8, mamba_d_head=8, mamba_d_state=16, mamba_chunk_size=16),
        **dict(mamba_n_groups=1, pad_token_id=0),
    },
    "jamba": {
        **_EXPERTS,
        **dict(attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1),
        **dict(mamba_d_state=8, use_mamba_kernels=False),
    },
}


def tiny_mixed(kind: str, seed: int = 0) -> PreTrainedModel:
    """A random model of a kind in `MIXED`; see `tiny_model`."""
    config = transformers.AutoConfig.for_model(kind, **{"bos_token_id": 1, "eos_token_id": 2, **MIXED[kind]})
    torch.manual_seed(seed)
    model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model.eval()


def tiny_tokenizer(*, bos: bool = True, more: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges of letters, but with the words that the tests score as single tokens.

    Args:
        more: further words that are single tokens; Ġ stands for a space.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["ĠYes", "ĠNo", "Ġyes", "Ġno", "Yes", "No", "yes", "no", "Ġfood", "Ġbird", "Ġkind", "Ġof", "Ġare", *more]
    vocab = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    merges: list[tuple[str, str]] = []
    for word in words:
        left = word[0]
        for letter in word[1:]:
            if (left, letter) not in merges:
                merges.append((left, letter))
            left += letter
            vocab.setdefault(left, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]),
            ]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>" if bos else None, eos_token="</s>", pad_token="<pad>"
    )


def yes_no(tokenizer: PreTrainedTokenizerFast) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Token ids of Yes and of No in their usual forms."""
    return single_tokens(tokenizer, YES_FORMS), single_tokens(tokenizer, NO_FORMS)


def tiny_hub_folder(folder: Path) -> None:
    """Save the Llama and its tokenizer as the hub has models."""
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def tiny_texts(n: int = 60) -> list[str]:
    """Texts of words that the tokenizer knows, all different."""
    words = ["food", "bird", "kind", "of", "are", "yes", "no"]
    lines = (" ".join(words[(i * 3 + j * (1 + i % 5)) % 7] for j in range(8 + i % 5)) for i in range(n))
    return [f"{i} {line}" for i, line in enumerate(lines)]


def random_model(kind: str, seed: int = 0, *, noise: float = 0.15, **settings: Any) -> PreTrainedModel:
    """A random model of any causal type of transformers, in float32: `settings` are its config's."""
    config = transformers.AutoConfig.for_model(kind, **{"bos_token_id": 1, "eos_token_id": 2, **settings})
    auto = transformers.AutoModelForCausalLM
    if kind not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        auto = transformers.AutoModelForImageTextToText
    torch.manual_seed(seed)
    model: PreTrainedModel = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return model.float().eval()
