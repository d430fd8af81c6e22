"""SAELens' folder format: `cfg.json` and `sae_weights.safetensors`.

Their autoencoders read raw activations, so a kind of ours is written with its standardisation folded into the weights.
What comes from there is read as it stands: strengths are those of SAELens.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.concepts.base import ConceptModel
from accord.concepts.batchtopk import BatchTopK
from accord.concepts.checkpoint import save_tensors
from accord.concepts.config import ImportedConfig
from accord.concepts.dictionary_files import check_tensors, read_table, read_tensors
from accord.concepts.imported import Imported
from accord.concepts.jumprelu import JumpReLU
from accord.concepts.l1 import L1
from accord.concepts.saelens_config import NORMALISE, SAELensConfig, understand
from accord.concepts.topk import TopK
from accord.concepts.transcoder import Transcoder
from accord.errors import AccordError

CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
_FORMAT = "6.54.0"  # the version whose format is written


@torch.no_grad()
def export_saelens(model: ConceptModel, folder: Path | str, metadata: dict[str, Any] | None = None) -> None:
    """Write a topk, batchtopk, matryoshka, jumprelu, l1, transcoder or imported model as a SAELens folder.

    `metadata` goes into `cfg.json`.

    With x_s = (x − m)/σ: W_enc' = W_enc/σ, b_enc' = b_enc, W_dec' = W_dec σ, b_dec' = b_dec σ + m, and b_dec' is
    taken from the input: W_enc' (x − b_dec') = W_enc (x_s − b_dec), with no large numbers that cancel. Of a transcoder
    nothing is taken from the input, so b_enc' = b_enc − W_enc' m, and its other end has an m and σ of its own. Raises
    AccordError for other kinds.
    """
    config: dict[str, Any] = {
        "d_in": model.d,
        "d_sae": model.K,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": _FORMAT, "sae_lens_training_version": None, **(metadata or {})},
    }
    if isinstance(model, Imported):
        weights = _imported_weights(model, config)
    elif isinstance(model, TopK | BatchTopK | JumpReLU | L1):
        weights = {
            "W_enc": model.W_enc / model.scale,
            "b_enc": model.b_enc,
            "W_dec": model.W_dec * model.scale,
            "b_dec": model.b_dec * model.scale + model.mean,
        }
        config |= {"architecture": "standard", "apply_b_dec_to_input": True}
        if isinstance(model, TopK):
            config |= {"architecture": "topk", "k": model.k, "rescale_acts_by_decoder_norm": False}
        if isinstance(model, BatchTopK | JumpReLU):
            config["architecture"] = "jumprelu"
            weights["threshold"] = model.threshold.clamp_min(0)
    elif isinstance(model, Transcoder):
        W_enc = model.W_enc / model.scale
        weights = {
            "W_enc": W_enc,
            "b_enc": model.b_enc.double() - W_enc.double() @ model.mean.double(),
            "W_dec": model.W_dec * model.scale_out,
            "b_dec": model.b_dec * model.scale_out + model.mean_out,
        }
        config |= {"architecture": "transcoder", "d_out": model.d_out}
    else:
        kinds = "topk, batchtopk, matryoshka, jumprelu, l1, transcoder or imported"
        raise AccordError("SAELens has no such architecture", got=type(model).__name__, wanted=kinds)
    weights["W_enc"] = weights["W_enc"].T
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors({name: weight.float() for name, weight in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")


def import_saelens(folder: Path | str) -> Imported:
    """The dictionary of a SAELens folder, of any version of SAELens; its strengths and reconstructions are SAELens'.

    Autoencoders (standard, topk, jumprelu, gated; batchtopk and Matryoshka, which have a threshold outside training)
    and transcoders, with or without a skip connection. Computes in float32 whatever the file's precision.

    Raises AccordError for a folder that cannot be read, and for any architecture, key, value or tensor that is not
    understood.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        fix = "import_dictionary reads folders of other tools, and of the hub"
        raise AccordError("cannot read a SAELens folder", where=folder, got=f"no {CONFIG}", fix=fix)
    config = understand(read_table(folder / CONFIG), folder / CONFIG)
    weights = read_tensors(folder / WEIGHTS)
    scaler = read_table(folder / SCALER) if (folder / SCALER).exists() else {}
    _fold_scale(config, weights, scaler.get("scaling_factor"), folder)
    if "log_threshold" in weights:  # while it was trained
        weights["threshold"] = weights.pop("log_threshold").exp()
    if weights.get("topk_threshold", torch.ones(2)).ndim == 0:
        weights["threshold"] = weights.pop("topk_threshold").expand(config.d_sae)
    check_tensors(weights, _shapes(config), folder)
    if config.rescale_acts_by_decoder_norm:
        # SAELens then reads strengths as if decoder rows had norm 1: give them that norm.
        norm = weights["W_dec"].norm(dim=1).clamp_min(1e-8)
        weights["W_enc"], weights["b_enc"] = weights["W_enc"] * norm, weights["b_enc"] * norm
        weights["W_dec"] = weights["W_dec"] / norm[:, None]
    if config.activation == "gated":
        weights["b_enc"], weights["gain"] = weights.pop("b_gate"), weights.pop("r_mag").exp()
    if config.apply_b_dec_to_input:
        weights["b_in"] = weights["b_dec"]
    weights["W_enc"] = weights["W_enc"].T
    return Imported.of(
        ImportedConfig(
            size=config.d_sae,
            activation=config.activation,  # type: ignore[arg-type]
            k=int(config.k) if config.activation == "topk" and config.k is not None else None,
            normalise=NORMALISE.get(config.normalize_activations, "none"),  # type: ignore[arg-type]
            d_out=config.d_out if config.transcodes else None,
            skip=config.skip,
            origin=config.origin(),
        ),
        weights,
    )


def _shapes(config: SAELensConfig) -> dict[str, tuple[int, ...]]:
    K, d_out = config.d_sae, config.d_out if config.transcodes and config.d_out is not None else config.d_in
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (config.d_in, K), "W_dec": (K, d_out), "b_dec": (d_out,)}
    biases = ["b_gate", "b_mag", "r_mag"] if config.activation == "gated" else ["b_enc"]
    shapes |= dict.fromkeys(biases, (K,))
    if config.activation == "jumprelu":
        shapes["threshold"] = (K,)
    if config.skip:
        shapes["W_skip"] = (d_out, config.d_in)
    return shapes


def _fold_scale(config: SAELensConfig, weights: dict[str, Tensor], scale: Any, folder: Path) -> None:
    """Fold constant factors into the weights: of the inputs (`scale`), and of the strengths after fine-tuning."""
    where = folder / CONFIG
    name = config.normalize_activations
    if name == "expected_average_only_in":
        if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < float("inf"):
            fix = "open and save it with the training that made it: it folds the factor into the weights when it ends"
            raise AccordError(f"normalize_activations = {name!r}, and the factor is not there.", where=where, fix=fix)
        weights["W_enc"] = weights["W_enc"] * scale
        weights["W_dec"], weights["b_dec"] = weights["W_dec"] / scale, weights["b_dec"] / scale
    elif name not in NORMALISE:
        raise AccordError(
            "cannot import this normalize_activations", where=where, got=name, wanted=", ".join(NORMALISE)
        )
    for key in ("scaling_factor", "finetuning_scaling_factor"):
        factor = weights.pop(key, None)
        if factor is None or bool((factor == 1).all()):
            continue
        if not config.finetuning_scaling_factor or factor.shape != (config.d_sae,):
            got = f"{key} {tuple(factor.shape)}, finetuning_scaling_factor = {config.finetuning_scaling_factor}"
            raise AccordError("This dictionary's scaling factor is not understood.", where=where, got=got)
        weights["W_dec"] = weights["W_dec"] * factor[:, None]


def _imported_weights(model: Imported, config: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of an imported dictionary under SAELens' names; completes its `cfg.json`."""
    own, origin = model.config, model.config.origin
    weights: dict[str, Tensor] = {name: w for name, w in model.named_parameters() if name != "b_in"}
    architecture: str = "standard" if own.activation == "relu" else own.activation
    if own.d_out is not None:
        threshold = {"relu": "", "jumprelu": "jumprelu_"}.get(own.activation)
        if threshold is None:
            raise AccordError("SAELens has no such transcoder", got=own.activation, wanted="relu or jumprelu")
        architecture = threshold + ("skip_transcoder" if own.skip else "transcoder")
        config["d_out"] = own.d_out
    elif bool((model.get_parameter("b_in") == weights["b_dec"]).all()):
        config["apply_b_dec_to_input"] = True
    if own.activation == "gated":
        weights["b_gate"], weights["r_mag"] = weights.pop("b_enc"), weights.pop("gain").log()
    if own.k is not None:
        config |= {"k": own.k, "rescale_acts_by_decoder_norm": False}
    config["architecture"] = architecture
    config["normalize_activations"] = {ours: theirs for theirs, ours in NORMALISE.items()}[own.normalise]
    about = {"model_name": origin.model, "hook_name": origin.reads, "hook_name_out": origin.writes}
    config["metadata"] = {k: v for k, v in about.items() if v is not None} | config["metadata"]
    return weights
