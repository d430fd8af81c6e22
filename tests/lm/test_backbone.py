"""The boundary: families proven by behaviour, the unknown refused, devices and dtypes named clearly."""

from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from accord.errors import AccordError
from accord.lm import Backbone, load
from accord.lm.devices import pick_device
from accord.lm.opening import pick_dtype
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_lens_is_the_models_own_logits(family: str) -> None:
    model = tiny_model(family)
    lm = Backbone(model, tiny_tokenizer())
    ids = torch.randint(0, 300, (3, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        states = lm.hidden(ids, layers=range(lm.n_layers + 1))
        theirs = model(ids, output_hidden_states=True)
        torch.testing.assert_close(lm.lens(states[lm.n_layers]), theirs.logits, atol=1e-5, rtol=1e-4)
        # transformers numbers layers the same way, but norms its last entry.
        for layer in range(lm.n_layers):
            if layer or family != "opt":  # OPT lists its embeddings before it adds positions
                torch.testing.assert_close(states[layer], theirs.hidden_states[layer])
    assert states[0].shape == (3, 17, lm.d_model)
    assert lm.cacheable


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_positions_are_picked_and_caches_continued(family: str) -> None:
    from transformers import DynamicCache

    lm = Backbone(tiny_model(family), tiny_tokenizer())
    ids = torch.randint(0, 300, (2, 15))
    at = torch.tensor([[3, 14], [0, 7]])
    with torch.no_grad():
        whole = lm.hidden(ids, layers=[1, 3])
        picked = lm.hidden(ids, layers=[1, 3], at=at)
        cache = DynamicCache()
        lm.hidden(ids[:, :9], cache=cache)
        rest = lm.hidden(ids[:, 9:], layers=[1, 3], cache=cache)
    for layer in (1, 3):
        for row in range(2):
            torch.testing.assert_close(picked[layer][row], whole[layer][row, at[row]])
        torch.testing.assert_close(rest[layer], whole[layer][:, 9:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_is_given_by_the_name_that_the_model_has_for_it(name: str) -> None:
    """Up to transformers 5.23 it is past_key_values, of which later versions warn."""
    from transformers import DynamicCache

    model = tiny_model("llama")
    forward, given = model.model.forward, []
    theirs = next(each for each in ("cache", "past_key_values") if each in signature(forward).parameters)

    def renamed(input_ids: Any = None, use_cache: Any = None, **others: Any) -> Any:
        given.append(set(others) & {"cache", "past_key_values"})
        kept = [others.pop(each, None) for each in ("cache", "past_key_values")]
        cache = kept[0] if kept[0] is not None else kept[1]
        return forward(input_ids, use_cache=use_cache, **{theirs: cache}, **others)

    parameters = [*signature(renamed).parameters.values()]
    parameters.insert(2, Parameter(name, Parameter.KEYWORD_ONLY))
    renamed.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    model.model.forward = renamed
    lm = Backbone(model, tiny_tokenizer())
    given.clear()
    with torch.no_grad():
        cache = DynamicCache()
        lm.hidden(torch.arange(9)[None], cache=cache)
        rest = lm.hidden(torch.arange(9, 15)[None], cache=cache)[3]
        whole = lm.hidden(torch.arange(15)[None])[3]
    torch.testing.assert_close(rest, whole[:, 9:], atol=1e-5, rtol=1e-4)
    assert given == [{name}, {name}, set()]


def test_right_padding_cannot_be_seen() -> None:
    lm = Backbone(tiny_model("qwen2"), tiny_tokenizer())
    ids = torch.randint(0, 300, (1, 8))
    with torch.no_grad():
        alone = lm.hidden(ids)[3]
        padded = lm.hidden(torch.cat([ids, torch.full((1, 5), 7)], 1))[3][:, :8]
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-4)


def test_bfloat16_is_proven_too_and_its_lens_is_float32() -> None:
    lm = Backbone(tiny_model("llama").to(torch.bfloat16), tiny_tokenizer())
    assert lm.dtype == torch.bfloat16
    with torch.no_grad():
        assert lm.lens(lm.hidden(torch.tensor([[1, 2, 3]]))[3]).dtype == torch.float32
    assert lm.settings()["dtype"] == "bfloat16"


def test_a_model_whose_lens_cannot_be_proven_is_refused() -> None:
    def twist(module: nn.Module, args: object, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state * 2 + 1
        return output

    model = tiny_model("llama")
    model.model.register_forward_hook(twist)  # what no chain of modules shows
    with pytest.raises(AccordError, match="its lens differs from its own logits"):
        Backbone(model, tiny_tokenizer())


def test_broken_weights_are_called_by_their_name() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(AccordError, match="not finite"):
        Backbone(model, tiny_tokenizer())


def test_double_precision_works() -> None:
    assert Backbone(tiny_model("llama").double(), tiny_tokenizer()).cacheable


def test_a_model_without_blocks_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers = nn.Sequential()
    with pytest.raises(AccordError, match="no list of blocks in it"):
        Backbone(model, tiny_tokenizer())


def test_an_impossible_layer_is_refused() -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    with pytest.raises(AccordError, match="no such layer"):
        lm.hidden(torch.tensor([[1]]), layers=[4])


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "opt"])
def test_a_local_folder_loads_to_the_same_numbers(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    lm = load(tmp_path, device="cpu")
    ids = torch.randint(0, 300, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(lm.lens(lm.hidden(ids)[3]), model(ids).logits, atol=1e-5, rtol=1e-4)
    assert load(tmp_path, device="cpu").fingerprint == lm.fingerprint
    assert load(tmp_path, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_a_broken_folder_is_one_clear_error(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(AccordError, match="damaged or cut short"):
        load(tmp_path)


def test_devices_and_dtypes_are_checked_by_name() -> None:
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(AccordError, match="dtype"):
        pick_dtype("int3", torch.device("cpu"))
    with pytest.raises(AccordError, match="device"):
        pick_device("toaster")
    if not torch.cuda.is_available():
        with pytest.raises(AccordError, match="no such device"):
            pick_device("cuda")


@pytest.mark.real
def test_the_small_real_model_is_itself_behind_the_boundary() -> None:
    lm = load("smollm2-135m", device="cpu")
    assert (lm.n_layers, lm.d_model, lm.vocab_size) == (30, 576, 49152)
    theirs = AutoModelForCausalLM.from_pretrained(lm.model.name_or_path, dtype=torch.float32).eval()
    ids = torch.tensor([lm.tokenizer("A bee is a kind of insect that lives in a hive.")["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(lm.lens(lm.hidden(ids)[30]), theirs(ids).logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", list(FAMILIES))
@torch.no_grad()
def test_the_lens_of_a_few_tokens_is_that_of_all(family):
    lm = Backbone(tiny_model(family), tiny_tokenizer())
    states = torch.randn(2, 3, lm.d_model, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([7, 250, 7])
    torch.testing.assert_close(lm.lens_of(states, tokens), lm.lens(states)[..., tokens])
