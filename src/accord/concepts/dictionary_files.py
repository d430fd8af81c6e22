"""Reading the files of another tool's dictionary: what cannot be read or is not expected raises AccordError."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from accord.disk import read_object
from accord.errors import AccordError


def read_table(file: Path) -> dict[str, Any]:
    """A JSON table."""
    return read_object(file, fix="download the dictionary again")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in float32; they must be floating-point numbers of any precision."""
    try:
        weights = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise AccordError("cannot read these weights", where=file, got=str(error)) from None
    if whole := sorted(name for name, weight in weights.items() if not weight.is_floating_point()):
        raise AccordError("These weights are whole numbers.", where=file, got=", ".join(whole), wanted="floats")
    return {name: weight.float() for name, weight in weights.items()}


def check_tensors(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Raise AccordError unless there are exactly these tensors, in these shapes, without infinite values."""
    if unknown := sorted(weights.keys() - shapes.keys()):
        raise AccordError(
            "A dictionary has a tensor that is not understood.",
            where=folder,
            got=", ".join(unknown),
            wanted=", ".join(shapes),
        )
    for name, shape in shapes.items():
        got = tuple(weights[name].shape) if name in weights else None
        if got != shape:
            raise AccordError(f"{name} does not fit its dictionary.", where=folder, got=got, wanted=shape)
        if not bool(weights[name].isfinite().all()):
            raise AccordError(f"{name} has values that are not finite.", where=folder)
