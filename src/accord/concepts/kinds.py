"""The kinds of concept model by name: building one from its section, saving it as a folder, loading it."""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from accord.arguments import checked
from accord.concepts.base import ConceptModel, Section
from accord.concepts.batchtopk import BatchTopK, BatchTopKConfig
from accord.concepts.bernoulli import Bernoulli, BernoulliConfig
from accord.concepts.imported import Imported, ImportedConfig
from accord.concepts.l1 import L1, L1Config
from accord.concepts.lcblm import LCBLM, LCBLMConfig
from accord.concepts.lcblm_shared import LCBLMShared, LCBLMSharedConfig
from accord.concepts.topk import TopK, TopKConfig
from accord.errors import AccordError, nearest

KINDS: dict[type[Section], type[ConceptModel]] = {
    TopKConfig: TopK,
    BatchTopKConfig: BatchTopK,
    L1Config: L1,
    BernoulliConfig: Bernoulli,
    LCBLMConfig: LCBLM,
    LCBLMSharedConfig: LCBLMShared,
    ImportedConfig: Imported,
}
AnyConfig = Annotated[
    TopKConfig | BatchTopKConfig | L1Config | BernoulliConfig | LCBLMConfig | LCBLMSharedConfig | ImportedConfig,
    Field(discriminator="kind"),
]
KIND_NAMES = [config.model_fields["kind"].default for config in KINDS]
VERSION = 1  # of the folder format


@checked
def read_config(table: dict[str, Any], where: object = "concepts") -> AnyConfig:
    """A section from a plain table with its `kind`; raises AccordError naming the key that is wrong."""
    if table.get("kind") not in KIND_NAMES:
        raise AccordError(
            "no such kind of concept model",
            where=where,
            got=repr(table.get("kind")),
            wanted=nearest(str(table.get("kind")), KIND_NAMES),
        )
    try:
        config: AnyConfig = TypeAdapter(AnyConfig).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:]) or table["kind"]
        raise AccordError(first["msg"], where=f"{where}: {key}", got=repr(first["input"])) from None
    return config


@checked
def build(config: AnyConfig, d: int, seed: int = 0) -> ConceptModel:
    """A fresh model for embeddings of width d; the seed alone fixes its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[type(config)](config, d)  # type: ignore[call-arg]


@checked
def save(model: ConceptModel, folder: Path | str) -> None:
    """Write `config.json` and `weights.safetensors`, mean and scale among them, into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()},
              folder / "weights.safetensors")  # fmt: skip
    described = {"format": "accord.concepts", "version": VERSION, "d": model.d, "K": model.K,
                 "config": model.config.model_dump()}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


@checked
def load(folder: Path | str, device: torch.device | str = "cpu") -> ConceptModel:
    """The model that `save` wrote, ready to evaluate; raises AccordError if the folder is damaged."""
    folder = Path(folder)
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "weights.safetensors", device=str(device))
    except (OSError, ValueError, SafetensorError) as error:
        raise AccordError("cannot read a concept model", where=folder, got=str(error)) from None
    if not isinstance(described, dict) or described.get("format") != "accord.concepts":
        raise AccordError("not a concept model of accord", where=folder / "config.json")
    if described.get("version") != VERSION:
        raise AccordError(
            "a concept model of another version", where=folder, got=described.get("version"), wanted=VERSION
        )
    model = build(read_config(described["config"], folder / "config.json"), described["d"]).to(device)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise AccordError("weights do not fit their config.json", where=folder, got=str(error)) from None
    return model.eval()
