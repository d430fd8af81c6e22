"""What a folder of a repaired model says of how it was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.concepts.result import read_curve, write_curve
from accord.disk import read_object, write_json
from accord.errors import AccordError
from accord.lm.catalog import adapter_base, is_adapter
from accord.loading import folder_of
from accord.unfinished import check_finished

DESCRIPTION, FORMAT = "repair.json", "accord.repair"
MERGED = "merge.json"  # in a folder of merged weights
_CHANGES = {
    "adapter": "an adapter beside its weights",
    "weights": "its weights changed",
    "edits": "edits of its states",
}


@dataclass(frozen=True)
class RepairRecord:
    """How a repaired model was made; `accord.load` opens the model itself.

    Attributes:
        about: the model, the task, the repair's settings and seed, and the settings that proved best.
        change: what of the base was changed: kind "adapter", "weights" or "edits".
        base: the model that it was made from: model (or folder and path), fingerprint.
        curve: step and loss while it was trained, or None.
    """

    about: Mapping[str, Any]
    change: Mapping[str, Any]
    base: Mapping[str, Any]
    curve: pd.DataFrame | None = None

    def write(self, folder: Path) -> None:
        """Write repair.json and a curve, where the repair has not written them itself, with the model."""
        if not (folder / DESCRIPTION).exists():
            write_json(folder / DESCRIPTION, {"base": self.base, "change": self.change, "about": self.about})
            write_curve(folder, self.curve)

    def headline(self) -> str:
        """What of the model it changes, and how its training went."""
        changed = _CHANGES.get(str(self.change.get("kind")), "the model changed")
        if self.curve is None or "loss" not in self.curve or len(self.curve) < 2:
            return changed
        losses = self.curve["loss"]
        return f"{changed}; loss {losses.iloc[0]:.3f} to {losses.iloc[-1]:.3f} in {len(losses)} steps"

    @classmethod
    def read(cls, folder: Path) -> "RepairRecord":
        """What is in a folder of a repaired model."""
        description = read_object(folder / DESCRIPTION, "about", "change", "base")
        return cls(description["about"], description["change"], description["base"], read_curve(folder))


def is_repaired(folder: Path | str) -> bool:
    """Whether this folder holds a repaired model, whole; of any version."""
    try:
        described = json.loads((Path(folder) / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(described, dict) and described.get("format") == FORMAT


def base_of(folder: Path | str) -> str:
    """The model that a repaired one, or a PEFT adapter, was made from, as `accord.load` takes it.

    A base in a folder is looked for where it lay relative to this one (both may have moved), then where it lay.

    Raises AccordError if the folder does not say, or the base is in neither place.
    """
    folder = folder_of(folder)
    check_finished(folder)
    if not is_repaired(folder):
        if is_adapter(folder):
            return adapter_base(folder)
        fix = "name the model: --base MODEL"
        raise AccordError("this folder does not say what it was repaired from", where=folder, fix=fix)
    base = read_object(folder / DESCRIPTION, "base")["base"]
    if not isinstance(base, dict) or not all(isinstance(base.get(key, ""), str) for key in ("model", "folder", "path")):
        raise AccordError("this folder does not say what it was repaired from", where=folder / DESCRIPTION, got=base)
    if "folder" not in base:
        return str(base.get("model"))
    try:
        beside = (folder / base["folder"]).resolve()
    except (ValueError, OSError) as error:  # no path at all
        problem = "the model that this one was repaired from has no place on a disk"
        raise AccordError(problem, where=folder / DESCRIPTION, got=error) from None
    places = [beside, *([Path(base["path"])] if "path" in base else [])]
    if there := next((place for place in places if place.exists()), None):
        return str(there)
    raise AccordError(
        "the model that this one was repaired from is gone",
        where=folder,
        got=f"nothing at {' or '.join(dict.fromkeys(map(str, places)))}",
        fix="put it back, or move both folders together",
    )


RESULTS = {"repair": RepairRecord}
