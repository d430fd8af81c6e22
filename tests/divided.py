"""What a model gives, however its weights are divided among devices: all that states, edits and gradients go into.

The devices are the CPU and one that is not there (`tests.devices`), in a process of its own: `python -m tests.divided`
prints the largest difference of each number from the undivided model's, as JSON.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import accord
from accord.heads.head import normed
from accord.lm import Backbone, Query, generate, score
from accord.lm.edited import Steered
from accord.lm.model import lens_of
from accord.pathway import patch
from accord.repair import repair
from accord.repair.config import read_repair
from accord.steering import AddDirection
from accord.tasks import task
from accord.text import extract
from tests.tiny import tiny_texts, tiny_tokenizer

Numbers = dict[str, Tensor]

_REPAIRS: dict[str, dict[str, Any]] = {
    "rankalign": {"steps": 2, "batch": 4, "micro_batch": 2, "dropout": 0.0, "lr": 0.01},
    "readout": {
        "layers": [2],
        "penalties": [0.3],
        "quiet_weights": [0.1],
        "strengths": [1.0],
        "positions": 100,
        "budget": 9.0,
    },
}


def numbers(
    lm: Backbone, base: Path, folder: Path, open_again: Callable[[Path], Any], *, checkpointing: bool = False
) -> Numbers:
    """Numbers of a model, by what gave them; all on the CPU.

    Args:
        base: where the model lies.
        folder: for what is made of it; empty.
        open_again: opens a repaired model, on the same devices.
        checkpointing: of the training.
    """
    items = task("hypernymy", limit=20, validator_shots="few")
    ids = torch.randint(3, 250, (3, 17), generator=torch.Generator().manual_seed(1))
    found: Numbers = {}
    with torch.no_grad():
        states = lm.hidden(ids, layers=range(lm.n_layers + 1))
        found |= {f"states of layer {layer}": each for layer, each in states.items()}
        found |= {f"lens of layer {layer}": lm.lens(each) for layer, each in states.items()}
        found["lens of a few tokens"] = lens_of(lm, states[lm.n_layers], torch.tensor([5, 7], device=lm.device))
        found["normed"] = normed(lm, states[lm.n_layers][0])
    found["scores"] = scores(lm)
    edits = [AddDirection(layer, torch.linspace(-1, 1, lm.d_model)) for layer in range(lm.n_layers + 1)]
    found["scores of a steered model"] = scores(Steered(lm, edits))
    texts = generate(lm, prompts=["a bird is", "some food"], n=2, max_new_tokens=8)
    found["samples"] = torch.tensor([token for sample in texts for token in sample.ids])
    store = extract(lm, tiny_texts(12), folder / "embeddings", layers=[0, 2])
    found |= {f"embeddings of layer {layer}": store.shard(0, layer)["x"].float() for layer in (0, 2)}
    repaired = {}
    for kind, keys in _REPAIRS.items():
        trained = {"checkpointing": checkpointing} if kind == "rankalign" else {}
        config = read_repair({"kind": kind, "allow_low_mass": True, **keys, **trained})
        repair(lm, items, config, folder=folder / kind, base=str(base), texts=tiny_texts(30))
        repaired[kind] = open_again(folder / kind)
        found[f"scores after {kind}"] = scores(repaired[kind])
    patched = patch(repaired["rankalign"], lm, task("hypernymy", limit=4, validator_shots="zero"), draws=1)
    found["patched"] = torch.tensor(patched["patched"].to_numpy())
    return {name: each.detach().cpu() for name, each in found.items()}


def scores(lm: Any) -> Tensor:
    """log p of two answers after prompts that share their beginning."""
    contexts = [(1, *range(20, 44), 5 + i, *range(60, 62 + i)) for i in range(5)]
    return torch.tensor([each.total.tolist() for each in score(lm, [Query(ids, ((7,), (9, 10))) for ids in contexts])])


def differences(own: Numbers, other: Numbers) -> dict[str, float]:
    """The largest difference of each number, as a share of the largest number."""
    assert own.keys() == other.keys()
    return {
        name: float((own[name].double() - other[name].double()).abs().max() / own[name].double().abs().max())
        for name in own
    }


def divide(model: Any, devices: list[torch.device]) -> None:
    """Put a Llama's blocks on devices, the rest on the first, under the hooks that accelerate puts on such a model."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    parts = {model.get_submodule(f"model.layers.{i}"): device for i, device in enumerate(devices)}
    rest = ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")
    for part, device in {**dict.fromkeys(map(model.get_submodule, rest), devices[0]), **parts}.items():
        for module in part.to(device).modules():
            hook = AlignDevicesHook(skip_keys="past_key_values")
            add_hook_to_module(module, hook)
            hook.execution_device = device  # only now: it would move weights in a way that only real devices take


def main(base: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    from accord.repair import folder as repaired_on
    from tests.devices import install

    def opened(divided: bool) -> Backbone:
        model = AutoModelForCausalLM.from_pretrained(base)
        if divided:
            divide(model, [device, torch.device("cpu"), device])
        return accord.load(model.requires_grad_(False), tiny_tokenizer())

    device = install()
    found = []
    for divided in (False, True):
        repaired_on.checked_base = lambda *_, divided=divided: opened(divided)
        found.append(numbers(opened(divided), base, folder / str(divided), accord.load))
    print(json.dumps({"apart": differences(*found), "learnt": differences(*learnt(found[0]))}))


def learnt(found: Numbers) -> tuple[Numbers, Numbers]:
    """Scores before and after each repair."""
    after = {name: each for name, each in found.items() if name.startswith("scores after")}
    return dict.fromkeys(after, found["scores"]), after


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
