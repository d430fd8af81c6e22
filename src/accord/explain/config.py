"""`[explain]`: the gap explained by the concepts of the study."""

from typing import Any, ClassVar

from pydantic import Field

from accord.section import TIMES, Section

FEWEST = 20  # items: with fewer, halves and correlations say nothing


class ExplainSection(Section):
    """Which concepts stand between what the model says and what it affirms."""

    needs: ClassVar[tuple[str, ...]] = ("text", "concepts", "gap")

    gap: str | None = Field(
        default=None,
        description="Folder name of the [[gap]] whose questions are explained; the first of the backbone by default.",
        examples=["hypernymy"],
    )
    limit: int | None = Field(default=200, ge=FEWEST, description="At most so many of its items, balanced.")
    candidates: int = Field(
        default=48,
        ge=2,
        description="Concepts whose contributions are computed exactly, by turning each off: those that a gradient "
        "finds largest.",
    )
    chosen: int = Field(
        default=8, ge=1, description="Concepts turned off together, on items that did not choose them, as a check."
    )
    draws: int = Field(
        default=20, ge=1, le=TIMES, description="Random sets of concepts of equal rates beside each check."
    )


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"explain": (ExplainSection | None, Field(default=None, description="The gap told by concepts."))}
