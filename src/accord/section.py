"""What tables of a study file are made of: their base, and the types of keys that several of them have."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # needs no quoting anywhere
Layer = int | Literal["last"]

PATH: dict[str, Any] = {"path": ""}
"""`json_schema_extra` of a key that may hold a path, relative to the study file."""
TASK_FILE: dict[str, Any] = {"path": ".toml"}
"""The same for a key that holds a path only if the value has this ending."""


class Section(BaseModel):
    """A table of the study file; keys it does not know are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _as_layers(value: object) -> list[Layer]:
    """The layers that a key names, as a list. A single message for whatever is wrong; a union would give several."""
    layers: list[Any] = value if isinstance(value, list) and value else [value]
    valid: list[Layer] = [layer for layer in layers if layer == "last" or (type(layer) is int and layer >= 0)]
    if len(valid) != len(layers) or len(set(map(str, layers))) != len(layers):
        raise ValueError('"last", a layer from 0, or a list of different ones')
    return valid


Layers = Annotated[list[Layer], PlainValidator(_as_layers)]
