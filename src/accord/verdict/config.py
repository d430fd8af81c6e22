"""`[verdict]`: what repairs are tried on."""

from typing import Any, ClassVar

from pydantic import Field

from accord.section import TASK_FILE, Section, TaskName


class VerdictSection(Section):
    """What repairs are tried on, before and after: items ever further from those that they learned from."""

    needs: ClassVar[tuple[str, ...]] = ("repair",)

    limit: int | None = Field(
        default=None,
        ge=1,
        description="At most so many items of each test set, balanced; without it all.",
        examples=[200],
    )
    phrasings: bool = Field(default=True, description="Also try the other wordings of both forms.")
    phrasing_limit: int | None = Field(default=100, ge=1, description="At most so many items for each other wording.")
    tasks: list[TaskName] = Field(
        default=[],
        description="Other tasks to try: built-in ones, [tasks.NAME] of this file, or task files.",
        json_schema_extra=TASK_FILE,
    )


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"verdict": (VerdictSection | None, Field(default=None, description="What repairs are tried on."))}
