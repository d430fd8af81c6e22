"""`[pathway]`: which way repairs go."""

from typing import Any, ClassVar

from pydantic import Field

from accord.section import TIMES, Section

FEWEST_TRAIN = 8  # items that a readout is fitted on: two for each of its folds


class PathwaySection(Section):
    """Which way each repair goes: what every layer knows, says and carries, in the base and in the repaired model."""

    needs: ClassVar[tuple[str, ...]] = ("repair",)

    repairs: list[str] = Field(
        default=[],
        description="Names of the [[repair]] to follow, as the first seed made them; without it the first.",
    )
    limit: int | None = Field(default=200, ge=4, description="At most so many items of each test set, balanced.")
    train_limit: int | None = Field(
        default=400, ge=FEWEST_TRAIN, description="At most so many training items to fit the readout of each layer on."
    )
    patch_items: int = Field(default=64, ge=2, description="Items on which states are put from one model into another.")
    draws: int = Field(
        default=3, ge=0, le=TIMES, description="Random directions beside each state that is put; 0: no control."
    )
    every_position: bool = Field(
        default=False,
        description="Also put the states of all positions but a prompt's first, at some twenty times the cost.",
    )
    concepts: str | None = Field(
        default=None,
        description="Name of the [[concepts]] whose changes are told, as the first seed made it on its first layer.",
    )
    resamples: int = Field(default=1000, ge=1, le=TIMES, description="Random signs behind the intervals of concepts.")


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"pathway": (PathwaySection | None, Field(default=None, description="Which way repairs go."))}
