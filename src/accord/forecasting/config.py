"""`[[forecast]]`: of which question it is asked, before a repair, whether one will help."""

from typing import Any

from pydantic import Field

from accord.gap.config import GapSection
from accord.section import FolderName
from accord.tasks.config import QuestionSection

FEWEST_ITEMS = 8  # two for each of the parts that a readout is judged on


class ForecastSection(QuestionSection):
    """Will a repair help? What can be told of it from the items that it would learn from, before any is made."""

    name: FolderName | None = Field(
        default=None,
        description="Folder of the results, forecast/NAME; without it as [[gap]] has it.",
        examples=["hypernymy-400"],
    )
    limit: int | None = Field(
        default=400, ge=FEWEST_ITEMS, description="At most so many training items, as in [[gap]]."
    )
    negated: bool = Field(
        default=False,
        description="Also tell what correcting by the negated prompt changes.",
    )

    @property
    def folder(self) -> str:
        """Name of the folder of results: `name`, or the task and what makes this question another one."""
        keys = {key: getattr(self, key) for key in (*QuestionSection.model_fields, "negated")}
        return self.name or GapSection.model_validate(keys).folder


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"forecast": (list[ForecastSection], Field(default=[], description="Whether repairs will help."))}
