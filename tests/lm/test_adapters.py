"""PEFT adapters, from folders and in memory, give plain peft's numbers, or a clear error."""

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    IA3Config,
    LoHaConfig,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import accord
from accord import cli
from accord.errors import AccordError
from accord.lm import Backbone
from accord.loading import check_model
from accord.repair import merge
from tests.tiny import tiny_hub_folder, tiny_model, tiny_tokenizer

IDS = torch.tensor([[1, 5, 100, 9, 77, 240]])
_LORA: dict[str, Any] = dict(r=4, init_lora_weights=False, task_type="CAUSAL_LM")
KINDS = {
    "lora": LoraConfig(target_modules=["q_proj", "down_proj"], **_LORA),
    "dora": LoraConfig(target_modules=["q_proj", "v_proj"], use_dora=True, **_LORA),
    "ia3": IA3Config(
        target_modules=["k_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        init_ia3_weights=False,
        task_type="CAUSAL_LM",
    ),
    "loha": LoHaConfig(target_modules=["up_proj"], init_weights=False, task_type="CAUSAL_LM"),
    "head": LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"], **_LORA),
    "on-head": LoraConfig(target_modules=["q_proj", "lm_head"], **_LORA),
    "pissa": LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM"),
}


@torch.no_grad()
def logits(lm: accord.LanguageModel) -> torch.Tensor:
    return lm.lens(lm.hidden(IDS)[lm.n_layers])


def made(folder: Path, config: Any, base: str = "../base") -> PeftModel:
    """An adapter in `folder` on the model beside it, saved by plain peft; and the model that it makes."""
    if not (folder.parent / "base").exists():
        tiny_hub_folder(folder.parent / "base")
    torch.manual_seed(0)
    base_model = AutoModelForCausalLM.from_pretrained(folder.parent / "base")
    whole = get_peft_model(base_model, copy.deepcopy(config)).eval()
    with torch.no_grad():
        for name, weight in whole.named_parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * (0.3 if "modules_to_save" in name else 0.05))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers`")
        whole.save_pretrained(folder)
    rename(folder, base)
    return whole


def rename(folder: Path, base: str | None, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base} | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_folders_and_objects_give_what_peft_gives(kind: str, tmp_path: Path) -> None:
    whole = made(tmp_path / "adapter", KINDS[kind])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        want, base = whole(IDS).logits, plain(IDS).logits
    reread = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(reread(IDS).logits, want, atol=1e-5, rtol=1e-5)
    assert (want - base).abs().max() > 1e-2
    for lm in (
        accord.load(tmp_path / "adapter", device="cpu"),
        accord.load(whole, tiny_tokenizer()),
        Backbone(whole, tiny_tokenizer()),
    ):
        torch.testing.assert_close(logits(lm), want, atol=1e-5, rtol=1e-5)
        assert isinstance(lm, Backbone) and lm.cacheable
        some = torch.tensor([7, 250])
        states = lm.hidden(IDS)[lm.n_layers]
        torch.testing.assert_close(lm.lens_of(states, some), lm.lens(states)[..., some])


def test_in_double_precision_too(tmp_path: Path) -> None:
    whole = made(tmp_path / "adapter", KINDS["lora"]).double()
    with torch.no_grad():
        torch.testing.assert_close(logits(Backbone(whole, tiny_tokenizer())), whole(IDS).logits.float())


@pytest.mark.parametrize(
    "config",
    [
        PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
        PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
        LoraConfig(target_modules=["q_proj"], alora_invocation_tokens=[5, 100], **_LORA),
    ],
)
def test_kinds_that_act_outside_the_layers_are_refused(tmp_path: Path, config: Any) -> None:
    whole = made(tmp_path / "adapter", config)
    for opened in (
        lambda: accord.load(tmp_path / "adapter"),
        lambda: accord.load(whole, tiny_tokenizer()),
        lambda: Backbone(whole, tiny_tokenizer()),
    ):
        with pytest.raises(AccordError, match=r"cannot be measured: it puts tokens|activated LoRA"):
            opened()


def test_bases_are_looked_for_beside_the_adapter_then_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "adapter"
    made(folder, KINDS["lora"])
    want = logits(accord.load(folder))
    monkeypatch.chdir(tmp_path)
    for base in ("base", str(tmp_path / "base"), "./base"):
        rename(folder, base)
        torch.testing.assert_close(logits(accord.load("adapter")), want)
    tiny_model("llama", seed=5).save_pretrained(folder / "base")
    shutil.copy(tmp_path / "base" / "tokenizer.json", folder / "base")
    assert not torch.allclose(logits(accord.load("adapter")), want)  # that beside it comes first
    for base, words in ((None, "does not name the model"), ("", "does not name the model"), ("./gone", "no such")):
        rename(folder, base)
        with pytest.raises(AccordError, match=words):
            check_model("adapter")


def test_an_adapter_beside_whole_weights(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    made(folder, KINDS["lora"])
    want = logits(accord.load(folder))
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "base" / file, folder)
    for opened in (accord.load, check_model):
        with pytest.raises(AccordError, match="does not say which are meant"):
            opened(str(folder))
    rename(folder, ".")
    torch.testing.assert_close(logits(accord.load(folder)), want)
    check_model(str(folder))


def test_an_adapter_that_lost_or_gained_a_tensor_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    made(folder, KINDS["head"])
    whole = load_file(folder / "adapter_model.safetensors")
    for lost in list(whole)[:3] + list(whole)[-1:]:
        rest = {name: tensor for name, tensor in whole.items() if name != lost}
        save_file(rest, folder / "adapter_model.safetensors")
        with pytest.raises(AccordError, match=r"the file lacks (1|'base)"):
            accord.load(folder)
    save_file({**whole, "base_model.model.model.extra.weight": torch.ones(2)}, folder / "adapter_model.safetensors")
    with pytest.raises(AccordError, match="no place for 1"):
        accord.load(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task_type": "SEQ_CLS"}, "not of a language model"),
        ({"peft_type": "OF_TOMORROW"}, "does not know this adapter"),
        ({"a_switch_of_tomorrow": True}, "a_switch_of_tomorrow(.|\n)*--upgrade peft"),
        ({"r": 5}, "could not be put on its base"),
    ],
)
def test_adapters_that_peft_would_read_otherwise_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    made(tmp_path / "adapter", KINDS["lora"])
    rename(tmp_path / "adapter", "../base", **changes)
    with pytest.raises(AccordError, match=words):
        accord.load(tmp_path / "adapter")


def test_pickled_and_stacked_adapters_are_refused(tmp_path: Path) -> None:
    made(tmp_path / "adapter", KINDS["lora"])
    shutil.copytree(tmp_path / "adapter", tmp_path / "second")
    rename(tmp_path / "second", "../adapter")
    with pytest.raises(AccordError, match="goes on another adapter"):
        accord.load(tmp_path / "second")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(AccordError, match="pickled: refused"):
        accord.load(tmp_path / "adapter")


def test_fingerprints_tell_adapters_and_bases_apart_and_not_places(tmp_path: Path) -> None:
    from accord.loading import fingerprint

    made(tmp_path / "adapter", KINDS["lora"])
    first = fingerprint(str(tmp_path / "adapter"))
    (tmp_path / "moved").mkdir()
    for name in ("adapter", "base"):
        shutil.copytree(tmp_path / name, tmp_path / "moved" / name)
    rename(tmp_path / "moved" / "adapter", str(tmp_path / "moved" / "base"))
    assert fingerprint(str(tmp_path / "moved" / "adapter")) == first
    tiny_model("llama", seed=3).save_pretrained(tmp_path / "moved" / "base")
    second = fingerprint(str(tmp_path / "moved" / "adapter"))
    rename(tmp_path / "adapter", "../base", lora_alpha=1)
    assert len({first, second, fingerprint(str(tmp_path / "adapter"))}) == 3


@pytest.mark.parametrize("kind", ["lora", "ia3", "head"])
def test_foreign_adapters_are_merged(kind: str, tmp_path: Path) -> None:
    made(tmp_path / "adapter", KINDS[kind])
    want = logits(accord.load(tmp_path / "adapter"))
    drift = merge(tmp_path / "adapter", tmp_path / "merged")
    torch.testing.assert_close(logits(accord.load(tmp_path / "merged")), want, atol=1e-4, rtol=1e-4)
    assert drift.largest < 1e-3 and drift.logodds is None


def test_an_adapter_on_quantized_weights_is_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "adapter", KINDS["lora"])
    monkeypatch.setattr("accord.lm.backbone.quantization", lambda model: "bitsandbytes nf4")
    with pytest.raises(AccordError, match=r"merging an adapter needs weights that are not quantized"):
        merge(tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_foreign_adapters_are_judged_by_every_command(tmp_path: Path) -> None:
    made(tmp_path / "adapter", KINDS["lora"])
    rows = [f"thing{i},{'food' if i % 3 else 'bird'},{'yes' if i % 2 else 'no'}" for i in range(48)]
    (tmp_path / "pairs.csv").write_text("a,b,right\n" + "\n".join(rows))
    forms = 'generator = "{a} are a kind of"\nvalidator = "Are {a} a kind of {b}?"\nanswer = "{b}"\ngold = "right"\n'
    (tmp_path / "pairs.toml").write_text('name = "pairs"\ndata = "pairs.csv"\n' + forms)
    (tmp_path / "texts.txt").write_text("\n".join(f"{i} of food are yes and no of bird" for i in range(20)))
    task, adapter, base = (str(tmp_path / name) for name in ("pairs.toml", "adapter", "base"))
    words = ["damage", "--base", base, "--repaired", adapter, "--task", task, "--texts", str(tmp_path / "texts.txt")]
    words += ["--limit", "6", "--facts", "0", "--samples", "0", "--items", "8"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0 and "which items it learned from" in done.stderr, done.output
    for words in (
        ["gap", "--model", adapter, "--task", task, "--limit", "8"],
        ["verdict", "--repaired", adapter, "--task", task, "--limit", "12"],
        ["pathway", "--repaired", adapter, "--task", task, "--limit", "8", "--train-limit", "16", "--patch-items", "4"],
    ):
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 0, done.output + str(done.exception)
        assert words[0] == "gap" or "which items it learned from" in done.stderr


def test_a_tokenizer_beside_the_adapter_is_its_own(tmp_path: Path) -> None:
    made(tmp_path / "adapter", KINDS["lora"])
    before = accord.load(tmp_path / "adapter")
    tiny_tokenizer(bos=False).save_pretrained(tmp_path / "adapter")
    after = accord.load(tmp_path / "adapter")
    assert before.tokenizer("a")["input_ids"][0] == 1 != after.tokenizer("a")["input_ids"][0]
    assert before.settings()["weights"] != after.settings()["weights"]
