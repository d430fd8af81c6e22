"""What a section of a study file says of a question: which task, and how it is put to the model."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from accord.section import PATH, TASK_FILE, Section, TaskName

Shots = Literal["zero", "few"]
InChat = Annotated[bool, Field(description="Put the prompts into the model's chat template.")]
System = Annotated[
    str | None,
    Field(description='In a chat: the system message, such as "Be brief."; without it the task\'s own, or none.'),
]
ChatOptions = Annotated[
    dict[str, JsonValue] | None,
    Field(
        description="In a chat: what its template is given besides, such as "
        '{ enable_thinking = false, date_string = "26 Jul 2026" }. A fixed date keeps numbers the same from day to '
        "day, where a template writes today's.",
    ),
]
ChatTurns = Annotated[
    bool | None,
    Field(
        description="In a chat: each worked example is a question and a reply of its own (true, as without this key) "
        "or all stand in one message (false).",
    ),
]
AnswerScore = Literal["auto", "whole", "first", "per_token"]


class QuestionSection(Section):
    """A task, and how its questions are put."""

    task: TaskName = Field(
        description="A built-in task (see `accord tasks`), a [tasks.NAME] of this file, or a task file.",
        examples=["hypernymy"],
        json_schema_extra=TASK_FILE,
    )
    data: str | None = Field(
        default=None,
        description="Data file, where the task brings none or another is wanted.",
        json_schema_extra=PATH,
    )
    generator_shots: Shots = Field(
        default="zero", description="Worked examples before the generator's question: zero or few."
    )
    validator_shots: Shots | None = Field(
        default=None,
        description="Worked examples before the validator's question: zero or few. "
        "Without it few, where the task has worked examples.",
        examples=["few"],
    )
    generator_phrasing: str | None = Field(
        default=None,
        description="Wording of the generator form (see `accord tasks`); without it the first.",
        examples=["plain"],
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
        description="What the generator's log-odds are of: first, the answer's first token; whole, all its tokens; "
        "per_token, their geometric mean; auto, whole where first tokens of right and wrong answers clash. Without it "
        "as the task has it.",
        examples=["whole"],
    )

    @property
    def asked(self) -> dict[str, Any]:
        """Keyword arguments of `accord.task`: all but the task and its data, which files name in their way."""
        return {key: getattr(self, key) for key in QuestionSection.model_fields if key not in ("task", "data")}
