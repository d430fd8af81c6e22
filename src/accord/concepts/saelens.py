"""Exchange with SAELens: sparse autoencoders as its folders, `cfg.json` and `sae_weights.safetensors`.

The standardisation is folded into the weights, exactly: the exported autoencoder reads and writes raw
embeddings with the same strengths. A BatchTopK autoencoder travels as `jumprelu`, as SAELens itself saves its
own. Gates and concept embeddings have no counterpart there.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.concepts.batchtopk import BatchTopK
from accord.concepts.kinds import build, read_config
from accord.concepts.l1 import L1
from accord.concepts.sae import SAE
from accord.concepts.topk import TopK
from accord.errors import AccordError, nearest

ARCHITECTURES = {TopK: "topk", BatchTopK: "jumprelu", L1: "standard"}
KIND_OF = {"topk": "topk", "jumprelu": "batchtopk", "standard": "l1"}
SHAPES = {
    "W_enc": "d_in d_sae",
    "b_enc": "d_sae",
    "W_dec": "d_sae d_in",
    "b_dec": "d_in",
    "threshold": "d_sae",
}


@torch.no_grad()
def export_saelens(model: SAE, folder: Path | str, metadata: dict[str, Any] | None = None) -> None:
    """Write a topk, batchtopk or l1 model as a SAELens folder; `metadata` goes into `cfg.json`.

    With x_s = (x − m)/σ: W_enc' = W_enc/σ, b_enc' = b_enc − W_enc (m/σ + b_dec), W_dec' = W_dec σ,
    b_dec' = b_dec σ + m, and the input bias is off. Raises AccordError for other kinds.
    """
    architecture = ARCHITECTURES.get(type(model))
    if architecture is None:
        kinds = "topk, batchtopk, l1"
        raise AccordError("SAELens has no such architecture", got=type(model).__name__, wanted=kinds)
    weights = {
        "W_enc": (model.W_enc / model.scale).T,
        "b_enc": model.b_enc - model.W_enc @ (model.mean / model.scale + model.b_dec),
        "W_dec": model.W_dec * model.scale,
        "b_dec": model.b_dec * model.scale + model.mean,
    }
    config = {
        "architecture": architecture,
        "d_in": model.d,
        "d_sae": model.K,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata or {},
    }
    if isinstance(model, TopK):
        config |= {"k": model.k, "rescale_acts_by_decoder_norm": False}
    if isinstance(model, BatchTopK):
        weights["threshold"] = model.threshold.clamp_min(0)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: w.detach().float().cpu().contiguous() for name, w in weights.items()}
    save_file(plain, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")


@torch.no_grad()
def import_saelens(folder: Path | str) -> SAE:
    """The model of a SAELens folder (`topk`, `jumprelu`, `standard`), with mean 0 and scale 1.

    `jumprelu` becomes a batchtopk model with those thresholds, whose k is not recorded there and set to 1
    (only further training would read it). Raises AccordError for architectures and settings that cannot be
    had exactly.
    """
    folder = Path(folder)
    config, weights = _read(folder)
    if config.get("rescale_acts_by_decoder_norm"):
        # SAELens then reads strengths as if decoder rows had norm 1: give them that norm.
        norm = weights["W_dec"].norm(dim=1)
        weights["W_enc"], weights["b_enc"] = weights["W_enc"] * norm, weights["b_enc"] * norm
        weights["W_dec"] = weights["W_dec"] / norm[:, None]
    if not config.get("apply_b_dec_to_input", True):
        weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    section: dict[str, Any] = {"kind": KIND_OF[config["architecture"]], "size": config["d_sae"]}
    if section["kind"] != "l1":
        section["k"] = config.get("k", 1)
    model = build(read_config(section, folder / "cfg.json"), config["d_in"])
    assert isinstance(model, SAE)
    model.load_state_dict(model.state_dict() | weights | {"W_enc": weights["W_enc"].T})
    return model.eval()


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "sae_weights.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise AccordError("cannot read a SAELens folder", where=folder, got=str(error)) from None
    where, architecture = folder / "cfg.json", config.get("architecture")
    if architecture not in KIND_OF:
        wanted = nearest(str(architecture), KIND_OF)
        raise AccordError("cannot import this architecture", where=where, got=architecture, wanted=wanted)
    for key in ("normalize_activations", "reshape_activations"):
        if config.get(key, "none") != "none":
            raise AccordError(f"cannot import {key}", where=where, got=config[key], wanted="none")
    names = [n for n in SHAPES if n != "threshold" or architecture == "jumprelu"]
    for name in names:
        wanted_shape = tuple(config[size] for size in SHAPES[name].split())
        got = tuple(weights[name].shape) if name in weights else None
        if got != wanted_shape:
            raise AccordError(f"{name} does not fit cfg.json", where=folder, got=got, wanted=wanted_shape)
    return config, {name: weights[name].float() for name in names}
