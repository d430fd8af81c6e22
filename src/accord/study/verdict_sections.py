"""What a study adds to a repair: the questions that it learns from, and those that it is tried on."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from accord.study.sections import (
    AnswerScore,
    ChatOptions,
    ChatTurns,
    FolderName,
    GapSection,
    InChat,
    Section,
    Shots,
    System,
)


class RepairFields(BaseModel):
    """What every `[[repair]]` has beside the keys of its kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    own: ClassVar[tuple[str, ...]] = (
        "name",
        "task",
        "data",
        "limit",
        "generator_shots",
        "validator_shots",
        "generator_phrasing",
        "validator_phrasing",
        "chat",
        "system",
        "chat_options",
        "chat_turns",
        "answer_score",
        "after",
    )

    name: FolderName | None = Field(
        default=None, description="What its folders and rows are called; the kind by default.", examples=["mild"]
    )
    task: str = Field(
        default="hypernymy",
        min_length=1,
        description="What it learns from: a built-in task, a [tasks.NAME] of this file, or a task file. Its training "
        "items train, and the verdict tries it on the others.",
    )
    data: str | None = Field(
        default=None,
        description="Data file, where the task brings none or another is wanted.",
        examples=["pairs.tsv"],
    )
    limit: int | None = Field(
        default=None, ge=1, description="At most so many training items, balanced; without it all.", examples=[1000]
    )
    generator_shots: Shots = Field(
        default="zero", description="Worked examples before the generator's question: zero or few."
    )
    validator_shots: Shots | None = Field(
        default=None,
        description="Worked examples before the validator's question: zero or few. Without it few, where the task "
        "has worked examples.",
        examples=["few"],
    )
    generator_phrasing: str | None = Field(
        default=None, description="Wording of the generator form; without it the first.", examples=["plain"]
    )
    validator_phrasing: str | None = Field(
        default=None, description="Wording of the validator form; without it the first.", examples=["true"]
    )
    chat: InChat = False
    system: System = None
    chat_options: ChatOptions = None
    chat_turns: ChatTurns = None
    answer_score: AnswerScore | None = Field(
        default=None,
        description="What the generator's log-odds are of, as in [[gap]]; without it as the task has it.",
        examples=["whole"],
    )
    after: str | None = Field(
        default=None,
        description="Name of the [[repair]] that this one goes on from, where it is not the backbone.",
        examples=["rankalign"],
    )

    @property
    def title(self) -> str:
        """Its name in folders and rows."""
        return self.name or str(self.__dict__["kind"])

    @property
    def trained(self) -> bool:
        """Whether it learns by gradients: then it needs a backbone, not a repaired model."""
        return "lr" in type(self).model_fields

    @property
    def question(self) -> GapSection:
        """The task as a gap section asks for it; split and limit are for the asker to choose."""
        return GapSection.model_validate({key: getattr(self, key) for key in _QUESTION})

    def settings(self) -> dict[str, Any]:
        """The keys of its kind, as the room of repairs knows them."""
        return self.model_dump(exclude=set(self.own))


_QUESTION = tuple(key for key in RepairFields.own if key not in ("name", "limit", "after"))


class VerdictSection(Section):
    """What repairs are tried on, before and after: items ever further from those that they learned from."""

    limit: int | None = Field(
        default=None,
        ge=1,
        description="At most so many items of each test set, balanced; without it all.",
        examples=[200],
    )
    phrasings: bool = Field(default=True, description="Also try the other wordings of both forms.")
    phrasing_limit: int | None = Field(
        default=100, ge=1, description="At most so many items for each other wording.", examples=[50]
    )
    tasks: list[str] = Field(
        default=[], description="Other tasks to try: built-in ones, [tasks.NAME] of this file, or task files."
    )
