"""Repaired models as folders: what is loaded answers as what was saved."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.tiny import tiny_model, tiny_tokenizer

import accord
from accord import concepts
from accord.concepts import Scale
from accord.errors import AccordError
from accord.lm.adapters import merges_exactly, tuned_layers
from accord.lm.backbone import Backbone, copied
from accord.lm.edited import Readout, backbone_of
from accord.repair import save_adapter, save_edits
from accord.repair.card import card
from accord.repair.folder import load_to_measure, with_edits
from accord.repair.result import base_of
from accord.steering import AddDirection, EditConcepts


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def _logits(lm: accord.LanguageModel) -> torch.Tensor:
    ids = torch.randint(3, 250, (2, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return lm.lens(lm.hidden(ids)[lm.n_layers])


def test_edits_come_back_and_stack(base: Path, tmp_path: Path) -> None:
    lm = accord.load(base)
    draw = torch.Generator().manual_seed(1)
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 16, "k": 4}), d=lm.d_model, seed=0)
    edits = [
        AddDirection(1, torch.randn(lm.d_model, generator=draw)),
        EditConcepts(2, model, {3: Scale(4.0)}),
        Readout((2,), torch.randn(lm.d_model, generator=draw), 0.5, (7, 8), (9,)),
    ]
    save_edits(edits, tmp_path / "one", base=str(base), about={"kind": "test"})
    once = accord.load(tmp_path / "one")
    torch.testing.assert_close(_logits(once), _logits(with_edits(lm, edits)))
    assert not torch.allclose(_logits(once), _logits(lm))
    second = [Readout((3,), torch.zeros(lm.d_model), 2.0, (7,), (9,))]
    save_edits(second, tmp_path / "two", base=str(tmp_path / "one"), about={})
    torch.testing.assert_close(_logits(accord.load(tmp_path / "two")), _logits(with_edits(once, second)))


def test_an_adapter_comes_back(base: Path, tmp_path: Path) -> None:
    lm = accord.load(base)
    before = _logits(lm)
    adapted = get_peft_model(lm.model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    save_adapter(adapted, tmp_path / "adapter", base=str(base), about={"kind": "test"})
    after = _logits(lm)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(_logits(accord.load(tmp_path / "adapter")), after)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("there", [True, False])
def test_to_measure_it_is_the_same_model(base: Path, tmp_path: Path, dtype: str, there: bool) -> None:
    trained = accord.load(base).model
    adapted = get_peft_model(trained, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    save_adapter(adapted, tmp_path / "adapter", base=str(base), about={})
    lm, plain = accord.load(base, dtype=dtype), accord.load(tmp_path / "adapter", dtype=dtype)
    before = _logits(lm)
    quick = load_to_measure(tmp_path / "adapter", device="cpu", dtype=dtype, base=lm if there else None)
    assert (quick.name, quick.settings(), quick.limits) == (plain.name, plain.settings(), plain.limits)
    assert isinstance(quick, Backbone) and isinstance(plain, Backbone) and quick.proofs.keys() == plain.proofs.keys()
    merged = not tuned_layers(quick.model)
    assert tuned_layers(plain.model) and merged == (dtype == "float32")  # adding would round to half precision
    torch.testing.assert_close(_logits(quick), _logits(plain), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(_logits(lm), before, rtol=0, atol=0)
    assert not torch.allclose(before, _logits(quick), atol=1e-2)


def test_an_adapter_on_a_weight_that_layers_share_is_not_merged(base: Path) -> None:
    lm = accord.load(base)
    assert isinstance(lm, Backbone)
    lm.blocks[1].mlp.up_proj.weight = lm.blocks[0].mlp.up_proj.weight
    for names, exactly in (["up_proj"], False), (["down_proj"], True):
        adapted = get_peft_model(copied(lm).model, LoraConfig(target_modules=names))
        assert merges_exactly(adapted) == exactly


def test_edits_are_measured_on_the_base_that_is_there(base: Path, tmp_path: Path) -> None:
    save_edits([AddDirection(1, torch.ones(32))], tmp_path / "one", base=str(base), about={})
    lm = accord.load(base)
    quick = load_to_measure(tmp_path / "one", device="cpu", dtype="auto", base=lm)
    torch.testing.assert_close(_logits(quick), _logits(accord.load(tmp_path / "one")), rtol=0, atol=0)
    assert backbone_of(quick) is lm
    save_edits([AddDirection(1, torch.ones(32))], tmp_path / "two", base=str(tmp_path / "one"), about={})
    other = load_to_measure(tmp_path / "two", device="cpu", dtype="auto", base=lm)  # not the one that it was made on
    torch.testing.assert_close(_logits(other), _logits(accord.load(tmp_path / "two")), rtol=0, atol=0)


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    save_edits([], tmp_path / "one", base=str(base), about={})
    tiny_model("llama", seed=5).save_pretrained(base)
    (base / "config.json").touch()
    with pytest.raises(AccordError, match="another base"):
        accord.load(tmp_path / "one")


def test_a_damaged_folder_says_so(base: Path, tmp_path: Path) -> None:
    save_edits([AddDirection(1, torch.ones(32))], tmp_path / "one", base=str(base), about={})
    (tmp_path / "one" / "edits.safetensors").write_bytes(b"broken")
    with pytest.raises(AccordError, match="cannot read a repaired model"):
        accord.load(tmp_path / "one")
    described = json.loads((tmp_path / "one" / "repair.json").read_text())
    described["version"] = 99
    (tmp_path / "one" / "repair.json").write_text(json.dumps(described))
    with pytest.raises(AccordError, match="another version"):
        accord.load(tmp_path / "one")


def test_a_repair_may_move_alone_or_with_its_base(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    save_edits([], folder, base=str(base), about={})
    moved = tmp_path / "elsewhere" / "deep" / "out"
    moved.parent.mkdir(parents=True)
    folder.rename(moved)
    assert base_of(moved) == str(base) and accord.load(moved).n_layers == 3
    base.rename(tmp_path / "elsewhere" / "base")
    with pytest.raises(AccordError, match="is gone") as caught:
        accord.load(moved)
    assert str(base) in str(caught.value)
    moved.rename(tmp_path / "elsewhere" / "out")
    assert base_of(tmp_path / "elsewhere" / "out") == str(tmp_path / "elsewhere" / "base")


def test_a_folder_that_is_no_repair_names_no_base(base: Path) -> None:
    with pytest.raises(AccordError, match="--base MODEL"):
        base_of(base)


def test_a_card_says_what_the_folder_is_and_nothing_of_this_machine(base: Path, tmp_path: Path) -> None:
    hostile = "# [x](http://y) <b>\n```\n---\nlicense: mit"
    about = {"repair": {"kind": "rankalign", "lr": 0.1}, "seed": 3, "task": {"name": hostile, "generator": "a ``` b"}}
    adapter = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules=["q_proj"]))
    save_adapter(adapter, tmp_path / "repaired", base=str(base), about=about)
    text = (tmp_path / "repaired" / "README.md").read_text()
    head, _, body = text.removeprefix("---\n").partition("\n---\n")
    assert head.splitlines() == ["library_name: peft", 'tags: ["accord"]']
    assert str(tmp_path) not in text and "base, repaired by rankalign" in body and "More Information" not in body
    fence = "````"
    inside = body.split(f"{fence}json\n")[1].split(f"\n{fence}\n")[0]
    assert json.loads(inside) == about and fence not in inside
    outside = body.replace(inside, "")
    assert "license" in outside and "<b>" not in outside and "\n---" not in outside and "[x]" not in outside
    assert card("org/m", "f", {}, "edits", local=False).splitlines()[3] == 'base_model: "org/m"'
    assert "base_model" not in card("smollm2-135m", "f", {}, "weights", local=False)
