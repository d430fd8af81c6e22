"""EleutherAI's sparsify 1.3: `cfg.json` and `sae.safetensors`.

z are the k largest of max(W_enc (x − b_dec) + b_enc, 0), and x̂ = z W_dec + b_dec. A transcoder takes x itself, predicts
what a module makes of it, and may add W_skip x.
"""

import re
from pathlib import Path

from accord.concepts.config import ImportedConfig, Origin
from accord.concepts.dictionary_files import check_tensors, read_table, read_tensors
from accord.concepts.hooks import residual_layer
from accord.concepts.imported import Imported
from accord.errors import AccordError

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
_SIZES = {"d_in": 0, "k": 32, "num_latents": 0, "expansion_factor": 32}  # with sparsify's defaults


def import_sparsify(folder: Path) -> Imported:
    """The dictionary of a folder that sparsify wrote; its name is the module whose output it reads.

    Raises AccordError for what cannot be read or is not understood.
    """
    where = folder / CONFIG
    table, weights = read_table(where), read_tensors(folder / WEIGHTS)
    effects = {"d_in", "num_latents", "expansion_factor", "k", "activation", "signed", "transcode", "skip_connection"}
    if unknown := sorted(table.keys() - effects - {"normalize_decoder", "multi_topk", "hookpoint"}):
        raise AccordError("cfg.json has a key that is not understood.", where=where, got=", ".join(unknown))
    if table.get("activation", "topk") != "topk" or table.get("signed", False):
        got = {key: table[key] for key in ("activation", "signed") if key in table}
        raise AccordError("This activation cannot be imported.", where=where, got=got, wanted="topk, not signed")
    sizes = {key: table.get(key) or default for key, default in _SIZES.items()}
    if not all(type(size) is int and size >= 0 for size in sizes.values()) or not sizes["d_in"] * sizes["k"]:
        raise AccordError("The sizes of this dictionary are not understood.", where=where, got=sizes)
    d, k = sizes["d_in"], sizes["k"]
    K = sizes["num_latents"] or d * sizes["expansion_factor"]
    if k > K:
        raise AccordError("k is larger than the number of latents.", where=where, got=k, wanted=f"up to {K}")
    transcodes, skip = table.get("transcode", False), table.get("skip_connection", False)
    if not (isinstance(transcodes, bool) and isinstance(skip, bool)):
        flags = f"transcode = {transcodes!r}, skip_connection = {skip!r}"
        raise AccordError("This value is not understood.", where=where, got=flags, wanted="true or false")
    if skip and not transcodes:
        raise AccordError("An autoencoder with a skip connection cannot be imported.", where=where)
    shapes = {"encoder.weight": (K, d), "encoder.bias": (K,), "W_dec": (K, d), "b_dec": (d,)}
    check_tensors(weights, {**shapes, **({"W_skip": (d, d)} if skip else {})}, folder)
    weights["W_enc"], weights["b_enc"] = weights.pop("encoder.weight"), weights.pop("encoder.bias")
    if not transcodes:
        weights["b_in"] = weights["b_dec"]
    module = folder.name if re.search(r"(layers|h|blocks)\.\d+|embed", folder.name) else None
    left = residual_layer(module)
    origin = Origin(
        tool="sparsify",
        reads=f"what enters {module}" if transcodes and module else module,
        writes=module if transcodes else None,
        layer=left - 1 if transcodes and left is not None else left,
        target_layer=left if transcodes else None,
    )
    config = ImportedConfig(size=K, activation="topk", k=k, d_out=d if transcodes else None, skip=skip, origin=origin)
    return Imported.of(config, weights)
