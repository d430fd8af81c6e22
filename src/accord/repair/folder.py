"""A repaired model as one small folder: what was changed, and the name of the model that it was changed on.

    repair.json                  format, what the change is, the base (name or folder, fingerprint), about
    adapter_config.json, adapter_model.safetensors      a PEFT adapter, which `peft` opens by itself
    config.json, model.safetensors, tokenizer files     whole weights, which `transformers` opens by itself
    README.md                    a model card: what it is, how it was made, how to open it
    edits.safetensors            tensors of a readout or of steering directions
    concepts-N/                  concept model of the N-th edit, a folder that `accord.concepts.load` opens

repair.json is written last: a folder without it is no repaired model.
"""

import json
import os
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord import concepts as concept_models
from accord.arguments import checked
from accord.disk import path_of, read_object, write_whole
from accord.errors import AccordError
from accord.heads.reader import edits_as_json, edits_from_json
from accord.lm.adapters import inside, merges_exactly, open_adapter, quiet_peft
from accord.lm.backbone import Backbone, can_be_copied, copied
from accord.lm.edited import Readout, StateEdit, Steered, WithReadout, backbone_of
from accord.lm.model import LanguageModel
from accord.lm.opening import load as load_backbone
from accord.loading import fingerprint as fingerprint_of
from accord.repair import card
from accord.repair.result import DESCRIPTION, FORMAT, base_of, is_repaired
from accord.report.model_card import Known, without_places
from accord.steering.edits import AddDirection, AmplifyDirection, EditConcepts
from accord.study.manifest import check_if_stage

VERSION = 1
MARK = "repaired"
FILES = (  # concept models of edits lie in folders
    DESCRIPTION,
    "*.safetensors",
    "adapter_config.json",
    "concepts-*/config.json",
    "concepts-*/*.safetensors",
)


@checked
def save_adapter(model: PeftModel, folder: Path | str, *, base: str, about: Mapping[str, Any]) -> None:
    """Write a trained adapter into `folder`, which is made.

    Args:
        base: what `accord.load` took: a catalog name, a hub id, or a folder.
        about: what the repair was, as JSON: method, settings, seed.
    """
    folder = _begin(folder)
    for config in model.peft_config.values():
        for key in ("target_modules", "target_parameters"):
            if isinstance(names := getattr(config, key, None), set):  # whose order changes from run to run
                setattr(config, key, sorted(names))
    model.save_pretrained(str(folder), safe_serialization=True)
    _describe(folder, base, about, {"kind": "adapter"})


@checked
def save_weights(lm: Backbone, folder: Path | str, *, base: str, about: Mapping[str, Any]) -> None:
    """Write a model whose weights were all trained into `folder`; see `save_adapter`."""
    folder = _begin(folder)
    lm.model.save_pretrained(str(folder))
    lm.tokenizer.save_pretrained(str(folder))
    _describe(folder, base, about, {"kind": "weights"})


@checked
def save_edits(
    edits: Sequence[StateEdit | Readout], folder: Path | str, *, base: str, about: Mapping[str, Any]
) -> None:
    """Write edits of a model into `folder`; see `save_adapter`. State edits act before readouts."""
    folder = _begin(folder)
    tensors: dict[str, Tensor] = {}
    described = [_edit_as_json(edit, i, folder, tensors) for i, edit in enumerate(edits)]
    save_file(tensors, folder / "edits.safetensors")
    _describe(folder, base, about, {"kind": "edits", "edits": described})


@checked
def load_repaired(folder: Path | str, *, device: str = "auto", dtype: str = "auto") -> LanguageModel:
    """The model that `save_adapter` or `save_edits` wrote, on its base.

    Raises AccordError if the folder is damaged, or its base cannot be loaded or is another one.
    """
    return _loaded(Path(folder), device, dtype)


def load_to_measure(folder: Path, *, device: str, dtype: str, base: LanguageModel | None) -> LanguageModel:
    """What `load_repaired` gives, in less time: it runs as fast as its base, with the same numbers but for rounding.

    In float32 an adapter's matrices are added to the weights, which then need no more products than the base's.

    Args:
        base: what it was made on, where that is in memory already; it is not loaded again, and stays as it was.

    Raises AccordError as `load_repaired` does.
    """
    return _loaded(folder, device, dtype, base, merge=True)


def _loaded(
    folder: Path, device: str, dtype: str, there: LanguageModel | None = None, *, merge: bool = False
) -> LanguageModel:
    check_if_stage(folder)
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if described["version"] != VERSION:
            got = described["version"]
            raise AccordError("a repaired model of another version", where=folder, got=got, wanted=VERSION)
        if described["change"]["kind"] == "weights":
            return load_backbone(folder, device=device, dtype=dtype)
        known, adapts = described["base"]["fingerprint"], described["change"]["kind"] == "adapter"
        if isinstance(there, Backbone) and there.fingerprint == known and (not adapts or can_be_copied(there)):
            base: LanguageModel = copied(there) if adapts else there
        else:
            base = checked_base(folder, described, device, dtype)
        if adapts:
            return _with_adapter(base, folder, merge=merge)
        return with_edits(base, _edits_of(folder, described["change"]["edits"], base), name=str(folder))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        got = str(error).strip() or type(error).__name__
        raise AccordError("cannot read a repaired model", where=folder, got=got) from error


def base_name(lm: LanguageModel, base: str | None) -> str:
    """What the folder of a repair writes as its base: `base`, or the name that the model was opened by.

    Raises AccordError if the model was opened by none: the folder could not be opened again.
    """
    if base is None and str(lm.settings().get("weights")).startswith("memory:"):
        raise AccordError(
            "a repair names the model that it was made on, and this one is in memory only",
            got=lm.name,
            fix="save it with its tokenizer (save_pretrained), and name the folder: base=FOLDER",
        )
    return base or lm.name


def with_edits(lm: LanguageModel, edits: Sequence[StateEdit | Readout], *, name: str | None = None) -> LanguageModel:
    """A model with edits: its states first, then what is read off them."""
    changes = [edit for edit in edits if not isinstance(edit, Readout)]
    edited: LanguageModel = Steered(lm, changes, name=name) if changes else lm
    for edit in edits:
        if isinstance(edit, Readout):
            edited = WithReadout(edited, edit, name=name)
    return edited


def checked_base(folder: Path, described: Mapping[str, Any], device: str, dtype: str) -> LanguageModel:
    """The model that a repaired one was made from. Raises AccordError if another one has taken its name."""
    from accord.loading import fingerprint, load

    base = base_of(folder)
    actual, wanted = fingerprint(base), described["base"]["fingerprint"]
    if actual != wanted:
        raise AccordError(
            "this model was repaired from another base",
            where=folder,
            got=f"{base} ({actual})",
            wanted=f"{base} ({wanted})",
            fix="put the base back, or repair again",
        )
    return load(base, device=device, dtype=dtype)


def _with_adapter(base: LanguageModel, folder: Path, *, merge: bool) -> Backbone:
    """The model with an adapter on it, or in its weights, which are changed in place."""
    if not isinstance(base, Backbone):
        raise AccordError("an adapter needs a backbone under it", where=folder, got=base.name)
    from accord.loading import fingerprint

    name, known = str(folder), fingerprint(str(folder))
    adapter = open_adapter(base.model, folder)
    if merge and merges_exactly(adapter):
        with quiet_peft():
            adapter.merge_and_unload()
        base.name, base.fingerprint = name, known  # the same modules with other numbers: nothing need be found anew
        return base
    return Backbone(inside(adapter), base.tokenizer, name=name, fingerprint=known, like=base)


def _begin(folder: Path | str) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    return folder


def _describe(folder: Path, base: str, about: Mapping[str, Any], change: Mapping[str, Any]) -> None:
    from accord.loading import fingerprint

    path = path_of(base)
    named = {"model": base}
    if path.exists():
        named = {"folder": os.path.relpath(path.resolve(), folder.resolve()), "path": str(path.resolve())}
    known = fingerprint(base)
    write_whole(folder / card.NAME, card.card(base, known, about, change["kind"], local=path.exists()))
    described = {
        "format": FORMAT,
        "version": VERSION,
        "base": {**named, "fingerprint": known},
        "change": change,
        "about": about,
    }
    write_whole(folder / DESCRIPTION, json.dumps(described, indent=2) + "\n")


_WHOLE = (
    *("config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json"),
    *("model-*-of-*.safetensors", "tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja"),
)
_SHARED = {
    "adapter": ("adapter_model.safetensors",),
    "weights": _WHOLE,
    "edits": ("edits.safetensors", "concepts-*/config.json", "concepts-*/weights.safetensors"),
}


def shared(folder: Path, known: Known) -> tuple[Sequence[str], Mapping[str, str]]:
    """What of a folder is shared: patterns of files as they lie, and files that are written anew, for others to read.

    Raises AccordError if the base that others would fetch is not the one that the model was made on.
    """
    described = read_object(folder / DESCRIPTION, "base", "change", "about")
    kind, made_on = described["change"]["kind"], described["base"]["fingerprint"]
    if kind != "weights" and (found := fingerprint_of(known.base)) != made_on:
        raise AccordError(
            "others would put this repair on another base than it was made on",
            where=folder,
            got=f"{known.base} ({found})",
            wanted=made_on,
            fix="repair anew on the base that others can fetch; or share whole weights: accord merge",
        )
    about = without_places(described["about"])
    described = {**described, "base": {"model": known.base, "fingerprint": made_on}, "about": about}
    texts = {
        DESCRIPTION: json.dumps(described, indent=2) + "\n",
        card.NAME: card.card(known.base, made_on, about, kind, local=False, known=known),
    }
    if kind == "adapter":
        config = read_object(folder / "adapter_config.json")
        texts["adapter_config.json"] = json.dumps({**config, "base_model_name_or_path": known.base}, indent=2) + "\n"
    return _SHARED[kind], texts


def _edit_as_json(edit: StateEdit | Readout, i: int, folder: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if isinstance(edit, Readout):
        tensors[f"{i}.weight"] = edit.weight.detach().cpu().contiguous()
        plus, minus = list(edit.plus), list(edit.minus)
        limit = edit.limit if isfinite(edit.limit) else None
        read = {"layers": list(edit.layers), "bias": edit.bias, "limit": limit}
        return {"kind": "readout", **read, "plus": plus, "minus": minus}
    if isinstance(edit, AddDirection):
        tensors[f"{i}.vector"] = edit.vector.detach().cpu().contiguous()
        return {"kind": "direction", "layer": edit.layer}
    if isinstance(edit, AmplifyDirection):
        tensors[f"{i}.direction"] = edit.direction.detach().cpu().contiguous()
        return {"kind": "amplify", "layer": edit.layer, "center": edit.center, "factor": edit.factor}
    if isinstance(edit, EditConcepts):
        concept_models.save(edit.concepts, folder / f"concepts-{i}")
        edits = edits_as_json(edit.edits)
        return {
            "kind": "concepts",
            "layer": edit.layer,
            "edits": edits,
            "keep_error": edit.keep_error,
            "hard": edit.hard,
        }
    raise AccordError("this kind of edit cannot be saved", got=type(edit).__name__)


def _edits_of(folder: Path, described: list[dict[str, Any]], base: LanguageModel) -> list[StateEdit | Readout]:
    tensors = load_file(folder / "edits.safetensors")
    edits: list[StateEdit | Readout] = []
    for i, row in enumerate(described):
        if row["kind"] == "readout":
            plus, minus = tuple(row["plus"]), tuple(row["minus"])
            limit = inf if row["limit"] is None else row["limit"]
            edits.append(Readout(tuple(row["layers"]), tensors[f"{i}.weight"], row["bias"], plus, minus, limit))
        elif row["kind"] == "direction":
            edits.append(AddDirection(row["layer"], tensors[f"{i}.vector"]))
        elif row["kind"] == "amplify":
            edits.append(AmplifyDirection(row["layer"], tensors[f"{i}.direction"], row["center"], row["factor"]))
        else:
            concepts = concept_models.load(folder / f"concepts-{i}", backbone_of(base).device)
            chosen = edits_from_json(row["edits"])
            edits.append(EditConcepts(row["layer"], concepts, chosen, row["keep_error"], row["hard"]))
    return edits


is_model, load_folder = is_repaired, load_repaired  # as `accord.loading.FOLDERS` asks for them
