"""A concept language model as one folder: safetensors and JSON, and the name of the backbone that it stands on.

    config.json          format, backbone (name, fingerprint), layer, what is read, edits, the head's section
    head.safetensors     weights of a trained head
    concepts/            the concept model, a folder that `accord.concepts.load` opens by itself
    probe.safetensors    states of the backbone on a few fixed tokens: how another backbone is told from this one

config.json is written last: a folder without it is no model.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from accord import concepts as concept_models
from accord.arguments import checked
from accord.concepts.checkpoint import save_tensors
from accord.disk import read_object
from accord.errors import AccordError
from accord.heads.concept_lm import ConceptLM
from accord.heads.config import KINDS, OriginalHead, read_head
from accord.heads.head import Head
from accord.heads.reader import Reader, edits_as_json, edits_from_json
from accord.heads.vocabulary import Vocabulary
from accord.kinds import code_of
from accord.lm.backbone import Backbone
from accord.lm.opening import load
from accord.report.model_card import Known, plain, short_card
from accord.study.manifest import check_if_stage

FORMAT, VERSION = "accord.concept-lm", 1
IN_MEMORY = "in memory"
MARK, FILES = "concept-lm", ("config.json", "head.safetensors", "concepts/config.json", "concepts/weights.safetensors")
_PROBE_TOKENS = 16
# Largest distance of the probe's states, as a share of their norm: kernels and devices differ by far less, other
# weights by far more.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


def is_concept_lm(folder: Path | str) -> bool:
    """Whether `save_concept_lm` wrote this folder, whole; of any version."""
    try:
        table = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(table, dict) and table.get("format") == FORMAT


@checked
def save_concept_lm(lm: ConceptLM, folder: Path | str) -> None:
    """Write the model into `folder`, which need not exist; the backbone is named in it, not copied."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    if lm.reader.concepts is not None:
        concept_models.save(lm.reader.concepts, folder / "concepts")
    if lm.head is not None:
        save_tensors(lm.head.state_dict(), folder / "head.safetensors")
    save_tensors({"states": _probe(lm.backbone, lm.layer)}, folder / "probe.safetensors")
    head = OriginalHead(reads=lm.reader.reads, hard=lm.reader.hard) if lm.head is None else lm.head.config  # type: ignore[arg-type]
    table = {
        "format": FORMAT,
        "version": VERSION,
        "name": lm.name,
        "backbone": {"name": lm.backbone.name, "fingerprint": lm.backbone.fingerprint},
        "layer": lm.layer,
        "head": head.model_dump(),
        "concepts": lm.reader.concepts is not None,
        "edits": edits_as_json(lm.reader.edits),
    }
    (folder / "config.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


@checked
def load_concept_lm(
    folder: Path | str, *, device: str = "auto", dtype: str = "auto", backbone: Backbone | None = None
) -> ConceptLM:
    """The model that `save_concept_lm` wrote.

    Args:
        device, dtype: of the backbone, as for `accord.load`; concepts and head are float32 on the same device.
        backbone: loaded already, as when many models share it; `device` and `dtype` are then its own.

    Raises:
        AccordError: the folder is damaged or holds no such model, or its backbone cannot be loaded, or differs.
    """
    folder = Path(folder)
    check_if_stage(folder)
    try:
        return _load(folder, device, dtype, backbone)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        got = str(error).strip() or type(error).__name__
        raise AccordError("cannot read a concept language model", where=folder, got=got) from error


def _load(folder: Path, device: str, dtype: str, backbone: Backbone | None) -> ConceptLM:
    if not is_concept_lm(folder):
        raise AccordError("not a concept language model of accord", where=folder / "config.json")
    table = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if table["version"] != VERSION:
        got = table["version"]
        raise AccordError("a concept language model of another version", where=folder, got=got, wanted=VERSION)
    backbone = backbone or load(table["backbone"]["name"], device=device, dtype=dtype)
    _same_backbone(backbone, table, folder)
    config = read_head(table["head"], folder / "config.json")
    concepts = concept_models.load(folder / "concepts", backbone.device) if table["concepts"] else None
    reader = Reader(config.reads, concepts, config.hard, edits_from_json(table["edits"]))
    head = None if isinstance(config, OriginalHead) else _load_head(config, backbone, folder / "head.safetensors")
    return ConceptLM(backbone, table["layer"], reader, head, name=table["name"])


def _load_head(config: Any, backbone: Backbone, path: Path) -> Head:
    weights = load_file(path)
    vocabulary = Vocabulary(backbone.vocab_size, weights["vocabulary.observed"], float(weights["vocabulary.unseen"]))
    head: Head = code_of(KINDS, config.kind).shaped(config, backbone, weights, vocabulary)
    head.load_state_dict(weights)
    return head


def _same_backbone(backbone: Backbone, table: dict[str, Any], folder: Path) -> None:
    """Raise AccordError for a backbone whose weights are not those that concepts and head were made on.

    An equal fingerprint is enough. Where it differs, as it does for a copied folder, the states on fixed tokens decide.
    """
    original = table["backbone"]
    if backbone.fingerprint == original["fingerprint"] != IN_MEMORY:
        return
    saved = load_file(folder / "probe.safetensors")["states"]
    off = float("inf")
    if 0 <= table["layer"] <= backbone.n_layers and backbone.d_model == saved.shape[-1]:
        states = _probe(backbone, table["layer"])
        off = float(((states - saved).flatten(1).norm(dim=1) / saved.flatten(1).norm(dim=1)).max())
    if not off <= _TOLERANCE[backbone.dtype]:
        raise AccordError(
            "this concept language model was made on another backbone",
            where=folder,
            got=f"{backbone.name} ({backbone.fingerprint}), whose states differ by {off:.1%}",
            wanted=f"{original['name']} ({original['fingerprint']})",
            fix="load it with the backbone that it names",
        )


@torch.no_grad()
def _probe(backbone: Backbone, layer: int) -> Tensor:
    """States [layer and top, position, d] of fixed tokens, without the first position, which would drown the rest."""
    ids = torch.randint(0, 2**31, (1, _PROBE_TOKENS), generator=torch.Generator().manual_seed(0)) % backbone.vocab_size
    layers = (layer, backbone.n_layers)
    states = backbone.hidden(ids, layers=sorted(set(layers)))
    return torch.stack([states[number][0, 1:].float().cpu() for number in layers])


def base_of(folder: Path) -> str:
    """The backbone that a concept language model names."""
    backbone = read_object(folder / "config.json", "backbone")["backbone"]
    if not isinstance(backbone, dict) or not isinstance(backbone.get("name"), str):
        raise AccordError("this folder does not name its backbone", where=folder / "config.json", got=backbone)
    return str(backbone["name"])


def shared(folder: Path, known: Known) -> tuple[Sequence[str], Mapping[str, str]]:
    """What of a folder is shared: see `accord.repair.folder.shared`. The states on fixed tokens tell another base."""
    table = read_object(folder / "config.json", "backbone", "head", "layer")
    told = {**table, "backbone": {**table["backbone"], "name": known.base}}
    reads = f"reads {table['head'].get('reads')} of layer {table['layer']}"
    with_head = "its own head" if table["head"].get("kind") != "original" else "the base's own head"
    about = f"A concept language model on {plain(known.base)}: {plain(reads)}, with {with_head}."
    title = plain(str(table.get("name", "A concept language model")))
    card = short_card(title, about, f'lm = accord.load("{known.name}")', known)
    texts = {"config.json": json.dumps(told, indent=2) + "\n", "README.md": card}
    return ("head.safetensors", "probe.safetensors", "concepts/config.json", "concepts/weights.safetensors"), texts


is_model, load_folder = is_concept_lm, load_concept_lm  # as `accord.loading.FOLDERS` asks for them
