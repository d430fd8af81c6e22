"""What both models are asked: texts to read, prompts to answer, beginnings to go on from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accord.errors import AccordError
from accord.relations import FACTS, relation_tasks
from accord.tasks import Task

# Words of a text that free generation goes on from: enough for a topic, too few for what follows.
_OPENING = 5


@dataclass(frozen=True)
class Questions:
    """What a base and its repaired models are asked, the same for all.

    Attributes:
        texts: ordinary text that no repair was fitted on.
        own: the task that was repaired, on items that the repair never saw: its generator should have stayed.
        tasks: other tasks, whose prompts should be answered as before.
        facts: of each relation that no repair learns from (see `accord.relations`), at most; 0 for none.
        harness: tasks of lm-evaluation-harness, see `accord.harness.run_tasks`.
        harness_limit: documents of each of them, at most; None for all.
        samples: free texts to write; each goes on from the first words of one of `texts`.
        new_tokens: tokens after which a free text is cut.
        seed: of the free texts.

    Raises:
        AccordError: no texts, a task without items, or two tasks of one name.
    """

    texts: Sequence[str]
    own: Task | None = None
    tasks: Sequence[Task] = ()
    facts: int = FACTS
    samples: int = 32
    new_tokens: int = 60
    seed: int = 0
    harness: Sequence[str] = ()
    harness_limit: int | None = None

    def __post_init__(self) -> None:
        if not any(text.split() for text in self.texts):
            raise AccordError("damage is measured on texts, and there are none", got=f"{len(self.texts)} empty texts")
        if self.samples < 0 or self.new_tokens < 1 or self.facts < 0:
            got = (self.samples, self.facts, self.new_tokens)
            raise AccordError("samples and facts are numbers from 0, new_tokens one from 1", got=got)
        names = [task.name for task in self.all_tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise AccordError("two tasks have the same name", got=twice[0], fix="give one of them another name")
        for task in (*self.tasks, *([self.own] if self.own else [])):
            if not task.items:
                raise AccordError("the task has no items", where=task.name, got=f"split {task.split!r}")

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """The tasks whose answers should not have moved: every relation, then `tasks`."""
        return (*relation_tasks("judged", self.facts), *self.tasks)

    @property
    def relations(self) -> dict[str, list[Task]]:
        """The tasks of every relation, one a wording."""
        relations: dict[str, list[Task]] = {}
        for task in relation_tasks("judged", self.facts):
            relations.setdefault(str(task.items[0].group), []).append(task)
        return relations

    @property
    def openings(self) -> list[str]:
        """What each free text goes on from.

        >>> Questions(["The film was dull and far too long.", "A joy."], samples=3).openings
        ['The film was dull and', 'A joy.', 'The film was dull and']
        """
        texts = [text for text in self.texts if text.split()]
        return [" ".join(texts[i % len(texts)].split()[:_OPENING]) for i in range(self.samples)]

    def settings(self) -> dict[str, Any]:
        """What fixes the questions, as JSON; texts by their hash."""
        texts = hashlib.sha256(json.dumps(list(self.texts)).encode()).hexdigest()
        return {
            "texts": texts,
            "own": self.own.settings if self.own else None,
            "tasks": [task.settings for task in self.all_tasks],
            "samples": self.samples,
            "new_tokens": self.new_tokens,
            "seed": self.seed,
            **self.harness_settings(),
        }

    def harness_settings(self) -> dict[str, Any]:
        """What fixes the tasks of lm-evaluation-harness; nothing where there are none."""
        if not self.harness:
            return {}
        from accord.harness.tasks import task_settings

        return {"harness": task_settings(self.harness, self.harness_limit)}
