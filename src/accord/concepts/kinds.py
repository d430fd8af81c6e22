"""Building a concept model from its settings, saving it as a folder, loading it."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.concepts.checkpoint import save_tensors
from accord.concepts.config import KINDS, ConceptConfig, read_config
from accord.disk import read_object
from accord.errors import AccordError
from accord.kinds import code_of
from accord.loading import folder_of
from accord.study.manifest import check_if_stage
from accord.unfinished import check_finished

VERSION = 1  # of the folder format


@checked
def build(config: ConceptConfig, d: int, seed: int = 0) -> ConceptModel:
    """A fresh model for embeddings of width d; the seed alone fixes its weights.

    >>> model = build(read_config({"kind": "topk", "size": 64, "k": 4}), d=8)
    >>> (model.encode(torch.ones(3, 8)).strength > 0).shape
    torch.Size([3, 64])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: ConceptModel = code_of(KINDS, config.kind)(config, d)
        return model


@checked
def unfilled(config: ConceptConfig, d: int) -> ConceptModel:
    """The model that `build` gives, with shapes and no numbers: to see how large it is.

    >>> sum(weight.numel() for weight in unfilled(read_config({"kind": "topk", "size": 64, "k": 4}), d=8).parameters())
    1096
    """
    with torch.device("meta"):
        model: ConceptModel = code_of(KINDS, config.kind)(config, d)
    return model


@checked
def save(model: ConceptModel, folder: Path | str) -> None:
    """Write `config.json` and `weights.safetensors`, mean and scale among them, into `folder`.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp()) / "model"
    >>> save(build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4), folder)
    >>> sorted(path.name for path in folder.iterdir())
    ['config.json', 'weights.safetensors']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(model.state_dict(), folder / "weights.safetensors")
    table = {"format": "accord.concepts", "version": VERSION, "d": model.d, "K": model.K,
             "config": model.config.model_dump()}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


@checked
def load(folder: Path | str, device: torch.device | str = "cpu") -> ConceptModel:
    """The model that `save` wrote, ready to evaluate, from a folder or the hub id of one.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp()) / "model"
    >>> save(build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4), folder)
    >>> load(folder).K
    16

    Raises AccordError if the folder is damaged.
    """
    folder = folder_of(folder)
    check_finished(folder)
    check_if_stage(folder)
    try:
        table = read_object(folder / "config.json")
        weights = load_file(folder / "weights.safetensors", device=str(device))
    except (OSError, ValueError, SafetensorError) as error:
        raise AccordError("cannot read a concept model", where=folder, got=str(error)) from None
    if table.get("format") != "accord.concepts":
        raise AccordError("not a concept model of accord", where=folder / "config.json")
    if table.get("version") != VERSION:
        raise AccordError("a concept model of another version", where=folder, got=table.get("version"), wanted=VERSION)
    settings = table.get("config")
    config = read_config(settings if isinstance(settings, dict) else {}, folder / "config.json")
    try:
        model = build(config, table.get("d", 0)).to(device)
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        raise AccordError("weights do not fit their config.json", where=folder, got=str(error)) from None
    return model.eval()
