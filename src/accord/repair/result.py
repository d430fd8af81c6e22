"""What a folder of a repaired model says of how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.concepts.result import read_curve, write_curve
from accord.disk import read_object, write_json

DESCRIPTION = "repair.json"


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

    @classmethod
    def read(cls, folder: Path) -> "RepairRecord":
        """What is in a folder of a repaired model."""
        description = read_object(folder / DESCRIPTION, "about", "change", "base")
        return cls(description["about"], description["change"], description["base"], read_curve(folder))


RESULTS = {"repair": RepairRecord}
