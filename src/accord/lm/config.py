"""`[backbone]`: the model under study."""

from typing import Literal

from pydantic import Field

from accord.lm.devices import PATTERN
from accord.section import PATH, Layers, Section


class BackboneSection(Section):
    """The model under study."""

    model: str = Field(
        min_length=1,
        description="A catalog name (see `accord models`), a hub id, a local folder, or a .gguf file.",
        examples=["smollm2-135m"],
        json_schema_extra=PATH,
    )
    device: str = Field(
        default="auto",
        pattern=PATTERN,
        description="auto (a GPU when there is one; several when one cannot hold the model), cpu, cuda, cuda:N or mps; "
        "or several that share the weights: cuda:0,cuda:1, or auto,cpu (all cards, and main memory for what they "
        "cannot hold, which is slow), or auto,cpu,disk. cuda:0=40GB takes no more than that.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="auto (on a GPU bfloat16; on a CPU float32, but bfloat16 for what is made and not measured, "
        "embeddings, adapters and texts, if the CPU multiplies that faster), float32, bfloat16 or float16.",
    )
    layer: Layers = Field(
        default=["last"],
        description='Whose states concepts and heads are made on: "last", a number (0 is what enters the first '
        "block), or a list of them.",
    )
