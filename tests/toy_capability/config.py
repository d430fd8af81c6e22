"""`[toy]`: which letter is counted."""

from typing import Any

from pydantic import Field

from accord.section import Section


class ToySection(Section):
    """Count a letter."""

    letter: str = Field(default="a", description="The letter.")


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"toy": (ToySection | None, Field(default=None, description="Letters."))}
