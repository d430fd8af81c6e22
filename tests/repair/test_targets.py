"""What an adapter is put on in models with experts and recurrent layers, and that the base comes back untouched."""

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer, LoraModel
from tests.tiny import MIXED, tiny_mixed, tiny_model, tiny_tokenizer
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import accord
from accord import repair
from accord.errors import AccordError
from accord.lm import Backbone
from accord.repair import lora, merging
from accord.repair import targets as adapted
from accord.repair.config import RankAlign
from accord.repair.lora import trainable
from accord.repair.targets import find_targets
from accord.tasks import Task

SMALL: dict[str, Any] = {"kind": "rankalign", "steps": 3, "batch": 6, "lr": 0.02}
IDS = torch.randint(3, 250, (2, 8), generator=torch.Generator().manual_seed(0))
NEITHER = "neither a linear layer nor a stack of experts"


@torch.no_grad()
def logits(lm: accord.LanguageModel) -> Tensor:
    return lm.lens(lm.hidden(IDS)[lm.n_layers])


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def state(model: nn.Module) -> Any:
    """All that a model is but for its numbers."""
    modules = [
        (
            name,
            id(m),
            type(m),
            m.training,
            sorted(vars(m)),
            list(m._modules),
            list(m._parameters),
            len(m._forward_hooks),
        )
        for name, m in model.named_modules()
    ]
    return modules, [(name, id(w), w.requires_grad) for name, w in model.named_parameters()]


@pytest.mark.parametrize("kind", MIXED)
def test_every_kind_of_layer_is_repaired_saved_and_merged(kind: str, words_task: Task, tmp_path: Path) -> None:
    base = saved(tiny_mixed(kind), tmp_path / "base")
    lm = accord.load(base)
    before, whole = logits(lm), state(lm.model)
    out = repair.train(lm, words_task, SMALL, folder=tmp_path / "out")
    assert torch.equal(logits(lm), before) and state(lm.model) == whole
    repaired = logits(accord.load(out))
    assert (repaired - before).abs().max() > 0.5
    opened = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out)
    with torch.no_grad():
        torch.testing.assert_close(opened(IDS).logits, repaired, rtol=1e-4, atol=1e-4)
    assert repair.merge(out, tmp_path / "merged").largest < 1e-3
    torch.testing.assert_close(logits(accord.load(tmp_path / "merged")), repaired, rtol=1e-3, atol=1e-3)


def test_the_folder_says_what_was_reached_and_what_was_left(words_task: Task, tmp_path: Path) -> None:
    base = saved(tiny_mixed("qwen3_moe"), tmp_path / "base")
    out = repair.train(str(base), words_task, SMALL, folder=tmp_path / "out")
    reach = json.loads((out / "repair.json").read_text())["about"]["reach"]
    attention = 32 * (32 + 16 + 16) + 32 * 32
    experts, router = 4 * 3 * 32 * 24, 4 * 32
    assert reach == {
        "share": round((attention + experts) / (attention + experts + router), 4),
        "kinds": {"mlp.experts": 1.0, "mlp.gate": 0.0, "self_attn": 1.0},
        "left": {"mlp.gate.weight": NEITHER},
        "no_dropout": ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"],
    }
    with pytest.raises(AccordError, match="another repair"):
        repair.train(str(base), words_task, {**SMALL, "steps": 2}, folder=out)


def test_layers_that_peft_or_the_model_pass_by_are_left() -> None:
    reach = find_targets(Backbone(tiny_mixed("mamba"), tiny_tokenizer()), RankAlign()).reach()
    assert reach["kinds"].keys() == {"mixer", "mixer.conv1d"} and 0.6 < reach["share"] < 0.7
    left = reach["left"]
    assert left.keys() == {"mixer.A_log", "mixer.conv1d.weight", "mixer.dt_proj", "mixer.out_proj"}
    assert left["mixer.dt_proj"] == "does not run on text"  # its weight is read, its layer never called
    assert left["mixer.out_proj"].startswith("peft: ") and "{" not in left["mixer.out_proj"]


def test_experts_have_no_dropout_and_the_others_keep_theirs() -> None:
    lm = Backbone(tiny_mixed("qwen3_moe"), tiny_tokenizer())
    with trainable(lm, RankAlign(dropout=0.3), 0) as trainee:
        rates = {
            (type(layer).__name__, getattr(layer.lora_dropout["default"], "p", 0.0))
            for layer in lm.model.modules()
            if isinstance(layer, LoraLayer)
        }
        assert rates == {("ParamWrapper", 0.0), ("Linear", 0.3)}
        with trainee.training():
            moved = [logits(lm) for _ in range(2)]
        assert torch.equal(moved[0], moved[1])  # untrained, an adapter adds nothing
        with torch.no_grad():
            for name, weight in trainee.weights.items():
                weight.add_("lora_B" in name)
        with trainee.training():
            assert not torch.equal(logits(lm), logits(lm))
        assert torch.equal(logits(lm), logits(lm))


def test_an_interrupted_repair_of_experts_goes_on_to_the_same_bytes(words_task: Task, tmp_path: Path) -> None:
    base = saved(tiny_mixed("qwen3_moe"), tmp_path / "base")
    table = {**SMALL, "steps": 4, "checkpoint_every": 2, "dropout": 0.3, "micro_batch": 4}
    straight = repair.train(str(base), words_task, table, folder=tmp_path / "straight")

    def stop(done: int, total: int) -> None:
        if (done, total) == (3, 4):
            raise KeyboardInterrupt

    lm = accord.load(base)
    with pytest.raises(KeyboardInterrupt):
        repair.train(lm, words_task, table, folder=tmp_path / "again", progress=stop)
    repair.train(lm, words_task, table, folder=tmp_path / "again")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (straight / name).read_bytes()


def _fails_in_building(monkeypatch: pytest.MonkeyPatch, error: type[BaseException], after: int) -> None:
    create, calls = LoraModel._create_and_replace, [0]

    def failing(*arguments: Any, **keys: Any) -> None:
        calls[0] += 1
        if calls[0] % after == 0:
            raise error("not this one")
        create(*arguments, **keys)

    monkeypatch.setattr(LoraModel, "_create_and_replace", failing)


@pytest.mark.parametrize("kind", ["llama", "qwen3_moe"])
@pytest.mark.parametrize("fault", ["peft", "interrupt", "training"])
def test_the_base_comes_back_whatever_happens(
    kind: str, fault: str, words_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_mixed(kind) if kind in MIXED else tiny_model(kind)
    lm = accord.load(saved(model, tmp_path / "base"))
    list(lm.model.parameters())[2].requires_grad_(False)
    lm.model.train()  # as a user may have left it
    handle = lm.model.register_forward_hook(lambda *_: None)
    whole, before = state(lm.model), logits(lm)
    wanted: type[BaseException] = KeyboardInterrupt
    progress: Callable[[int, int], None] | None = None
    if fault == "training":

        def progress(done: int, total: int) -> None:
            if (done, total) == (2, 3):
                raise KeyboardInterrupt
    elif fault == "interrupt":
        _fails_in_building(monkeypatch, KeyboardInterrupt, 5)
    else:
        wanted = AccordError
        _fails_in_building(monkeypatch, ValueError, 1)
    with pytest.raises(wanted):
        repair.train(lm, words_task, SMALL, folder=tmp_path / "out", progress=progress)
    assert state(lm.model) == whole and torch.equal(logits(lm), before)
    handle.remove()
    assert not lm.model._forward_hooks


def test_what_cannot_be_adapted_is_refused_before_the_base_is_measured(
    base: Path, words_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: Any) -> None:
        raise AssertionError("the base was measured")

    monkeypatch.setattr("accord.repair.rankalign.RankAligning.build", measured)
    _fails_in_building(monkeypatch, ValueError, 1)
    with pytest.raises(AccordError, match="no adapter can be put") as caught:
        repair.train(str(base), words_task, SMALL, folder=tmp_path / "out")
    assert "self_attn.q_proj: peft: not this one" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_layer_without_gradient_is_left_and_counted() -> None:
    lm = Backbone(tiny_model("llama"), tiny_tokenizer())
    lm.model.model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: output.detach())
    reach = find_targets(lm, RankAlign()).reach()
    why = "no gradient reaches it, in 1 of 3"
    assert reach["left"] == {f"mlp.{name}_proj": why for name in ("down", "gate", "up")}
    assert reach["kinds"] == {"mlp": round(2 / 3, 4), "self_attn": 1.0}


def test_an_adapter_that_is_no_identity_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = Backbone(tiny_model("llama"), tiny_tokenizer())
    build = adapted.build

    def off(*arguments: Any) -> PeftModel:
        adapter = build(*arguments)
        with torch.no_grad():
            for name, weight in adapter.named_parameters():
                weight.add_(0.1 * ("lora_B" in name))
        return adapter

    monkeypatch.setattr(adapted, "build", off)
    with pytest.raises(AccordError, match="an untrained adapter changes"):
        find_targets(lm, RankAlign())


def test_what_was_found_for_a_model_is_not_found_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, other = (Backbone(tiny_model("llama"), tiny_tokenizer()) for _ in range(2))
    found: list[int] = []
    monkeypatch.setattr(lora, "find_targets", lambda lm, config: found.append(id(lm)) or find_targets(lm, config))
    for config in (RankAlign(), RankAlign(steps=3, lr=1.0), RankAlign(r=4)):
        assert lora.check_base(lm, config) == find_targets(lm, config)
    lora.check_base(other, RankAlign())
    assert found == [id(lm), id(lm), id(other)]  # once for either rank, and for each model
    kept = weakref.ref(lm)
    del lm
    gc.collect()
    assert kept() is None


def test_only_what_runs_on_text_is_adapted() -> None:
    model = tiny_model("llama")
    model.model.vision = nn.Sequential(nn.Linear(8, 8))  # a part that text passes by
    targets = find_targets(Backbone(model, tiny_tokenizer()), RankAlign())
    assert {matrix.path.split(".")[0] for matrix in targets.adapted} == {"self_attn", "mlp"} and not targets.left


def test_a_weight_that_layers_share_is_not_merged(
    words_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = repair.train(str(saved(tiny_model("llama"), tmp_path / "base")), words_task, SMALL, folder=tmp_path / "out")
    opened = merging.checked_base

    def tied(*arguments: Any) -> accord.LanguageModel:
        lm = opened(*arguments)
        layers = lm.model.model.layers
        layers[2].mlp.up_proj.weight = layers[0].mlp.up_proj.weight
        return lm

    monkeypatch.setattr(merging, "checked_base", tied)
    with pytest.raises(AccordError, match=r"several layers share this weight[\s\S]*layers.0.mlp.up_proj"):
        repair.merge(out, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
