"""No folder that gives two different models is opened: what its files hold is what its config.json describes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from accord.errors import AccordError
from accord.lm import load
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer

WEIGHTS = "model.safetensors"
_SMALL = {**FAMILIES["llama"][1], "num_hidden_layers": 1}
_EXPERTS = dict(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8, head_dim=8, mlp_only_layers=[])


def saved(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**_SMALL, **changes}))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def reconfigure(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def logits(folder: Path) -> Tensor:
    lm = load(folder, device="cpu")
    with torch.no_grad():
        return lm.lens(lm.hidden(torch.tensor([[1, 5, 100, 9, 77]]))[lm.n_layers])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("llama", {}), ("llama", {"tie_word_embeddings": True}), ("qwen3_moe", _EXPERTS), ("gpt_oss", {"head_dim": 8})],
)
def test_a_folder_that_lost_any_tensor_is_refused(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    folder = saved(tmp_path / "model", kind, **changes)
    assert torch.equal(logits(folder), logits(folder))
    whole = load_file(folder / WEIGHTS)
    for lost in whole:
        rest = {name: tensor for name, tensor in whole.items() if name != lost}
        save_file(rest, folder / WEIGHTS, {"format": "pt"})
        with pytest.raises(AccordError, match=r"the files lack|other shapes") as caught:
            load(folder)
        last = lost.rpartition("experts.")[0] or lost  # experts are stacked: their stack is named
        assert last.replace(".weight", "") in str(caught.value), lost


def extra(name: str, *shape: int) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, lambda tensors: tensors.update({name: torch.zeros(shape)}))


def other_shape(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(31)}))


def eight_bits(folder: Path) -> None:
    def cut(tensors: dict[str, Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["lm_head.weight"].to(torch.float8_e4m3fn)

    rewrite(folder, cut)


def unknown_bits(folder: Path) -> None:
    reconfigure(folder, quantization_config={"quant_method": "of-tomorrow", "bits": 3})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (extra("model.layers.0.mlp.extra.weight", 3), r"no place for: 1 \(model\.layers\.0\.mlp\.extra\.weight\)"),
        (extra("model.layers.0.self_attn.q_proj.bias", 32), "no place for"),  # the config says: no bias
        (extra("model.layers.0.self_attn.q_proj.lora_A.weight", 4, 32), "no place for"),
        (extra("model.embed_norm.weight", 32), "no place for"),
        (extra("lm_head.bias", 300), "no place for"),
        (lambda folder: reconfigure(folder, num_hidden_layers=2), r"lack: 9 \(model\.layers\.1\.(.|\n)*and 5 more"),
        (other_shape, r"other shapes in the files: 1 \(model\.norm\.weight \(31,\), wanted \(32,\)\)"),
        (eight_bits, r"lm_head\.weight \(F8_E4M3\)"),
        (unknown_bits, "of-tomorrow(.|\n)*before it was quantized"),
        (lambda folder: reconfigure(folder, transformers_weights="other.safetensors"), "names other weights"),
    ],
)
def test_files_that_hold_another_model_are_refused(tmp_path: Path, harm: Callable[[Path], None], words: str) -> None:
    folder = saved(tmp_path / "model")
    harm(folder)
    with pytest.raises(AccordError, match=words):
        load(folder)


def test_a_cut_depth_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", num_hidden_layers=2)
    reconfigure(folder, num_hidden_layers=1)
    with pytest.raises(AccordError, match="no place for: 9"):
        load(folder)
    reconfigure(folder, num_nextn_predict_layers=1)  # nor can it be called a layer that looks ahead
    with pytest.raises(AccordError, match="no place for: 9"):
        load(folder)
    rewrite(folder, lambda tensors: tensors.update({"model.layers.1.eh_proj.weight": torch.zeros(32, 64)}))
    load(folder)


@pytest.mark.parametrize("tied", [False, True])
def test_a_reward_models_folder_is_no_language_model(tmp_path: Path, tied: bool) -> None:
    config = transformers.LlamaConfig(**_SMALL, tie_word_embeddings=tied)
    transformers.LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(AccordError, match=r"score\.weight"):
        load(tmp_path)


@pytest.mark.parametrize(
    "spare", ["score.weight", "v_head.summary.weight", "mtp.layers.0.mlp.up_proj.weight", "model.mtp_block.0.weight"]
)
def test_a_spare_head_beside_a_full_one_changes_nothing(tmp_path: Path, spare: str) -> None:
    folder = saved(tmp_path / "model")
    before = logits(folder)
    extra(spare, 1, 32)(folder)
    assert torch.equal(logits(folder), before)


def test_masks_of_old_files_change_nothing(tmp_path: Path) -> None:
    tiny_model("gpt2").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    before = logits(tmp_path)
    masks = {"attn.bias": torch.ones(256, 256).tril()[None, None], "attn.masked_bias": torch.tensor(-1e4)}
    rewrite(tmp_path, lambda t: t.update({f"transformer.h.0.{name}": mask for name, mask in masks.items()}))
    assert torch.equal(logits(tmp_path), before)


def test_a_head_in_the_files_counts_whatever_the_config_says_of_ties(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    before = logits(folder)
    reconfigure(folder, tie_word_embeddings=True)
    assert torch.equal(logits(folder), before)


# Shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = saved(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def first(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


def index_points_elsewhere(folder: Path) -> None:
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    names = sorted(set(index["weight_map"].values()))
    key = next(key for key, name in index["weight_map"].items() if name == names[0])
    index["weight_map"][key] = names[1]
    file.write_text(json.dumps(index))


def a_tensor_twice(folder: Path) -> None:
    shard, other = sorted(folder.glob("model-*.safetensors"))[:2]
    tensors = load_file(shard)
    name, tensor = next(iter(tensors.items()))
    save_file({**load_file(other), name: tensor + 1}, other, {"format": "pt"})


def cut_short(folder: Path) -> None:
    first(folder).write_bytes(first(folder).read_bytes()[:-4])


def a_pointer(folder: Path) -> None:
    first(folder).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")


def no_json(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{")


def whole_weights_too(folder: Path) -> None:
    shutil.copy(first(folder), folder / WEIGHTS)


def shards_of_another_kind(folder: Path) -> None:
    shutil.copy(first(folder), folder / "shard-00000-model-00001-of-00002.safetensors")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (index_points_elsewhere, "index of the weights does not tell"),
        (a_tensor_twice, "lies in model-0(.|\n)*and in"),
        (cut_short, "damaged or cut short(.|\n)*wanted"),
        (a_pointer, "git lfs pull"),
        (no_json, "This file is damaged"),
        (whole_weights_too, "two sets of weights"),
        (shards_of_another_kind, "two sets of weights"),
        (lambda folder: first(folder).unlink(), "lacks some of its weights"),
    ],
)
def test_shards_that_are_not_one_whole_are_refused(shards: Path, harm: Callable[[Path], None], words: str) -> None:
    load(shards)
    harm(shards)
    with pytest.raises(AccordError, match=words):
        load(shards)
