"""What tables of a study file are made of: their base, and the types of keys that several of them have."""

import hashlib
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

LONGEST_NAME = 100  # letters: beside what a stage adds to it, a file system takes 255 bytes


def _no_file_of_ours(name: str) -> str:
    if name.lower() == "manifest.json":  # a folder of that name would hide what lies beside it
        raise ValueError("another name: accord calls a file of its own so")
    return name


FolderName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME),  # needs no quoting anywhere
    AfterValidator(_no_file_of_ours),
]
_FOLDER_NAME = TypeAdapter[str](FolderName)


def folder_name(text: str) -> str:
    """The `FolderName` of any text: what such a name may have of it, with a hash of the text where that is not enough.

    >>> folder_name("capitals, few"), folder_name("日本")
    ('capitals-few', 'cf2abf')
    """
    name = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-._")
    try:
        return _FOLDER_NAME.validate_python(name)
    except ValidationError:
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        return f"{name[:60]}-{digest}".lstrip("-")


TaskName = Annotated[str, Field(min_length=1)]  # of `accord tasks` or the study, or a task file
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
HARNESS_FILE: dict[str, Any] = {"path": ".yaml"}
"""As for `TASK_FILE`, of tasks of lm-evaluation-harness."""


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
