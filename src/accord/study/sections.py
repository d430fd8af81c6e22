"""The sections of a study file that ask a model. Errors and `accord init` take what they say of a key from its
description. Nothing here imports torch: commands that need no model start at once.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator

Shots = Literal["zero", "few"]
InChat = Annotated[bool, Field(description="Put the prompts into the model's chat template.")]
System = Annotated[
    str | None,
    Field(description="In a chat: the system message; without it the task's own, or none.", examples=["Be brief."]),
]
ChatOptions = Annotated[
    dict[str, JsonValue] | None,
    Field(
        description="In a chat: what its template is given besides. A fixed date keeps numbers the same from day to "
        "day, where a template writes today's.",
        examples=[{"enable_thinking": False, "date_string": "26 Jul 2026"}],
    ),
]
ChatTurns = Annotated[
    bool | None,
    Field(
        description="In a chat: each worked example is a question and a reply of its own (true, as without this key) "
        "or all stand in one message (false).",
        examples=[False],
    ),
]
AnswerScore = Literal["auto", "whole", "first", "per_token"]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # needs no quoting anywhere


class Section(BaseModel):
    """A table of the study file; keys it does not know are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Layer = int | Literal["last"]


def _as_layers(value: object) -> list[Layer]:
    """One message for whatever is wrong, where a union would give one for each of its members."""
    found: list[Any] = value if isinstance(value, list) and value else [value]
    good: list[Layer] = [one for one in found if one == "last" or (type(one) is int and one >= 0)]
    if len(good) != len(found) or len(set(map(str, found))) != len(found):
        raise ValueError('"last", a layer from 0, or a list of different ones')
    return good


Layers = Annotated[list[Layer], PlainValidator(_as_layers)]


class Backbone(Section):
    """The model under study."""

    model: str = Field(
        min_length=1,
        description="A catalog name (see `accord models`), a hub id, a local folder, or a .gguf file.",
        examples=["smollm2-135m"],
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto (a GPU when there is one), cpu, cuda, cuda:N or mps.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="auto (float32 on a CPU, bfloat16 on a GPU), float32, bfloat16 or float16.",
    )
    layer: Layers = Field(
        default=["last"],
        description='Whose states concepts and heads are made on: "last", a number (0 is what enters the first '
        "block), or a list of them.",
    )


class GapSection(Section):
    """Measure the gap between what the model says (generator) and what it affirms (validator)."""

    task: str = Field(
        min_length=1,
        description="A built-in task (see `accord tasks`), a [tasks.NAME] of this file, or a task file.",
        examples=["hypernymy"],
    )
    name: FolderName | None = Field(
        default=None,
        description="Folder of the results, gap/NAME (letters, digits, . _ -). "
        "Without it made from the task and what differs.",
        examples=["hypernymy-400"],
    )
    model: str = Field(
        default="backbone",
        min_length=1,
        description="Which model is asked: backbone, or a row of the perplexity table such as "
        "CONCEPTS-latents-new (with -L6 for layer 6), as the first seed made it.",
    )
    data: str | None = Field(
        default=None,
        description="Data file, where the task brings none or another is wanted.",
        examples=["pairs.tsv"],
    )
    split: str = Field(
        default="test",
        description="Which part of the items: train, test or all; of a nested split also test-unseen-hypernyms and "
        "test-unseen-both.",
    )
    split_kind: str = Field(
        default="random",
        description="What test may share with train: random (the words), unseen-hypernyms (no category), unseen-both "
        "(no word), or nested: one training side, all three tests.",
    )
    limit: int | None = Field(
        default=None, ge=1, description="At most so many items, balanced; without it all.", examples=[400]
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
    layers: bool = Field(default=False, description="Also read both forms at every layer, not only at the top.")

    @property
    def folder(self) -> str:
        """Name of the folder of results: `name`, or the task and what makes this question another one."""
        if self.name is not None:
            return self.name
        words = [Path(self.task).stem]
        words += [Path(self.data).stem] if self.data is not None else []
        for key, prefix, usual in _QUESTION:
            value = getattr(self, key)
            if value is not None and value != usual:
                words.append(prefix + ("" if value is True else str(value)))
        how = [self.system, self.chat_options, self.chat_turns]
        if how != [None, None, None]:  # too long for a name
            words.append(hashlib.sha256(json.dumps(how).encode()).hexdigest()[:6])
        return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(words)).strip("-.")


class SearchSection(Section):
    """How `accord search` looks for the best values of the ranges in this file; `accord run` takes no notice of it.

    A range stands in place of a value: { low = 1e-4, high = 1e-2, log = true }, { low = 2, high = 8 } for whole
    numbers, { choices = ["a", "b"] }.
    """

    objective: str = Field(
        min_length=1,
        description="What is sought: STAGE:METRIC, a metric in the metrics.json of a stage, its mean over the seeds. "
        "STAGE is concepts/NAME, heads/ROW, perplexity/ROW or gap/NAME, as in the run folder, without the seed.",
        examples=["concepts/topk:r2_hard"],
    )
    direction: Literal["maximize", "minimize"] = Field(
        description="Whether high or low values are better: maximize or minimize.", examples=["maximize"]
    )
    sampler: Literal["random", "tpe", "gp"] = Field(
        default="random",
        description="How values are drawn: random, or learning from the trials before: tpe (tree-structured Parzen "
        "estimator) or gp (Gaussian process).",
    )
    seed: int = Field(default=0, ge=0, description="Of the draws; the study's own seeds are those of each trial.")


# Keys that make another question of a task, how they read in a folder name, and the value that is not told.
_QUESTION = (
    ("split", "", "test"),
    ("split_kind", "", "random"),
    ("generator_shots", "generator-", "zero"),
    ("validator_shots", "validator-", "few"),
    ("generator_phrasing", "generator-", None),
    ("validator_phrasing", "validator-", None),
    ("chat", "chat", False),
    ("answer_score", "", None),
    ("model", "", "backbone"),
)
