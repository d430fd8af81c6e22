"""No file makes anything larger than itself: what it claims to hold is compared with its size before it is believed."""

import json
import struct
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from accord.errors import AccordError
from accord.lm import load
from accord.lm.adapters import check_adapter
from accord.lm.checkpoint import read_header
from accord.lm.claims import check_counts, check_size
from accord.lm.gguf import convert
from accord.loading import shape
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(made)
    tiny_tokenizer().save_pretrained(made)
    return made


@pytest.fixture(autouse=True)
def at_once() -> Any:
    """Each is refused in a moment: no layer is built, no array filled."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers = 1,000,000"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers"),
        ({"text_config": {"experts": [{"num_local_experts": 10**9}]}}, "num_local_experts"),
        ({"vocab_size": 9_000_000}, "numbers"),
        ({"hidden_size": 4_000_000}, "numbers"),
        ({"intermediate_size": 9_000_000}, "numbers"),
    ],
)
def test_a_configuration_claims_no_more_than_its_weights_hold(folder: Path, changes: dict[str, Any], got: str) -> None:
    file = folder / "config.json"
    before = file.read_text()
    settings = {**json.loads(before), **changes}
    settings.pop("layer_types", None)
    file.write_text(json.dumps(settings))
    try:
        read = partial(load, folder, device="cpu") if got == "numbers" else partial(shape, str(folder))
        with pytest.raises(AccordError, match="claims more than its files hold") as error:
            read()
        assert got in error.value.got
    finally:
        file.write_text(before)


@pytest.mark.parametrize("types", [[[["global", "local"], 10**9]], [["global", 10**9]], [[["x"] * 2000, 1]]])
@pytest.mark.parametrize("deep", [False, True])
def test_layers_that_are_spelt_as_kinds_and_how_often_are_counted(tmp_path: Path, types: Any, deep: bool) -> None:
    """As GPT-Neo has them: its configuration writes them out in full."""
    settings = {"attention_types": types}
    with pytest.raises(AccordError, match="claims more than its files hold") as error:
        check_counts({"text_config": [settings]} if deep else settings, 12, tmp_path)
    assert "layers in attention_types" in error.value.got
    check_counts({"attention_types": [[["global", "local"], 12]], "forced_ids": [["a", 50_257]]}, 12, tmp_path)


def test_configurations_of_models_pass(tmp_path: Path) -> None:
    check_counts({"num_hidden_layers": 80, "max_window_layers": 28, "max_position_embeddings": 10**7}, 12, tmp_path)
    check_counts([{"num_hidden_layers": True}, None], 0, tmp_path)


def safetensors(file: Path, header: Any, content: bytes = b"\0" * 16) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return file


def test_a_tensor_has_the_bytes_of_its_shape(tmp_path: Path) -> None:
    tensor = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    assert read_header(safetensors(tmp_path / "good", {"a": tensor}))["a"] == tensor
    odd = {"dtype": "F4", "shape": [32], "data_offsets": [0, 16]}  # of a type that is not known here
    assert read_header(safetensors(tmp_path / "odd", {"a": odd}))["a"] == odd
    for shape_ in ([2**40], [2, 1], [-2, -2], ["4"], [[2, 2]], None):
        with pytest.raises(AccordError, match="damaged or cut short"):
            read_header(safetensors(tmp_path / "bad", {"a": {**tensor, "shape": shape_}}))
    for header in (
        b"[" * 100_000,
        b"{}" + b" " * 10,
        b"[]",
        b'{"a": 1}',
        {"a": {**tensor, "data_offsets": [0, 2**60]}},
    ):
        with pytest.raises(AccordError, match="damaged or cut short"):
            read_header(safetensors(tmp_path / "bad", header))


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()


def entry(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


MANY = struct.pack("<Q", 2**40)


@pytest.mark.parametrize(
    ("tensors", "entries", "content", "got"),
    [
        (0, 2**40, b"", "1,099,511,627,776 entries"),
        (2**40, 0, b"", "tensors"),
        (0, 1, MANY, "letters in a name"),
        (0, 1, entry("a", 8, MANY), "letters"),
        (0, 1, entry("a", 9, struct.pack("<I", 0) + MANY), "values in a list"),
        (0, 1, entry("a", 9, struct.pack("<I", 8) + MANY), "values in a list"),
        (0, 1, entry("a", 9, struct.pack("<IQ", 9, 1) + struct.pack("<I", 9) + MANY), "values in a list"),
        (0, 1, entry("a", 9, struct.pack("<IQ", 9, 1) * 20_000), "recursion"),
        (0, 1, entry("a", 77, b""), "a value of type 77"),
        (0, 1, entry("llama.block_count", 4, struct.pack("<I", 10**6)), "llama.block_count = 1,000,000"),
        (0, 9, entry("a", 0, b"\0"), "letters|entries|buffer"),
    ],
)
def test_a_gguf_file_claims_no_more_than_it_holds(
    tmp_path: Path, tensors: int, entries: int, content: bytes, got: str
) -> None:
    file, made = tmp_path / "m.gguf", tmp_path / "made"
    made.mkdir()
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + content + b"\0" * 64)
    with pytest.raises(AccordError) as error:
        convert(file, made)
    assert "damaged or cut short" in str(error.value) or entries == 9
    assert any(word in error.value.got for word in got.split("|")) or entries == 9


def test_what_a_model_computes_for_itself_has_a_bound(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, GPTJConfig

    small = {"n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 8, "vocab_size": 300}
    files = [folder / "model.safetensors"]
    check_size(AutoModelForCausalLM, GPTJConfig(**small, n_positions=2048), files, folder)
    with pytest.raises(AccordError, match="claims more than its files hold") as error:
        check_size(AutoModelForCausalLM, GPTJConfig(**small, n_positions=50_000_000), files, folder)
    assert "that it computes" in error.value.got


@pytest.mark.parametrize("settings", [{"r": 3_000_000}, {"r": 2, "rank_pattern": {"q_proj": 3_000_000}}])
def test_an_adapter_is_of_no_higher_rank_than_its_file_has_numbers(settings: dict[str, Any], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")).save_pretrained(
        tmp_path
    )
    check_adapter(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    with pytest.raises(AccordError, match="claims more than its file holds"):
        check_adapter(tmp_path)
