"""Models divided among devices: what goes where, that they give the undivided model's numbers, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
from typer.testing import CliRunner

import accord
from accord import machine
from accord.cli import app
from accord.errors import AccordError
from accord.lm import Backbone
from accord.lm.devices import kind_of, named
from accord.lm.placement import plan
from accord.loading import weights_bytes
from accord.repair.config import read_repair
from accord.repair.lora import check_base
from tests import divided
from tests.tiny import FAMILIES, tiny_hub_folder, tiny_mixed, tiny_model, tiny_tokenizer

GB = 10**9


@pytest.fixture
def cards(monkeypatch):
    """A machine with cards of so many free GB each."""

    def make(*free: float) -> None:
        monkeypatch.setattr(machine, "free_of_cards", lambda: [int(each * GB) for each in free])

    return make


@pytest.fixture(scope="module")
def large():
    """A model of 70 billion parameters, without weights."""
    sizes = dict(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64)
    config = LlamaConfig(**sizes, num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=False)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_blocks_fill_the_cards_evenly_and_the_rest_is_on_the_first(cards, large) -> None:
    cards(80, 80, 80, 80)
    where = plan(large, 141 * GB, "auto")
    outside = {name: device for name, device in where.items() if ".layers." not in name}
    assert set(outside) == {"model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"}
    assert set(outside.values()) == {"cuda:0"}
    blocks = [where[f"model.layers.{i}"] for i in range(80)]
    assert blocks == sorted(blocks)
    counts = [blocks.count(f"cuda:{i}") for i in range(4)]
    assert sum(counts) == 80 and max(counts) - min(counts) <= 3 and counts[0] == min(counts)
    assert set(plan(large, 141 * GB, "cuda:1,cuda:2").values()) == {"cuda:1", "cuda:2"}


def test_one_card_holds_what_fits_on_it(cards, large) -> None:
    cards(80, 80)
    assert plan(large, 16 * GB, "auto") is None
    assert plan(large, 16 * GB, "cuda:1") is None
    assert set(plan(large, 16 * GB, "cuda:0,cuda:1").values()) == {"cuda:0", "cuda:1"}  # as it was asked
    cards()
    assert plan(large, 10**15, "auto") is None  # no card: main memory, as ever


def test_what_no_card_holds_goes_to_main_memory_and_then_to_the_disk(cards, large) -> None:
    cards(80)
    where = plan(large, 141 * GB, "auto=60GB,cpu=5GB,disk")
    blocks = [where[f"model.layers.{i}"] for i in range(80)]
    assert [blocks.index(device) for device in ("cuda:0", "cpu", "disk")] == sorted(map(blocks.index, set(blocks)))
    size = 141 / 80 * 0.97  # of a block, about
    assert 45 < blocks.count("cuda:0") * size < 60 and 3 < blocks.count("cpu") * size <= 5
    assert where["lm_head"] == where["model.embed_tokens"] == "cuda:0"


def test_what_does_not_fit_is_refused_before_it_is_loaded(cards, large) -> None:
    cards(80)
    with pytest.raises(AccordError, match=r"need about 141 GB") as caught:
        plan(large, 141 * GB, "auto")
    assert "1 card × 80 GB free" in str(caught.value) and '"auto,cpu"' in str(caught.value)
    cards(30, 30, 30, 30)
    with pytest.raises(AccordError, match=r"4 cards × 27 GB free"):
        plan(large, 141 * GB, "auto")
    with pytest.raises(AccordError, match="no such device"):
        plan(large, GB, "cuda:0,cuda:4")


@pytest.mark.parametrize("text", ["", "disk", "cuda:0;cpu", "cuda:0=40", "cuda:0,", "gpu", "cpu,cpu", "cuda,cuda:0"])
def test_what_names_no_devices_is_refused(text: str) -> None:
    with pytest.raises(AccordError, match="device"):
        named(text)


def test_a_placement_is_no_part_of_what_fixes_results() -> None:
    assert [kind_of(text) for text in ("auto", "auto,cpu", "cuda", "cuda:1", "cuda:1=3GB,cpu", "cpu=1GB,disk")] == [
        "auto", "auto", "cuda", "cuda", "cuda", "cpu"
    ]  # fmt: skip


def _half(folder: Path, share: float = 0.85) -> str:
    """Devices of which the first holds so much of a model."""
    return f"cpu={weights_bytes(str(folder), device='cpu') * share / 1000:.1f}kB,disk"


def test_a_model_partly_on_the_disk_gives_the_same_numbers(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_hub_folder(base)
    found = []
    for device in ("cpu", _half(base)):
        lm = accord.load(base, device=device)
        assert lm.placement.divided == (device != "cpu")

        def again(path: Path, device: str = device) -> accord.LanguageModel:
            return accord.load(path, device=device)

        folder = tmp_path / str(len(found))
        found.append(divided.numbers(lm, base, folder, again, checkpointing=lm.placement.divided))
    assert lm.placement.brought == (2, 3) and any(weight.is_meta for weight in lm.model.parameters())
    assert max(divided.differences(*found).values()) < 1e-5
    assert min(divided.differences(*divided.learnt(found[0])).values()) > 1e-3


def test_a_model_on_two_devices_gives_the_same_numbers(tmp_path: Path) -> None:
    """Blocks on the CPU, all else on a device whose tensors may not meet the CPU's."""
    tiny_hub_folder(tmp_path / "base")
    words = [sys.executable, "-m", "tests.divided", str(tmp_path / "base"), str(tmp_path)]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert max(said["apart"].values()) < 1e-5 and min(said["learnt"].values()) > 1e-3


@pytest.mark.parametrize("family", [*FAMILIES, "qwen3_moe", "falcon_h1"])
@torch.no_grad()
def test_every_family_may_lie_on_the_disk(family: str, tmp_path: Path) -> None:
    (tiny_model(family) if family in FAMILIES else tiny_mixed(family)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    whole, parts = (accord.load(tmp_path, device=device) for device in ("cpu", _half(tmp_path, 0.9)))
    assert parts.placement.divided and parts.cacheable == whole.cacheable
    ids = torch.randint(3, 250, (2, 15), generator=torch.Generator().manual_seed(0))
    layers = range(whole.n_layers + 1)
    for layer, states in whole.hidden(ids, layers=layers).items():
        torch.testing.assert_close(parts.hidden(ids, layers=layers)[layer], states)
        torch.testing.assert_close(parts.lens(states), whole.lens(states))


def test_a_divided_model_in_memory_is_known_by_its_weights(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path)
    whole, parts = (accord.load(tmp_path, device=device).model for device in ("cpu", _half(tmp_path)))
    again = accord.load(parts, tiny_tokenizer())
    assert again.placement.divided
    assert again.fingerprint == accord.load(whole, tiny_tokenizer()).fingerprint


def test_what_rewrites_all_weights_is_refused(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path)
    lm = accord.load(tmp_path, device=_half(tmp_path))
    assert isinstance(lm, Backbone)
    with pytest.raises(AccordError, match="full fine-tuning needs the whole model on one device"):
        check_base(lm, read_repair({"kind": "sft", "full": True}))


def test_prove_says_what_a_placement_costs(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path)
    done = CliRunner().invoke(app, ["prove", str(tmp_path), "--device", _half(tmp_path)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "beside the undivided model on cpu" in said
    assert "blocks 2 to 3 on cpu, brought there each time" in said


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="models divided between a GPU and main memory (needs a GPU)")
def test_a_model_between_a_card_and_main_memory_gives_the_same_numbers(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_hub_folder(base)
    size = weights_bytes(str(base), device="cpu") / 1000
    found = []
    for device in ("cuda", f"cuda:0={0.85 * size:.1f}kB,cpu={0.2 * size:.1f}kB,disk"):
        lm = accord.load(base, device=device, dtype="float32")
        assert lm.placement.divided == (device != "cuda")

        def again(path: Path, device: str = device) -> accord.LanguageModel:
            return accord.load(path, device=device, dtype="float32")

        found.append(divided.numbers(lm, base, tmp_path / str(len(found)), again))
    assert max(divided.differences(*found).values()) < 1e-4
