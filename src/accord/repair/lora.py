"""Which weights of a model a repair trains: a PEFT adapter on it, or all of a copy. The base stays as it was."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from accord.errors import AccordError
from accord.lm.backbone import Backbone
from accord.lm.model import LanguageModel
from accord.lm.placement import check_undivided
from accord.lm.quantization import check_plain
from accord.repair.config import Trained
from accord.repair.folder import save_adapter, save_weights
from accord.repair.restored import restored
from accord.repair.targets import Targets, build, find_targets

# What was found for adapters on a model, by their settings: the trainings of several seeds ask for the same.
_FOUND: WeakKeyDictionary[Backbone, dict[tuple[float, ...], Targets]] = WeakKeyDictionary()


@dataclass
class ModelInTraining:
    """A model while it is trained.

    Attributes:
        lm: the model as trained so far; in eval mode but for `dropout` within `training`.
        weights: those that learn, by name.
        adapter: what PEFT made of it; None where all weights learn.
    """

    lm: Backbone
    weights: dict[str, nn.Parameter]
    adapter: PeftModel | None

    @property
    def device(self) -> torch.device:
        """Where the first of the weights are; each is where its layer computes."""
        return next(iter(self.weights.values())).device

    @property
    def cards(self) -> list[torch.device]:
        """The GPUs that weights are on."""
        return sorted({w.device for w in self.weights.values() if w.device.type == "cuda"}, key=str)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights that learn."""
        return iter(self.weights.items())

    def state_dict(self) -> Mapping[str, Tensor]:
        """The weights that learn: no others change."""
        return dict(self.weights)

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Put other values into the weights that learn."""
        if state_dict.keys() != self.weights.keys():
            raise ValueError("other weights than those that learn")
        for name, weight in self.weights.items():
            weight.copy_(state_dict[name])

    @contextmanager
    def training(self) -> Iterator[None]:
        """With the adapter's dropout; the model's own stays off, as its scores were measured without."""
        layers = [m for m in self.lm.model.modules() if isinstance(m, BaseTunerLayer)]
        dropout = [layer.lora_dropout for layer in layers]
        for module in dropout:
            module.train()
        try:
            yield
        finally:
            for module in dropout:
                module.eval()

    def save(self, folder: Path, *, base: str, about: Mapping[str, Any]) -> None:
        """Write the repaired model into `folder`."""
        if self.adapter is None:
            save_weights(self.lm, folder, base=base, about=about)
        else:
            save_adapter(self.adapter, folder, base=base, about=about)


@contextmanager
def trainable(
    lm: LanguageModel, config: Trained, seed: int, targets: Targets | None = None
) -> Iterator[ModelInTraining]:
    """A model ready to be trained; at the end, however that comes, the base is as it was.

    Args:
        targets: of the adapter, as `check_base` found them.

    Raises:
        AccordError: as `check_base` does.
    """
    base = _plain(lm, config)
    if config.full:
        network = copy.deepcopy(base.model)
        weights = dict(network.named_parameters())
        for weight in weights.values():
            weight.requires_grad_(True)
        yield ModelInTraining(Backbone(network, base.tokenizer, name=base.name), weights, None)
        return
    targets = targets or find_targets(base, config)
    with restored(base.model):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapter = build(base, targets, config)
        _drop_quickly(adapter)
        weights = {name: weight for name, weight in adapter.named_parameters() if weight.requires_grad}
        # A boundary of its own: the base's may hold modules that PEFT has just replaced.
        yield ModelInTraining(Backbone(base.model, base.tokenizer, name=base.name, like=base), weights, adapter)


def check_base(lm: LanguageModel, config: Trained) -> Targets | None:
    """What an adapter will be put on, before anything expensive is done; None where all weights are trained.

    Raises:
        AccordError: the model is no plain backbone, no adapter can be put on it, or full fine-tuning would lose its
            updates in half precision.
    """
    base = _plain(lm, config)
    if config.full:
        return None
    known, settings = _FOUND.setdefault(base, {}), (config.r, config.alpha, config.dropout)
    if settings not in known:
        known[settings] = find_targets(base, config)
    return known[settings]


def _plain(lm: LanguageModel, config: Trained) -> Backbone:
    if not isinstance(lm, Backbone):
        raise AccordError(
            "only a backbone's own weights can be trained", got=lm.name, fix="repair the model that this one stands on"
        )
    if any(isinstance(module, BaseTunerLayer) for module in lm.model.modules()):
        raise AccordError("this model has an adapter", got=lm.name, fix="merge it first: accord merge DIR --out DIR2")
    if config.full:
        check_plain(lm, "full fine-tuning")
        check_undivided(lm, "full fine-tuning")
    if config.full and lm.dtype != torch.float32:
        raise AccordError(
            "full fine-tuning loses small updates in half precision", got=lm.dtype, fix='load it with dtype = "float32"'
        )
    return lm


class _Dropout(nn.Dropout):
    """Dropout that draws 16 bits for a number on a CPU, where PyTorch's own draws a float: p is a multiple of 2⁻¹⁶."""

    def forward(self, input: Tensor) -> Tensor:
        """Numbers of any shape, each 0 with probability p and else 1 / (1 − p) times what it was."""
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        drawn = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = drawn.view(torch.int16)[: input.numel()].view(input.shape) >= dropped - 2**15
        return input * torch.where(kept, torch.tensor(2**16 / (2**16 - dropped), dtype=input.dtype), 0)


def _drop_quickly(adapter: PeftModel) -> None:
    """A third of a step on two cores was random numbers of its hundreds of dropouts."""
    for layer in adapter.modules():
        if isinstance(layer, BaseTunerLayer):
            for name, module in layer.lora_dropout.items():
                if type(module) is nn.Dropout:
                    layer.lora_dropout[name] = _Dropout(module.p)
