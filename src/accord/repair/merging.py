"""An adapter merged into its base: weights that need no PEFT, and how far its answers drifted by that."""

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.arguments import checked
from accord.disk import lock, read_object, whole_folder, write_whole
from accord.errors import AccordError
from accord.gap.questions import NO_FORMS, YES_FORMS
from accord.lm.adapters import open_adapter, quiet_peft, shared_layer
from accord.lm.backbone import Backbone
from accord.lm.catalog import is_adapter, resolve
from accord.lm.encoding import encode_prompt, single_tokens
from accord.lm.model import LanguageModel
from accord.lm.opening import load as load_backbone
from accord.lm.opening import read_tokenizer
from accord.lm.placement import check_undivided
from accord.lm.quantization import check_plain
from accord.loading import fingerprint
from accord.repair.folder import checked_base
from accord.repair.learned import links
from accord.repair.result import DESCRIPTION, MERGED, base_of, is_repaired
from accord.study.manifest import check_if_stage
from accord.study.replaced import MadeOtherwise, not_replaced
from accord.study.store import foreign
from accord.tasks.labels import NO, YES
from accord.unfinished import check_finished

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
        logodds: largest |difference of l_V| at the end of the validator prompts that the repair keeps; None without
            any (an adapter of plain peft), or where label words are several tokens each, which one position does not
            show.
        prompts: how many were read.
    """

    largest: float
    mean: float
    logodds: float | None
    prompts: int


@checked
def merge(
    folder: Path | str, out: Path | str, *, device: str = "auto", dtype: str = "auto", replace: bool = False
) -> Drift:
    """Write the merged weights of the adapter in `folder` to `out`, in hub layout with tokenizer; see `Drift`.

    The adapter may be one of `accord repair`, or any of PEFT's whose kind can be merged.

    `out/merge.json` holds the drift, which is measured on the weights read back. If `out` holds the merged weights of
    this adapter already, nothing is done.

    Args:
        replace: replace the merged weights of another adapter, or in another precision.

    Raises:
        AccordError: the folder holds no adapter, `out` holds anything else, the base's weights are quantized, this kind
            of adapter cannot be merged, or it acts on one of several layers that share a weight.
    """
    folder, out = Path(folder), Path(out)
    check_if_stage(folder)
    described = _check(folder)
    made_from = {"model": fingerprint(str(folder)), "dtype": dtype}
    with lock(out):
        if (drift := _there(out, made_from, replace)) is not None:
            return drift
        with whole_folder(out) as part:
            return _merge(folder, described, part, device, made_from)


def _there(out: Path, made_from: Mapping[str, str], replace: bool) -> Drift | None:
    """The drift of merged weights that are there already; None if there are none, or they are to be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MERGED).is_file():
        raise foreign(out)
    record = read_object(out / MERGED, *(field.name for field in fields(Drift)))
    changed = [
        f"{key} ({then} → {made_from[key]})"
        for key, then in record.get("made_from", dict.fromkeys(made_from, "unknown")).items()
        if then != made_from[key]
    ]
    if not changed:
        return Drift(*(record[field.name] for field in fields(Drift)))
    if not replace:
        found = MadeOtherwise(out.name, ", ".join(changed), None)
        raise not_replaced(found, out, "name another folder with --out")
    return None


def _merge(folder: Path, described: Mapping[str, Any], out: Path, device: str, made_from: Mapping[str, str]) -> Drift:
    dtype = made_from["dtype"]
    foreign = not described
    base: LanguageModel
    if foreign:
        base = load_backbone(base_of(folder), device=device, dtype=dtype)
        tokenizer = read_tokenizer(resolve(str(folder)))
    else:
        base = checked_base(folder, described, device, dtype)
        tokenizer = base.tokenizer
    if not isinstance(base, Backbone):
        raise AccordError("an adapter needs a backbone under it", where=folder, got=base.name)
    check_plain(base, "merging an adapter")
    check_undivided(base, "merging an adapter")
    adapter = open_adapter(base.model, folder)
    _check_ties(base, folder)
    about = described.get("about", {})
    own = [tuple(ids) for ids in about.get("prompt_ids", ())]
    prompts = [*own, *(encode_prompt(tokenizer, text) for text in _NEUTRAL)]
    before = _logprobs(Backbone(adapter, tokenizer, name=str(folder)), prompts)
    try:
        with quiet_peft():
            merged = adapter.merge_and_unload()
    except (NotImplementedError, AttributeError, ValueError, TypeError, RuntimeError) as error:
        raise AccordError(
            "This kind of adapter cannot be merged into its base.",
            where=folder,
            got=(str(error).strip() or type(error).__name__).splitlines()[0],
            fix="use it as it is: --model takes its folder",
        ) from error
    merged.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
    del adapter, merged, base  # only one model need be in memory at a time
    gc.collect()
    lm = load_backbone(out, device=device, dtype=dtype)
    after = _logprobs(lm, prompts)
    drift = _drift(_yes_no(lm, about) if own else None, before, after, len(own))
    chain = [link.as_json() for link in links(folder)]  # so that merged weights are not tested on what they learned
    text = {"from": base_of(folder), "adapter": str(folder), **asdict(drift), "made_from": made_from, "links": chain}
    write_whole(out / MERGED, json.dumps(text, indent=2) + "\n")
    return drift


def _check(folder: Path) -> dict[str, Any]:
    """What repair.json says; empty for an adapter that accord did not write."""
    described: dict[str, Any] = {}
    if is_repaired(folder):
        described = read_object(folder / DESCRIPTION, "change", "base")
    elif not is_adapter(folder):
        check_finished(folder)
        wanted = "one that accord repair wrote, or a PEFT adapter"
        raise AccordError("this is no folder of an adapter", where=folder, wanted=wanted)
    kind = described["change"]["kind"] if described else "adapter"
    if kind == "weights":
        raise AccordError("these are whole weights already", where=folder, fix="open the folder as it is")
    if kind != "adapter":
        raise AccordError("only an adapter can be merged: edits act on states, not on weights", where=folder, got=kind)
    return described


def _check_ties(base: Backbone, folder: Path) -> None:
    """Raises AccordError if a weight with an adapter is another layer's too: merging would change that as well."""
    if (name := shared_layer(base.model)) is not None:
        raise AccordError(
            "merging would change more than the adapter does: several layers share this weight",
            where=folder,
            got=name.removesuffix(".base_layer"),
            fix="use the folder as it is: any --model takes it",
        )


@torch.no_grad()
def _logprobs(lm: LanguageModel, prompts: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Of each prompt: float32 [position, vocab] on the CPU."""
    states = (lm.hidden(torch.tensor([ids]))[lm.n_layers][0] for ids in prompts)
    return [lm.lens(state).log_softmax(-1).cpu() for state in states]


def _yes_no(lm: LanguageModel, about: Mapping[str, Any]) -> list[list[int]] | None:
    """Token ids of the repair's words for yes and for no; None where they are several tokens, or other labels."""
    if "label_ids" not in about:  # written before a task had words of its own
        return [list(single_tokens(lm.tokenizer, forms)) for forms in (YES_FORMS, NO_FORMS)]
    labels = about["label_ids"]
    if set(labels) != {YES, NO} or any(len(ids) > 1 for each in labels.values() for ids in each):
        return None
    return [[ids[0] for ids in labels[label]] for label in (YES, NO)]


def _drift(yes_no: list[list[int]] | None, before: Sequence[Tensor], after: Sequence[Tensor], own: int) -> Drift:
    moves = [(a - b).abs() for a, b in zip(after, before, strict=True)]
    count = sum(move.numel() for move in moves)
    total = float(sum(move.double().sum() for move in moves))
    odds = None
    if yes_no is not None:
        ends = ((_logodds(yes_no, a[-1]) - _logodds(yes_no, b[-1])).abs() for a, b in zip(after, before, strict=True))
        odds = max(float(move) for move in list(ends)[:own])
    return Drift(float(max(move.max() for move in moves)), total / count, odds, len(moves))


def _logodds(yes_no: list[list[int]], logprobs: Tensor) -> Tensor:
    yes, no = (logprobs[tokens].logsumexp(-1) for tokens in yes_no)
    return yes - no
