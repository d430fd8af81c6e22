"""Try accord on every causal model type of the installed transformers, and write the table of docs/models.md.

Each type is made tiny and random from its own config class, in a process of its own. accord's scores of prompts of
mixed lengths, half of which share a beginning, are compared with plain transformers in float64, one prompt at a time.
A type is right to 2e-5 (of plain float32, where that is further from float64), or it is refused by name.

    python scripts/sweep_models.py                  # all types, into docs/models.md: about ten minutes on one core
    python scripts/sweep_models.py mamba2 gemma3    # these, printed
"""

import contextlib
import json
import multiprocessing
import os
import resource
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from accord.errors import AccordError
from accord.lm import Backbone, Query, score

DOCS = Path(__file__).parents[1] / "docs" / "models.md"
SECONDS, MEMORY = 120, 6 * 2**30
TOLERANCE = 2e-5
VOCAB = 320
ANSWERS = (5, 77, 150, 299)

# What the numbers of any config become, by the end of their name; the first that fits. None leaves one alone.
SIZES: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("vocab_size_per_layer_input", "vocab_size", "vocab_sizes"), VOCAB),
    (("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "kv_heads"), 2),
    (("mamba_n_heads", "mamba_num_heads"), 8),
    (("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", "encoder_attention_heads"), 4),
    (("num_experts_per_tok", "moe_topk", "top_k_experts", "moe_top_k", "num_experts_per_token"), 2),
    (("n_group", "topk_group", "n_shared_experts", "num_shared_experts", "first_k_dense_replace"), 1),
    (("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts", "num_routed_experts"), 4),
    (("qk_rope_head_dim", "v_head_dim", "qk_nope_head_dim", "mamba_d_head", "mamba_head_dim", "head_dim"), 8),
    (("head_dim_k", "head_dim_v", "kv_channels", "attention_head_dim", "head_size", "rotary_dim"), 8),
    (("q_lora_rank", "kv_lora_rank", "lora_rank", "state_size", "d_state", "time_step_rank", "dt_rank"), 8),
    (("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size", "d_inner", "dff", "mlp_dim"), 48),
    (("hidden_size", "d_model", "n_embd", "model_dim", "lru_width", "embedding_size", "word_embed_proj_dim"), 32),
    (("embed_dim", "emb_dim", "hidden_dim", "embedding_dim", "dim_model", "size_per_layer_input"), 32),
    (("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers", "depth"), 4),
    (("sliding_window", "attention_window_size", "window_size", "attention_chunk_size", "index_topk"), 8),
    (("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"), 256),
    (("image_size", "img_size"), 28),
    (("patch_size",), 14),
)


INTRODUCTION = """# Models

accord takes a model if what it relies on holds in it, whatever its name. When a model loads, it is watched reading a
short text (which modules ran, what was handed on) and then tried; `accord prove MODEL` prints what that gave.

| proof | what is tried | if it fails |
| --- | --- | --- |
| lens | final norm, head and what follows (a scale, a soft-cap) give its own logits, in float32 | refused |
| layers | each block reads what the one before left; the trunk alone gives the whole model's states | refused |
| causality | later tokens change, earlier states of all layers stand still | refused |
| batch | states are the same alone, padded in a batch, and again | one length together, or one text at a time |
| cache | keys and values are cut, shared by rows, continued in pieces and one by one | every text is read whole |

Lengths at which position embeddings switch (longrope, dynamic NTK) are found by trying them, and texts on two sides of
one never share a batch, a prefix or a cache. Learned positions and the rows of the embedding are found as well: a
longer text, or an id beyond, is one error before work begins. In half precision the head multiplies in that precision,
as the model itself does; scale, soft-cap and log-probabilities are float32. How far a proof reaches is bounded, so that
loading a large model stays quick: beyond a window of thousands of tokens nothing is tried at loading, and the table of
`accord prove`, which tries longer texts, says how far it came. Half precision allows differences of states of .1
(bfloat16) and .03 (float16), as rounding alone makes up to .05.

The table is `scripts/sweep_models.py` on transformers {version}: each of its {total} causal and image-and-text types,
tiny and random, in float32. 17 prompts of up to 96 tokens, half of which share a beginning, are scored by accord
at once, and by plain transformers in float64 one at a time; the difference is the largest of a log-probability.
{right} types are right (to 2e-5; of plain float32, where that is further from float64), {refused} are refused,
{wrong} are wrong, {untried} could not be made tiny (their config needs more than smaller numbers, or a library).
A refusal that begins with "it cannot read a short text" is often such a config, too, or a model that needs an image.
"""


@dataclass
class Verdict:
    """What became of one type."""

    type: str
    verdict: str  # right, refused, wrong, not tried
    difference: float | None = None
    plain: float | None = None
    cacheable: bool | None = None
    reason: str = ""


def main(names: list[str]) -> None:
    """Try the types named, or all, and print or write what became of them."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    types = names or sorted(model_classes())
    rows = []
    for name in types:
        rows.append(apart(name))
        print(line(rows[-1]), flush=True)
    if not names:
        DOCS.write_text(page(rows), encoding="utf-8")
    if any(row.verdict == "wrong" for row in rows):
        sys.exit(1)


def model_classes() -> dict[str, str]:
    """Model type -> the class that has its head: causal models, and those that read images and text."""
    images = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return {**modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, **images}


def apart(name: str) -> Verdict:
    """The verdict on one type, from a process of its own with bounded time and memory."""
    context = multiprocessing.get_context("fork")
    out, into = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(name, into))
    child.start()
    into.close()
    got = Verdict(name, "not tried", reason=f"took more than {SECONDS} s")
    with contextlib.suppress(EOFError):
        if out.poll(SECONDS):
            got = Verdict(**json.loads(out.recv()))
    child.kill()
    child.join()
    return got


def _child(name: str, into: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        into.send(json.dumps(asdict(judged(name))))


def judged(name: str) -> Verdict:
    """Make the tiny model of a type, and compare."""
    try:
        model = tiny(name)
    except Exception as error:
        if "DEBUG" in os.environ:
            traceback.print_exc()
        return Verdict(name, "not tried", reason=f"no tiny model: {type(error).__name__}: {first_line(error)}")
    try:
        lm = Backbone(model, tokenizer())
    except AccordError as error:
        return Verdict(name, "refused", reason=error.problem.partition("boundary: ")[2] or error.problem)
    except Exception as error:
        if "DEBUG" in os.environ:
            traceback.print_exc()
        return Verdict(name, "wrong", reason=f"{type(error).__name__}: {first_line(error)}")
    texts = prompts(min(lm.limits.length or 96, 96))
    try:
        scores = score(lm, [Query(text, tuple((token,) for token in ANSWERS)) for text in texts])
        ours = np.stack([one.first for one in scores])
        single = plain(model, texts)
        model.set_experts_implementation("eager")
        exact, note = single, "transformers has no float64 of it"
        with contextlib.suppress(RuntimeError):
            exact, note = plain(model.double(), texts), ""
    except Exception as error:
        if "DEBUG" in os.environ:
            traceback.print_exc()
        return Verdict(name, "wrong", reason=f"{type(error).__name__}: {first_line(error)}")
    off, own = float(np.abs(ours - exact).max()), float(np.abs(single - exact).max())
    near = float(np.abs(ours - single).max())
    right = min(off, near) <= TOLERANCE
    notes = [f"after its head: {lm.lens_parts()[2]}"] if str(lm.lens_parts()[2]) != "nothing" else []
    notes += [note] if note else []
    notes += [f"plain float32 is as far from float64, and {near:.0e} from accord"] if off > TOLERANCE else []
    notes += ["one text at a time"] if lm.limits.each_from == 1 else []
    notes += [f"reads at most {lm.limits.length} tokens as configured"] if lm.limits.length else []
    return Verdict(name, "right" if right else "wrong", off, own, lm.cacheable, "; ".join(notes))


def tiny(name: str) -> PreTrainedModel:
    """A random model of a type, small in every number."""
    torch.manual_seed(0)
    config = tiny_config(CONFIG_MAPPING[name])
    config.bos_token_id, config.eos_token_id = 1, 2
    config.is_decoder = True
    model: PreTrainedModel = getattr(transformers, model_classes()[name])._from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.is_floating_point():  # norms off their defaults, so that a forgotten one shows
                weight.add_(torch.randn_like(weight) * 0.1)
    return model.eval().float()


def tiny_config(kind: type[PreTrainedConfig]) -> PreTrainedConfig:
    """The default config of a class with every size made small."""
    values = shrunk(kind().to_dict())
    for key in ("model_type", "transformers_version", "architectures"):
        values.pop(key, None)
    config = kind(**merged(values, OVERRIDES.get(kind.model_type, {})))
    for part in [config, *(value for value in vars(config).values() if isinstance(value, PreTrainedConfig))]:
        if not hasattr(part, "pad_token_id"):
            part.pad_token_id = None
    return config


def merged(values: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Values with others in their place, section by section; None leaves a value to the class."""
    whole = {**values}
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            whole[key] = merged(whole[key], value)
        elif value is DEFAULT:
            whole.pop(key, None)
        else:
            whole[key] = value
    return whole


def shrunk(values: dict[str, Any]) -> dict[str, Any]:
    """A config's values with sizes by `SIZES`, and lists of one entry a layer left to the class."""
    small: dict[str, Any] = {}
    latent = "qk_rope_head_dim" in values  # latent attention has a key for every head, and makes head_dim of its parts
    layers = next((v for k, v in values.items() if k in ("num_hidden_layers", "n_layer", "num_layers")), None)
    for key, value in values.items():
        if key == "per_layer_config" or (latent and key in ("head_dim", "qk_head_dim")):
            continue
        if isinstance(value, dict):
            small[key] = shrunk(value)
        elif isinstance(value, list) and layers and len(value) == layers:
            continue
        elif value is None and not latent and key in ("num_key_value_heads", "head_dim"):
            small[key] = 2 if key == "num_key_value_heads" else 8
        elif isinstance(value, bool) or not isinstance(value, int):
            small[key] = [1, 1, 2] if key == "mrope_section" else value
        elif key.endswith("_token_id") or key.endswith("_token_index"):
            small[key] = min(value, VOCAB - 10) if value >= 0 else value
        else:
            heads = latent and key == "num_key_value_heads"
            small[key] = (
                4 if heads else next((size for ends, size in SIZES if any(key.endswith(end) for end in ends)), value)
            )
    return small


DEFAULT: Any = object()
_SECTIONS = {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "mrope_section": [2, 1, 1]}}
_HALF = {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "mrope_section": [1, 1, 0]}}
# What the rules above do not bring to fit together.
OVERRIDES: dict[str, dict[str, Any]] = {
    **{name: {"text_config": _SECTIONS} for name in ("qwen2_vl", "qwen2_5_vl", "qwen2_5_omni_thinker", "paddleocr_vl")},
    **{name: {"text_config": _SECTIONS} for name in ("glm4v", "glm46v", "glmga", "glm_ocr")},
    "glm4v_moe": {"text_config": _HALF},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "ernie4_5_moe": {"moe_k": 2},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1},
    "gemma3n_text": {"num_hidden_layers": 10, "num_kv_shared_layers": 5},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "attention_layers": DEFAULT},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "longcat_flash": {"head_dim": 8, "qk_head_dim": DEFAULT},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 2},
    "reformer": {"axial_pos_embds_dim": [8, 24], "axial_pos_shape": [8, 32]},
    "xlnet": {"d_head": 8},
    "zamba": {
        "num_hidden_layers": 8,
        "attn_layer_period": 3,
        "attn_layer_offset": 1,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "mamba_dt_rank": 8,
    },
    "zamba2": {
        "layer_types": ["mamba", "hybrid", "mamba", "hybrid"],
        "mamba_headdim": 8,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that the boundary accepts; prompts are given as ids."""
    vocab = {f"t{i}": i for i in range(VOCAB)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="t0")), eos_token="t2")


def prompts(longest: int) -> list[tuple[int, ...]]:
    """Prompts of mixed lengths up to `longest`, half of which share a beginning."""
    generator = np.random.default_rng(0)
    shared = generator.integers(11, VOCAB - 20, 40).tolist()
    texts = []
    for i in range(16):
        own = generator.integers(11, VOCAB - 20, int(generator.integers(2, max(longest - 40, 3)))).tolist()
        texts.append(tuple((shared[: int(generator.integers(18, 41))] + own if i % 2 else own)[:longest]))
    texts.append(tuple(generator.integers(11, VOCAB - 20, longest).tolist()))
    return list(dict.fromkeys(texts))


@torch.no_grad()
def plain(model: PreTrainedModel, texts: list[tuple[int, ...]]) -> np.ndarray:
    """log p of the answers after each text [text, answer], one at a time, as transformers has it."""
    rows = []
    for text in texts:
        logits = model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].double()
        rows.append(logits.log_softmax(-1)[list(ANSWERS)].numpy())
    return np.stack(rows)


def first_line(error: BaseException) -> str:
    """What an error says, short."""
    return (str(error).strip() or "…").splitlines()[0][:150]


def line(row: Verdict) -> str:
    """A row as text."""
    numbers = "" if row.difference is None else f"{row.difference:.1e} (plain float32 {row.plain:.1e}) "
    cache = "" if row.cacheable is None else f"cache {'yes' if row.cacheable else 'no'} "
    return f"{row.type:28} {row.verdict:10} {numbers}{cache}{row.reason}"


def page(rows: list[Verdict]) -> str:
    """docs/models.md."""
    return "\n".join(_page(rows)) + "\n"


def _page(rows: list[Verdict]) -> Iterator[str]:
    counts = Counter(row.verdict for row in rows)
    numbers = {"right": counts["right"], "refused": counts["refused"], "wrong": counts["wrong"]}
    yield INTRODUCTION.format(version=transformers.__version__, total=len(rows), untried=counts["not tried"], **numbers)
    yield "| type | verdict | largest difference | cache | remark |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        difference = "" if row.difference is None else f"{row.difference:.0e}"
        cache = "" if row.cacheable is None else ("yes" if row.cacheable else "no")
        yield f"| {row.type} | {row.verdict} | {difference} | {cache} | {row.reason.replace('|', '/')} |"


if __name__ == "__main__":
    main(sys.argv[1:])
