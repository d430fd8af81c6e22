"""PEFT adapters, from a folder or in a model: the plain module that runs with the adapter in it."""

import dataclasses
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PromptLearningConfig, get_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from accord import on_cpu
from accord.disk import read_object
from accord.errors import AccordError
from accord.lm.checkpoint import adapter_weights, read_header
from accord.lm.fingerprint import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from accord.lm.placement import PLAIN, computes_on, entry

_PROBE_TOKENS = 6
_NAMED = 4  # keys that an error names


def with_adapter(network: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The plain module that runs with the adapter in `folder` on it; see `open_adapter`."""
    return inside(open_adapter(network, folder))


def inside(model: PeftModel) -> PreTrainedModel:
    """The plain module that runs with the adapter of a PEFT model in it; for those that `unwrapped` lets through."""
    network: PreTrainedModel = model.get_base_model()
    return network


def open_adapter(network: PreTrainedModel, folder: Path) -> PeftModel:
    """The adapter in `folder` on a model, which is changed in place.

    Raises:
        AccordError: the adapter is of a kind that acts outside the model's layers, needs code of its own, or its
            weights do not fit.
    """
    check_adapter(folder)
    try:
        with quiet_peft(), adapters_follow(network):
            whole = PeftModel.from_pretrained(network, str(folder), use_safetensors=True, local_files_only=True)
            _check_filled(whole, folder)
            unwrapped(whole)  # refuses the kinds that act elsewhere
            return whole
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        AttributeError,
        ImportError,
        SafetensorError,
    ) as error:
        reason = f"the file lacks {error}" if isinstance(error, KeyError) else str(error).strip()
        raise AccordError(
            "This adapter could not be put on its base.",
            where=folder,
            got=reason.splitlines()[0] if reason else type(error).__name__,
            fix="check that base_model_name_or_path in adapter_config.json names the model it was trained on",
        ) from error


def unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """The plain module that a PEFT model runs, with its adapter active in it; any other model as it is.

    Raises AccordError if the adapter acts elsewhere: by tokens that it puts before a text, say.
    """
    if not isinstance(model, PeftModel):
        return model
    for name in model.active_adapters:
        config = model.peft_config[name]
        _check_kind(type(config), vars(config))
    if not _same_logits(model):
        raise _acts_elsewhere("it acts outside of the model's own layers", ", ".join(model.active_adapters))
    return inside(model)


def merges_exactly(model: PeftModel) -> bool:
    """Whether adding its adapter to the weights changes nothing but the rounding of float32: LoRA on plain weights of
    that precision, none of which another layer has, too.
    """
    plain = all(isinstance(config, LoraConfig) for config in model.peft_config.values())
    tuned = [module for _, module in tuned_layers(model)]
    weights = [weight for module in tuned for weight in module.get_base_layer().parameters(recurse=False)]
    exact = all(type(weight.data) in PLAIN and weight.dtype is torch.float32 for weight in weights)
    return plain and exact and bool(tuned) and shared_layer(model) is None


def shared_layer(model: nn.Module) -> str | None:
    """The name of a layer with an adapter whose weight is another layer's too; None if there is none."""
    owners = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    for name, layer in tuned_layers(model):
        if any(owners[id(weight)] > 1 for weight in layer.get_base_layer().parameters(recurse=False)):
            return name
    return None


def tuned_layers(model: nn.Module) -> list[tuple[str, BaseTunerLayer]]:
    """The layers of a model that have an adapter, by name."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def check_adapter(folder: Path) -> None:
    """AccordError if an adapter's configuration has something that makes its numbers wrong; loads no weights.

    Weights that are gone, pickled or damaged are refused, too.
    """
    weights = adapter_weights(folder)
    settings = read_object(folder / ADAPTER_CONFIG)
    _check_ranks(settings, weights, folder / ADAPTER_CONFIG)
    where, kind = folder / ADAPTER_CONFIG, settings.get("peft_type")
    if not isinstance(kind, str) or kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        kinds = ", ".join(sorted(getattr(member, "value", str(member)) for member in PEFT_TYPE_TO_CONFIG_MAPPING))
        raise AccordError("The installed peft does not know this adapter.", where=where, got=kind, wanted=kinds)
    if settings.get("megatron_config"):
        raise AccordError("This adapter names code to run; accord runs none.", where=where, got="megatron_config")
    task = settings.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        raise AccordError("This adapter is not of a language model.", where=where, got=task, wanted="CAUSAL_LM")
    config: type[PeftConfig] = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    _check_kind(config, settings)
    fields = {field.name for field in dataclasses.fields(config)}
    # peft warns of settings that it does not know, and drops them: the adapter would then compute something else.
    if unknown := sorted(key for key, value in settings.items() if key not in fields and value):
        raise AccordError(
            "This adapter was made with settings that the installed peft does not know.",
            where=where,
            got=", ".join(unknown),
            fix="pip install --upgrade peft",
        )


def _check_ranks(settings: Mapping[str, Any], weights: Path, where: Path) -> None:
    """AccordError if an adapter is of a higher rank than its file has numbers: peft would make what it lacks."""
    pattern = settings.get("rank_pattern")
    ranks = [settings.get(key) for key in ("r", "init_r", "target_r")]
    ranks += pattern.values() if isinstance(pattern, dict) else ()
    rank = max((value for value in ranks if isinstance(value, int)), default=0)
    numbers = sum(math.prod(tensor["shape"]) for tensor in read_header(weights).values())
    if rank > numbers:
        got, wanted = f"rank {rank:,}", f"one that {numbers:,} numbers hold"
        raise AccordError("This adapter claims more than its file holds.", where=where, got=got, wanted=wanted)


def _check_kind(config: type[PeftConfig], settings: Mapping[str, Any]) -> None:
    if issubclass(config, PromptLearningConfig):
        raise _acts_elsewhere("it puts tokens or states of its own before each text", config.__name__)
    if settings.get("alora_invocation_tokens"):
        raise _acts_elsewhere("certain tokens of a prompt switch it on", "activated LoRA")


def _acts_elsewhere(reason: str, kind: str) -> AccordError:
    return AccordError(
        f"This kind of adapter cannot be measured: {reason}.",
        got=kind,
        wanted="an adapter that changes the model's own layers, such as LoRA, DoRA or IA3",
    )


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence warnings of peft that no user can act on (a name of transformers that is about to go) while open."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # `_check_filled` refuses them
        yield


@contextmanager
def adapters_follow(network: PreTrainedModel) -> Iterator[None]:
    """While open, peft puts an adapter where its layer computes.

    By itself it puts it where the layer's weight lies, be it the disk. So weights that lie elsewhere are stood in for
    by one number of their shape on the right device, and peft is not told of the division, which it would make anew.
    """
    known = vars(network).pop("hf_device_map", None)
    absent = [
        (module, name, weight)
        for module in network.modules()
        for name, weight in module._parameters.items()
        if weight is not None and weight.is_meta
    ]
    for module, name, weight in absent:
        number = torch.zeros((), dtype=weight.dtype, device=computes_on(module))
        module._parameters[name] = torch.nn.Parameter(number.expand(weight.shape), weight.requires_grad)
    try:
        yield
    finally:
        for module, name, weight in absent:
            module._parameters[name] = weight
        if known is not None:
            network.hf_device_map = known


def _check_filled(whole: PeftModel, folder: Path) -> None:
    """AccordError unless the file holds all that the adapter has, and no more: peft fills the rest at random."""
    file = load_file(folder / ADAPTER_WEIGHTS)
    expected = get_peft_model_state_dict(whole, save_embedding_layers=False)
    problems = {
        "the file lacks": sorted(expected.keys() - file.keys()),
        # peft saves embeddings, too, where it adapts them: they replace the base's
        "the base has no place for": sorted(file.keys() - expected.keys() - whole.state_dict().keys()),
    }
    if got := [
        f"{what} {len(keys)} ({', '.join(keys[:_NAMED])}{', …' if len(keys) > _NAMED else ''})"
        for what, keys in problems.items()
        if keys
    ]:
        raise AccordError(
            "The weights of this adapter do not fit it and its base.",
            where=folder / ADAPTER_WEIGHTS,
            got="; ".join(got),
            fix="name the base that it was trained on in adapter_config.json, or save the adapter again",
        )


@on_cpu.quick()
@torch.no_grad()
def _same_logits(model: PeftModel) -> bool:
    """Whether the module inside gives the same logits as the whole, on a few tokens."""
    network = inside(model)
    training = model.training
    model.eval()
    rows = network.get_input_embeddings().weight.shape[0]
    ids = torch.arange(2, 2 + _PROBE_TOKENS, device=entry(network)).unsqueeze(0) % rows
    whole, part = (run(input_ids=ids).logits for run in (model, network))
    model.train(training)
    return whole.shape == part.shape and bool(torch.allclose(whole.float(), part.float(), rtol=1e-3, atol=1e-5))
