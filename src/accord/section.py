"""What tables of a study file are made of: their base, and the types of keys that several of them have."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # needs no quoting anywhere
Layer = int | Literal["last"]

PATH: dict[str, Any] = {"path": ""}
"""`json_schema_extra` of a key that may hold a path, relative to the study file."""
TASK_FILE: dict[str, Any] = {"path": ".toml"}
"""The same of a key that holds a path where it ends like this."""


class Section(BaseModel):
    """A table of the study file; keys it does not know are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _as_layers(value: object) -> list[Layer]:
    """One message for whatever is wrong, where a union would give one for each of its members."""
    found: list[Any] = value if isinstance(value, list) and value else [value]
    good: list[Layer] = [one for one in found if one == "last" or (type(one) is int and one >= 0)]
    if len(good) != len(found) or len(set(map(str, found))) != len(found):
        raise ValueError('"last", a layer from 0, or a list of different ones')
    return good


Layers = Annotated[list[Layer], PlainValidator(_as_layers)]
