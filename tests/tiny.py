"""Tiny random models of many families, and a tiny tokenizer: real architectures, made in memory in milliseconds."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto import modeling_auto

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


def tiny_tokenizer(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges of letters, but with the words that the tests score as single tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["ĠYes", "ĠNo", "Ġyes", "Ġno", "Yes", "No", "yes", "no", "Ġfood", "Ġbird", "Ġkind", "Ġof", "Ġare"]
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
