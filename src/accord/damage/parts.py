"""Finished parts of an observation in a folder, so that a killed run goes on, and a base is observed once."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.disk import write_whole
from accord.errors import AccordError

_ASKED = "asked.json"


@dataclass(frozen=True)
class Parts:
    """A folder of parts, or None to keep nothing.

    Raises:
        AccordError: what is there was asked of another model, or other questions.
    """

    folder: Path | None

    @classmethod
    def open(cls, folder: Path | None, asked: Mapping[str, Any]) -> "Parts":
        """The parts of what `asked` describes; the folder is made."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
            note = folder / _ASKED
            if not note.exists():
                write_whole(note, json.dumps({"sha256": digest}) + "\n")
            elif json.loads(note.read_text(encoding="utf-8"))["sha256"] != digest:
                raise AccordError(
                    "this folder holds observations of another model, or of other questions",
                    where=folder,
                    fix="name another folder, or remove this one",
                )
        return cls(folder)

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What `make` gives, or gave before."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            beside = path.with_name(path.name + ".tmp")
            save_file({key: tensor.contiguous() for key, tensor in make().items()}, beside)
            beside.replace(path)
        found: dict[str, Tensor] = load_file(path)
        return found

    def table(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """What `make` gives, or gave before."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            beside = path.with_name(path.name + ".tmp")
            make().to_parquet(beside, index=False)
            beside.replace(path)
        return pd.read_parquet(path)

    def within(self, name: str) -> Path | None:
        """A folder for parts that another room keeps."""
        return None if self.folder is None else self.folder / name
