"""`[names]`: which concepts are named, by whom, from how many examples; and the annotators.

What they say of a key feeds errors, `accord init` and the docs.
"""

import os
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from accord.errors import AccordError
from accord.lm.devices import PATTERN
from accord.section import PATH, TIMES, Section


class _Annotator(Section):
    manner: ClassVar[set[str]] = set()
    """Keys that say how it is asked, not what: other values of them give no other answers."""


class TokensAnnotator(_Annotator):
    """No model: a concept is called by the kinds of token that mark it."""

    kind: Literal["tokens"] = "tokens"
    words: int = Field(default=3, ge=1, le=10, description="Kinds of token in a name.")


class TransformersAnnotator(_Annotator):
    """A chat model that runs here."""

    manner: ClassVar[set[str]] = {"batch"}
    kind: Literal["transformers"] = "transformers"
    model: str = Field(
        min_length=1,
        description="A catalog name (see `accord models`), a hub id, a local folder, or a .gguf file.",
        examples=["smollm2-135m"],
        json_schema_extra=PATH,
    )
    device: str = Field(
        default="auto", pattern=PATTERN, description="As for the backbone: auto, cpu, cuda, cuda:N, mps, or several."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto, float32, bfloat16 or float16."
    )
    max_tokens: int = Field(default=60, ge=8, le=TIMES, description="Tokens of an answer.")
    attempts: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Times a concept is asked for: first greedily, then by drawing (temperature .7).",
    )
    batch: int = Field(default=8, ge=1, le=TIMES, description="Concepts asked for at a time.")


class OpenAIAnnotator(_Annotator):
    """A chat model behind any server that speaks OpenAI's chat completions."""

    manner: ClassVar[set[str]] = {
        "base_url", "key_variable", "concurrency", "per_minute", "timeout", "attempts", "first_wait", "longest_wait"
    }  # fmt: skip
    kind: Literal["openai"] = "openai"
    model: str = Field(min_length=1, description="As the server calls it.", examples=["local"])
    base_url: str = Field(
        default="https://api.openai.com/v1",
        description="Address of the server, without user name, password and query.",
        examples=["http://127.0.0.1:8080/v1"],
    )
    key_variable: str = Field(
        default="OPENAI_API_KEY",
        pattern=r"^[A-Za-z_]\w*$",
        description="Environment variable that holds the key: the key itself is never in a file. A server reached by "
        "http:// may need none.",
    )
    max_tokens: int = Field(default=200, ge=8, le=TIMES, description="Tokens of an answer.")
    concurrency: int = Field(default=4, ge=1, le=256, description="Requests at a time.")
    per_minute: int | None = Field(
        default=None, ge=1, description="Requests begun in a minute, retries too; without it no limit.", examples=[60]
    )
    timeout: float = Field(
        default=60.0, gt=0, le=86_400, description="Seconds within which the whole of an answer must have come."
    )
    attempts: int = Field(
        default=6,
        ge=1,
        le=1000,
        description="Times a request is made when the server is busy, fails, or answers badly.",
    )
    first_wait: float = Field(
        default=1.0,
        ge=0,
        le=86_400,
        description="Seconds waited after a first failure, on average half; doubles each time.",
    )
    longest_wait: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="Longest wait; a server that asks for more is taken at its word: no answer.",
    )

    @field_validator("base_url")
    @classmethod
    def _plain(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address that begins with http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("no user name, password or ?key=… in the address: it is written to disk")
        return value

    def key(self) -> str:
        """The key, from the environment; empty where there is none and the server may need none.

        Raises AccordError where it is needed.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not key and self.base_url.startswith("https://"):
            raise AccordError(
                "This server needs a key.",
                where=self.base_url,
                got=f"the environment variable {self.key_variable} is not set",
                fix=f"export {self.key_variable}=…, or name another variable with key_variable",
            )
        return key


AnyAnnotator = Annotated[TokensAnnotator | TransformersAnnotator | OpenAIAnnotator, Field(discriminator="kind")]


class NamesSection(Section):
    """A dictionary of the first seed's concepts: what excites each, what it promotes, a name, and its scores."""

    needs: ClassVar[tuple[str, ...]] = ("text", "concepts")

    concepts: str = Field(
        default="all", min_length=1, description="Name of the [[concepts]] to look at, or all of them."
    )
    limit: int | None = Field(
        default=None, ge=1, description="Name at most so many concepts of each, drawn at random.", examples=[100]
    )
    examples: int = Field(default=12, ge=3, le=24, description="Training examples that the annotator sees of each.")
    held_out: int = Field(default=10, ge=3, description="Held-out examples, of each sort, that a name is scored on.")
    scores: bool = Field(default=True, description="Score names on held-out examples, against shuffled names.")
    annotator: AnyAnnotator = Field(
        default=TokensAnnotator(),
        description="Who names them: tokens, transformers or openai.",
    )


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"names": (NamesSection | None, Field(default=None, description="Concepts named, and the names scored."))}
