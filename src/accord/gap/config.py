"""`[[gap]]`: what is asked, and of which model."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field

from accord.section import FolderName, folder_name
from accord.tasks.config import QuestionSection

# Keys that make another question of a task: what stands before the value in a folder name, and the value left out.
_QUESTION = (
    ("split", "", "test"),
    ("split_kind", "", "random"),
    ("generator_shots", "generator-", "zero"),
    ("validator_shots", "validator-", "few"),
    ("generator_phrasing", "generator-", None),
    ("validator_phrasing", "validator-", None),
    ("chat", "chat", False),
    ("answer_score", "", None),
    ("negated", "negated", False),
    ("model", "", "backbone"),
)


class GapSection(QuestionSection):
    """Measure the gap between what the model says (generator) and what it affirms (validator)."""

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
        default=None,
        ge=1,
        description="At most so many items, balanced; without it all. Of a task with many answers to a "
        "prompt, eight of each prompt, then more.",
        examples=[400],
    )
    layers: bool = Field(default=False, description="Also read both forms at every layer, not only at the top.")
    negated: bool = Field(
        default=False,
        description="Also correct the generator's scores by what answers get after the negated prompt (`negated` of a "
        "task); by what they get after no prompt at all, they always are.",
    )

    @property
    def asked(self) -> dict[str, Any]:
        """Keyword arguments of `accord.task`: how the questions are put, and which items."""
        return {**super().asked, "split": self.split, "split_kind": self.split_kind, "limit": self.limit}

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
        return folder_name("-".join(words))


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"gap": (list[GapSection], Field(default=[], description="Gap measurements."))}
