"""An adapter merged into its base: weights that need no PEFT, and how far its answers drifted by that."""

import gc
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from accord.arguments import checked
from accord.disk import aside, lock, read_object, write_whole
from accord.errors import AccordError
from accord.gap.questions import Forms
from accord.lm.backbone import Backbone
from accord.lm.backbone import load as load_backbone
from accord.lm.encoding import encode_prompt
from accord.lm.model import LanguageModel
from accord.repair.folder import DESCRIPTION, MERGED, base_of, checked_base, is_repaired, quiet_peft
from accord.repair.learned import links

# Beside the task's own prompts, ordinary text.
_NEUTRAL = (
    "The committee met on Tuesday to discuss the budget for the coming year.",
    "She opened the window and listened to the rain on the roof of the old house.",
    "In 1969 two astronauts walked on the surface of the moon for the first time.",
    "To make the sauce, melt the butter, add the flour, and stir until it is smooth.",
)


@dataclass(frozen=True)
class Drift:
    """How far merged weights answer otherwise than base and adapter do; natural logarithms.

    Attributes:
        largest, mean: |difference of log p| over all tokens of the vocabulary, at every position of some prompts.
        logodds: largest |difference of l_V| at the end of the validator prompts that the repair keeps; 0 without any.
        prompts: how many were read.
    """

    largest: float
    mean: float
    logodds: float
    prompts: int


@checked
def merge(folder: Path | str, out: Path | str, *, device: str = "auto", dtype: str = "auto") -> Drift:
    """Write the merged weights of the adapter in `folder` to `out`, in hub layout with tokenizer; see `Drift`.

    `out/merge.json` holds the drift, which is measured on the weights read back.

    Raises:
        AccordError: the folder holds no adapter, or `out` is not empty.
    """
    folder, out = Path(folder), Path(out)
    described = _check(folder, out)
    with lock(out):
        part = aside(out, "partial")
        shutil.rmtree(part, ignore_errors=True)
        drift = _merge(folder, described, part, device, dtype)
        part.replace(out)
    return drift


def _merge(folder: Path, described: Mapping[str, Any], out: Path, device: str, dtype: str) -> Drift:
    base = checked_base(folder, described, device, dtype)
    if not isinstance(base, Backbone):
        raise AccordError("an adapter needs a backbone under it", where=folder, got=base.name)
    with quiet_peft():
        adapter = PeftModel.from_pretrained(base.model, str(folder))
    own = [tuple(ids) for ids in described["about"].get("prompt_ids", ())]
    prompts = [*own, *(encode_prompt(base.tokenizer, text) for text in _NEUTRAL)]
    before = _logprobs(Backbone(base.model, base.tokenizer, name=str(folder)), prompts)
    merged = adapter.merge_and_unload()
    merged.save_pretrained(str(out))
    base.tokenizer.save_pretrained(str(out))
    del adapter, merged, base  # only one model need be in memory at a time
    gc.collect()
    lm = load_backbone(out, device=device, dtype=dtype)
    after = _logprobs(lm, prompts)
    drift = _drift(Forms.of(lm), before, after, len(own))
    chain = [link.as_json() for link in links(folder)]  # so that merged weights are not tested on what they learned
    text = {"from": base_of(folder), "adapter": str(folder), **asdict(drift), "links": chain}
    write_whole(out / MERGED, json.dumps(text, indent=2) + "\n")
    return drift


def _check(folder: Path, out: Path) -> dict[str, Any]:
    if not is_repaired(folder):
        raise AccordError("this is no folder of a repaired model", where=folder, wanted="one that accord repair wrote")
    described = read_object(folder / DESCRIPTION, "change", "base")
    kind = described["change"]["kind"]
    if kind == "weights":
        raise AccordError("these are whole weights already", where=folder, fix="open the folder as it is")
    if kind != "adapter":
        raise AccordError("only an adapter can be merged: edits act on states, not on weights", where=folder, got=kind)
    if out.exists() and any(out.iterdir()):
        raise AccordError("the folder for the merged weights is not empty", where=out, fix="name another")
    return described


@torch.no_grad()
def _logprobs(lm: LanguageModel, prompts: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Of each prompt: float32 [position, vocab] on the CPU."""
    states = (lm.hidden(torch.tensor([ids]))[lm.n_layers][0] for ids in prompts)
    return [lm.lens(state).log_softmax(-1).cpu() for state in states]


def _drift(forms: Forms, before: Sequence[Tensor], after: Sequence[Tensor], own: int) -> Drift:
    apart = [(a - b).abs() for a, b in zip(after, before, strict=True)]
    odds = [
        float(abs(_logodds(forms, a[-1]) - _logodds(forms, b[-1])))
        for a, b in zip(after[:own], before[:own], strict=True)
    ]
    count = sum(one.numel() for one in apart)
    total = float(sum(one.double().sum() for one in apart))
    return Drift(float(max(one.max() for one in apart)), total / count, max(odds, default=0.0), len(apart))


def _logodds(forms: Forms, logprobs: Tensor) -> Tensor:
    return logprobs[list(forms.yes)].logsumexp(-1) - logprobs[list(forms.no)].logsumexp(-1)
