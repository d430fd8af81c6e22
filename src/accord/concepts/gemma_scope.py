"""Gemma Scope (Lieberum et al. 2024, arXiv 2408.05147), `params.npz`, and Gemma Scope 2, `params.safetensors`.

JumpReLU without an input bias: p = x W_enc + b_enc, z = p where p > threshold, x̂ = z W_dec + b_dec.
"""

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accord.concepts.config import ImportedConfig, Origin
from accord.concepts.dictionary_files import check_tensors, read_table, read_tensors
from accord.concepts.hooks import residual_layer
from accord.concepts.imported import Imported
from accord.errors import AccordError

ARRAYS = "params.npz"
CONFIG, WEIGHTS = "config.json", "params.safetensors"


def import_gemma_scope(folder: Path, path: str) -> Imported:
    """The dictionary of a folder with `params.npz`, which says nothing of its place in the model: `path` does.

    Raises AccordError for what cannot be read or is not understood.
    """
    weights = _arrays(folder / ARRAYS)
    repository = re.search(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders)(?:/|$)", path)
    block = re.search(r"(?:^|/)layer_(\d+)(?:/|$)", path)
    place = repository[3] if repository else None
    number = block[1] if block else None
    origin = Origin(
        tool="Gemma Scope",
        model=f"google/gemma-2-{repository[1]}{'-it' * (repository[2] == 'it')}" if repository else None,
        reads=_reads(place, number),
        layer=residual_layer(_reads(place, number)),
        writes=f"what leaves the MLP of block {number}" if place == "transcoders" else None,
    )
    return _jumprelu(weights, origin, folder, transcodes=place == "transcoders")


def _arrays(file: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(file), np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)) for name in arrays.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise AccordError("cannot read these weights", where=file, got=str(error)) from None


def _reads(place: str | None, layer: str | None) -> str | None:
    """Where a dictionary of Gemma Scope reads, as its names say; None where they say nothing."""
    if place is None:
        return None
    if layer is None:
        return f"{place}, outside the blocks" if place == "res" else place
    places = {"res": f"model.layers.{layer}.output", "transcoders": f"what enters the MLP of block {layer}"}
    return places.get(place, f"{place} of block {layer}")


def import_gemma_scope_2(folder: Path) -> Imported:
    """The dictionary of a folder with `params.safetensors` and `config.json`.

    Raises AccordError for what cannot be read or is not understood.
    """
    where = folder / CONFIG
    table, weights = read_table(where), read_tensors(folder / WEIGHTS)
    about = {key: table.get(key) for key in ("model_name", "hf_hook_point_in", "hf_hook_point_out")}
    if not all(value is None or isinstance(value, str) for value in about.values()):
        raise AccordError("A name in config.json is not understood.", where=where, got=about, wanted="texts")
    if table.get("architecture") != "jump_relu":
        got = table.get("architecture")
        raise AccordError("This architecture cannot be imported.", where=where, got=got, wanted="jump_relu")
    if table.get("affine_connection") or "affine_skip_connection" in weights:
        raise AccordError("A transcoder with an affine connection cannot be imported.", where=where)
    reads, writes = about["hf_hook_point_in"], about["hf_hook_point_out"]
    transcodes = writes is not None and writes != reads
    origin = Origin(
        tool="Gemma Scope 2",
        model=about["model_name"],
        reads=reads,
        writes=writes if transcodes else None,
        layer=residual_layer(reads),
        target_layer=residual_layer(writes) if transcodes else None,
    )
    weights = {name.replace("w_", "W_"): weight for name, weight in weights.items()}
    return _jumprelu(weights, origin, folder, transcodes=transcodes)


def _jumprelu(weights: dict[str, Tensor], origin: Origin, folder: Path, *, transcodes: bool) -> Imported:
    """From W_enc [d, K], b_enc, W_dec [K, d_out], b_dec and threshold."""
    if weights.get("W_enc", torch.zeros(0)).ndim != 2 or weights.get("W_dec", torch.zeros(0)).ndim != 2:
        got = ", ".join(f"{name} {tuple(weight.shape)}" for name, weight in weights.items())
        raise AccordError("This is no dictionary of one layer.", where=folder, got=got, wanted="W_enc and W_dec, 2-D")
    d, K = weights["W_enc"].shape
    d_out = weights["W_dec"].shape[1] if transcodes else d
    shapes = {"W_enc": (d, K), "b_enc": (K,), "W_dec": (K, d_out), "b_dec": (d_out,), "threshold": (K,)}
    check_tensors(weights, shapes, folder)
    config = ImportedConfig(size=K, activation="jumprelu", d_out=d_out if transcodes else None, origin=origin)
    return Imported.of(config, {**weights, "W_enc": weights["W_enc"].T})
