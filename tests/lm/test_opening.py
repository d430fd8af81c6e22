"""From a name, folder or object to a backbone: no code of a folder runs, missing packages are named, memory is left."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import accord
from accord.cache import hash_file, kept_hash
from accord.errors import AccordError, MissingLibrary
from accord.lm.catalog import resolve
from accord.lm.quantization import quantization, stored_as
from accord.repair.lora import check_base
from tests.tiny import tiny_hub_folder, tiny_model, tiny_tokenizer

IDS = torch.tensor([[1, 5, 100, 9, 77]])


def reconfigure(file: Path, **changes: Any) -> None:
    config = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(config | changes))


@torch.no_grad()
def logits(lm: accord.LanguageModel) -> torch.Tensor:
    return lm.lens(lm.hidden(IDS)[lm.n_layers])


# No code of a folder


def own_config(folder: Path) -> None:
    auto_map = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    reconfigure(folder / "config.json", model_type="of-its-own", auto_map=auto_map)


def own_model(folder: Path) -> None:  # of a type that transformers knows, without a causal model of it
    reconfigure(folder / "config.json", model_type="vit", auto_map={"AutoModelForCausalLM": "code.Model"})


def own_tokenizer(folder: Path) -> None:
    own_config(folder)
    (folder / "tokenizer.json").unlink()
    auto_map = {"AutoTokenizer": ["code.Tokenizer", None]}
    reconfigure(folder / "config.json", model_type="llama", auto_map={})
    reconfigure(folder / "tokenizer_config.json", tokenizer_class="OfItsOwn", auto_map=auto_map)


def own_kernel(folder: Path) -> None:
    reconfigure(folder / "config.json", attn_implementation="someone/kernels")


def beside_known_types(folder: Path) -> None:
    """Code for what transformers has classes of its own for, and a way to write texts."""
    reconfigure(folder / "config.json", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    reconfigure(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "code.Tokenizer"]})
    reconfigure(folder / "generation_config.json", auto_map={"GenerationConfig": "code.Config"})
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "code.py", folder / "custom_generate" / "generate.py")


_OPEN = """
import json, sys, accord
from accord.errors import AccordError
from accord.loading import shape
errors = {}
for folder in sys.argv[1:]:
    try:
        shape(folder, fetch=False)
        accord.load(folder)
    except AccordError as error:
        errors[folder] = str(error)
print(json.dumps(errors))
"""


def test_no_code_of_a_folder_runs_whatever_is_answered(tmp_path: Path) -> None:
    arms = [own_config, own_model, own_tokenizer, own_kernel, beside_known_types]
    folders = [tmp_path / arm.__name__ for arm in arms]
    for arm, folder in zip(arms, folders, strict=True):
        tiny_hub_folder(folder)
        (folder / "code.py").write_text(f"open({str(tmp_path / folder.name)!r} + '-ran', 'w').close()\n")
        arm(folder)
    command = [sys.executable, "-c", _OPEN, *map(str, folders)]
    done = subprocess.run(command, input="y\n" * 99, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert not list(tmp_path.glob("*-ran")) and "[y/N]" not in done.stdout + done.stderr, done.stderr
    errors = json.loads(done.stdout.splitlines()[-1])
    assert set(errors) == set(map(str, folders[:-1])), errors  # transformers has classes of its own for the last
    assert all("accord runs none" in text for text in errors.values()), errors


def test_an_adapter_cannot_name_code_either(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "base")
    adapted = get_peft_model(tiny_model("llama"), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapted.save_pretrained(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    reconfigure(config, base_model_name_or_path="../base", megatron_config={"x": 1}, megatron_core="code")
    with pytest.raises(AccordError, match="accord runs none"):
        accord.load(tmp_path / "adapter")


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "gemma3", "gpt-neox", "opt"])
def test_a_folder_without_its_tokenizer_is_refused(tmp_path: Path, family: str) -> None:
    tiny_model(family).save_pretrained(tmp_path)
    with pytest.raises(AccordError, match="knows no words"):
        accord.load(tmp_path)


# Quantized weights


@pytest.mark.parametrize(
    ("config", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "optimum"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}, "gptqmodel"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}}, "torchao"),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}}, "hqq"),
        ({"quant_method": "quanto", "weights": "int8"}, "optimum-quanto"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_package_that_reads_quantized_weights_is_named(tmp_path: Path, config: Any, package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package.replace("-", "_").replace("optimum_", "optimum.").partition(".")[0]):
        pytest.skip(f"of what is said where {package} is missing (without it)")
    tiny_hub_folder(tmp_path)
    reconfigure(tmp_path / "config.json", quantization_config=config)
    with pytest.raises(MissingLibrary, match=f"fix: +pip install {package}") as caught:
        accord.load(tmp_path)
    assert config["quant_method"] in str(caught.value) and caught.value.exit_code == 2


def test_a_missing_package_ends_the_command_with_2(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from accord import cli

    tiny_hub_folder(tmp_path)
    reconfigure(tmp_path / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    words = ["gap", "--model", str(tmp_path), "--task", "hypernymy", "--limit", "4"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2 and "pip install bitsandbytes" in done.stderr and "Traceback" not in done.stderr


def blocks_of_eight_bits(folder: Path) -> None:
    """The projections of a folder in float8, with a scale for each block of 16 x 16 weights."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if "proj" in name]:
        rows, columns = tensors[name].shape
        blocks = tensors[name].reshape(rows // 16, 16, columns // 16, 16)
        scale = blocks.abs().amax((1, 3), keepdim=True) / 448
        tensors[name] = (blocks / scale).reshape(rows, columns).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale[:, 0, :, 0].contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    fp8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [16, 16], "activation_scheme": "dynamic"}
    reconfigure(folder / "config.json", quantization_config={**fp8, "modules_to_not_convert": ["lm_head"]})


def test_float8_weights_are_read_with_their_scales_and_told(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path)
    plain = logits(accord.load(tmp_path, device="cpu"))
    blocks_of_eight_bits(tmp_path)
    lm = accord.load(tmp_path, device="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(logits(lm), theirs(IDS).logits.float(), atol=1e-2, rtol=1e-2)
    assert 1e-3 < (logits(lm) - plain).abs().max() < 0.5 * plain.abs().max()
    assert lm.settings()["quantization"] == "fp8 e4m3, expanded"


def test_what_quantized_weights_rule_out_is_refused_before_it_begins(lm: accord.Backbone) -> None:
    from accord.repair.config import read_repair

    lm.quantization = "bitsandbytes nf4"
    with pytest.raises(AccordError, match="full fine-tuning needs weights that are not quantized"):
        check_base(lm, read_repair({"kind": "sft", "full": True}))
    assert check_base(lm, read_repair({"kind": "sft"})) is not None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "bnb_4bit_quant_type": "fp4"}, "bitsandbytes int8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq 4 bits"),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4Config"}}}, "torchao Int4Config"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
    ],
)
def test_a_precision_in_words(config: dict[str, Any], words: str) -> None:
    model = tiny_model("llama")
    assert quantization(model) is None
    model.config.quantization_config = config
    assert stored_as(model.config) == words == quantization(model)


# Models in memory


@pytest.fixture
def lm() -> accord.Backbone:
    loaded = accord.load(tiny_model("llama"), tiny_tokenizer())
    assert isinstance(loaded, accord.Backbone)
    return loaded


def test_a_model_in_memory_is_measured_as_it_is(tmp_path: Path) -> None:
    model = tiny_model("llama").double()
    model.train()
    learns = {name: weight.requires_grad for name, weight in model.named_parameters()}
    lm = accord.load(model, tiny_tokenizer())
    with torch.no_grad():
        torch.testing.assert_close(logits(lm), model(IDS).logits.float(), atol=1e-6, rtol=1e-5)
    assert not model.training and lm.name == "LlamaForCausalLM" and lm.dtype == torch.float64
    assert {name: weight.requires_grad for name, weight in model.named_parameters()} == learns
    tiny_hub_folder(tmp_path)
    named = accord.load(AutoModelForCausalLM.from_pretrained(tmp_path), tiny_tokenizer())
    assert named.name == str(tmp_path)


def test_a_fingerprint_in_memory_is_of_weights_config_and_tokenizer() -> None:
    def fingerprint(change: Callable[[Any], Any] = lambda model: None, bos: bool = True) -> str:
        model = tiny_model("llama")
        change(model)
        return accord.load(model, tiny_tokenizer(bos=bos)).settings()["weights"]

    def one_weight(model: Any) -> None:
        with torch.no_grad():
            model.lm_head.weight[3, 3] += 1e-3

    def other_base(model: Any) -> None:
        model.config.rms_norm_eps = 1e-3

    def another_place(model: Any) -> None:
        model.config._name_or_path = "/elsewhere"

    def adapter(scale: int) -> Callable[[Any], Any]:
        def put(model: Any) -> None:
            torch.manual_seed(0)
            get_peft_model(model, LoraConfig(r=2, lora_alpha=scale, target_modules=["q_proj"]))

        return put

    same = fingerprint()
    assert same.startswith("memory:") and same == fingerprint() == fingerprint(another_place)
    others = [fingerprint(one_weight), fingerprint(other_base), fingerprint(bos=False)]
    assert len({same, *others}) == 4
    assert fingerprint(adapter(2)) != fingerprint(adapter(4))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda: (tiny_model("llama"),), "needs its tokenizer"),
        (lambda: ("smollm2-135m", tiny_tokenizer()), "in memory only"),
        (lambda: (torch.nn.Linear(2, 2), tiny_tokenizer()), "takes no such thing"),
        (lambda: (None,), "takes no such thing"),
    ],
)
def test_what_load_takes_is_said(arguments: Callable[[], tuple[Any, ...]], words: str) -> None:
    with pytest.raises(AccordError, match=words):
        accord.load(*arguments())


def test_a_model_in_memory_is_not_moved() -> None:
    with pytest.raises(AccordError, match="stays where it is"):
        accord.load(tiny_model("llama"), tiny_tokenizer(), dtype="bfloat16")


def test_a_repair_of_a_model_in_memory_must_be_given_a_base(lm: accord.Backbone, tmp_path: Path) -> None:
    from accord.repair import repair
    from accord.repair.config import read_repair

    for section in (read_repair({"kind": "sft"}), read_repair({"kind": "calibrate"})):
        with pytest.raises(AccordError, match="in memory only"):
            repair(lm, accord.task("hypernymy", limit=8), section, folder=tmp_path / "out")


# Fingerprints of folders


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_copied_folder_is_the_same_model_and_another_finetune_is_not(home: Path, tmp_path: Path) -> None:
    original, copied, tuned = (tmp_path / name for name in ("one", "copied", "tuned"))
    tiny_hub_folder(original)
    shutil.copytree(original, copied, copy_function=shutil.copy)
    shutil.copytree(original, tuned)
    tensors = load_file(tuned / "model.safetensors")
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, tuned / "model.safetensors", {"format": "pt"})
    assert (tuned / "model.safetensors").stat().st_size == (original / "model.safetensors").stat().st_size
    prints = [resolve(str(folder)).fingerprint for folder in (original, copied, tuned)]
    assert prints[0] == prints[1] != prints[2]
    (copied / "generation_config.json").write_text('{"eos_token_id": [2, 3]}')  # ends what is written elsewhere
    assert resolve(str(copied)).fingerprint != prints[0]


def test_bytes_are_hashed_once_and_again_when_they_change(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = tmp_path / "weights", []

    def counted(path: Path) -> str:
        read.append(path)
        return hash_file(path)

    monkeypatch.setattr("accord.cache.hash_file", counted)
    file.write_bytes(b"a" * 1000)
    assert kept_hash(file) == kept_hash(file) == hashlib.sha256(b"a" * 1000).hexdigest()
    assert len(read) == 2  # just written: not yet trusted
    monkeypatch.setattr("accord.cache._SETTLED", -1)
    assert kept_hash(file) == kept_hash(file) and len(read) == 3
    times = file.stat()
    file.write_bytes(b"b" * 1000)  # same size, and its time set back
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert kept_hash(file) == hashlib.sha256(b"b" * 1000).hexdigest() and len(read) == 4


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("accord.cache._SETTLED", -1)
    assert kept_hash(tmp_path / "file") == hash_file(tmp_path / "file")
