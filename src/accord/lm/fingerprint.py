"""Identity of a model's weights as a short text: the same for every copy, different for every other model."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.cache import kept_hash
from accord.disk import read_object

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What transformers reads beside the weights: configuration, tokenizer, chat templates.
_TEXT = {".json", ".txt", ".model", ".jinja"}
# Where a model lies or came from, and what wrote it, is no part of what it is.
_PLACES = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "base_model_name_or_path",
    "revision",
    "peft_version",
}


def folder_fingerprint(folder: Path) -> str:
    """Of a folder in hub layout: the bytes of its weights, configuration and tokenizer; no times, no place.

    Weights are hashed once on a machine (`accord.cache.kept_hash`), several files at a time.
    """
    files = [file for file in folder.iterdir() if file.suffix in _TEXT or file.suffix == ".safetensors"]
    files += folder.glob("additional_chat_templates/*.jinja")
    return f"folder:{_of_files(folder, files)}"


def adapter_fingerprint(folder: Path, base: str) -> str:
    """Of a PEFT adapter on a base of this fingerprint; the path of the base does not count."""
    config = read_object(folder / ADAPTER_CONFIG)
    config = {key: value for key, value in config.items() if key not in _PLACES}
    files = [folder / ADAPTER_WEIGHTS, *tokenizer_files(folder)]
    content = json.dumps([config, base, _of_files(folder, files)], sort_keys=True)
    return f"adapter:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a tokenizer that lies beside an adapter; none if the tokenizer is not whole."""
    if not (folder / "tokenizer_config.json").is_file():
        return []
    ours = {ADAPTER_CONFIG, "config.json", "generation_config.json"}
    return [file for file in folder.iterdir() if file.suffix in _TEXT and file.name not in ours]


def memory_fingerprint(model: Any, tokenizer: Any) -> str:
    """Of a model in memory: the bytes of its weights and buffers, its configuration, its adapters, its tokenizer."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    digest = hashlib.sha256()
    state = model.state_dict()
    for name in sorted(state):
        for part, tensor in _plain(name, _present(model, name, state[name])):
            digest.update(f"{part}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
            digest.update(_bytes(tensor))
    adapters = {name: config.to_dict() for name, config in getattr(model, "peft_config", {}).items()}
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    active = [[name, list(layer.active_adapters), layer.disable_adapters] for name, layer in layers]
    generation = getattr(model, "generation_config", None)
    content = [model.config.to_dict(), generation and generation.to_dict(), adapters, active, _tokenizer(tokenizer)]
    digest.update(json.dumps(_without_places(content), sort_keys=True, default=_as_json).encode())
    return f"memory:{digest.hexdigest()[:16]}"


def _present(model: Any, name: str, value: Any) -> Any:
    """A value of a model's state dict; one that lies in main memory or on the disk behind a card is fetched."""
    from transformers.integrations.accelerate import load_offloaded_parameter

    return load_offloaded_parameter(model, name) if getattr(value, "is_meta", False) else value


def _of_files(folder: Path, files: Iterable[Path]) -> str:
    files = sorted(files)
    with ThreadPoolExecutor(4) as pool:  # hashing lets other threads run
        hashes = list(pool.map(kept_hash, files))
    digest = hashlib.sha256()
    for file, sha256 in zip(files, hashes, strict=True):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256}\n".encode())
    return digest.hexdigest()[:16]


def _plain(name: str, value: Any) -> "Iterator[tuple[str, Tensor]]":
    """The plain tensors that make a value of a state dict: quantized weights hold several."""
    import torch

    if not isinstance(value, torch.Tensor):
        value = torch.frombuffer(bytearray(repr(value).encode()), dtype=torch.uint8)
    if hasattr(value, "__tensor_flatten__"):
        parts, settings = value.__tensor_flatten__()
        yield from _plain(f"{name}!", repr(settings))
        for part in parts:
            yield from _plain(f"{name}.{part}", getattr(value, part))
    else:
        yield name, value.detach()


def _bytes(tensor: "Tensor") -> Any:
    import torch

    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _tokenizer(tokenizer: Any) -> list[Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = sorted(tokenizer.get_vocab().items()) if backend is None else backend.to_str()
    return [type(tokenizer).__name__, words, tokenizer.special_tokens_map, tokenizer.chat_template]


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_places(part) for key, part in value.items() if key not in _PLACES}
    return [_without_places(part) for part in value] if isinstance(value, list | tuple) else value


def _as_json(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
