"""What tables of a study file are made of: their base, and the types of keys that several of them have."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # needs no quoting anywhere
Layer = int | Literal["last"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every library takes

STEPS = 10_000_000
"""The most updates that a training may have: years on any machine."""
TIMES = 1_000_000
"""The most of what is made one by one: texts, batches' rows, resamples, concepts. Far more than anyone needs."""

PATH: dict[str, Any] = {"path": ""}
"""`json_schema_extra` of a key that may hold a path, relative to the study file."""
TASK_FILE: dict[str, Any] = {"path": ".toml"}
"""The same for a key that holds a path only if the value has this ending."""


class Section(BaseModel):
    """A table of the study file; keys it does not know are errors, and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    needs: ClassVar[tuple[str, ...]] = ()
    """Other sections that a study with this one must have."""


def _as_layers(value: object) -> list[Layer]:
    """The layers that a key names, as a list. A single message for whatever is wrong; a union would give several."""
    layers: list[Any] = value if isinstance(value, list) and value else [value]
    valid: list[Layer] = [layer for layer in layers if layer == "last" or (type(layer) is int and layer >= 0)]
    if len(valid) != len(layers) or len(set(map(str, layers))) != len(layers):
        raise ValueError('"last", a layer from 0, or a list of different ones')
    return valid


Layers = Annotated[list[Layer], PlainValidator(_as_layers)]
