"""Questions with a generator form and a validator form: built in, from reference files, or your own.

`task` makes a `Task` from a name, a task file or a table of keys; `catalog` lists the named ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.arguments import checked
from accord.errors import AccordError, nearest
from accord.tasks import (
    arithmetic_chains,
    hypernymy,
    members,
    next_word,
    personas,
    programs,
    responses,
    substitution,
    trivia,
)
from accord.tasks.base import ANSWER_SCORES, Definition, Example, Form, Item, Task, Template
from accord.tasks.build import SHOTS, SPLIT_KINDS, SPLITS, TaskChoices, build, left_out
from accord.tasks.chat import Chat
from accord.tasks.custom import CustomTask, definition
from accord.tasks.labels import Labels
from accord.tasks.readers import DataFile

__all__ = [
    "ANSWER_SCORES",
    "SHOTS",
    "SPLITS",
    "SPLIT_KINDS",
    "CatalogRow",
    "Chat",
    "CustomTask",
    "Example",
    "Form",
    "Item",
    "Labels",
    "Task",
    "Template",
    "as_task",
    "catalog",
    "left_out",
    "task",
]

TASKS = {
    kind.name: kind
    for kind in (
        hypernymy.DEFINITION,
        members.DEFINITION,
        substitution.DEFINITION,
        next_word.DEFINITION,
        trivia.DEFINITION,
        arithmetic_chains.DEFINITION,
        responses.DEFINITION,
        programs.DEFINITION,
        personas.DEFINITION,
    )
}


@checked
def task(
    name: str | Path | Mapping[str, Any] | CustomTask,
    *,
    data: Path | str | None = None,
    split: str = "test",
    split_kind: str = "random",
    limit: int | None = None,
    generator_shots: str = "zero",
    validator_shots: str | None = None,
    generator_phrasing: str | None = None,
    validator_phrasing: str | None = None,
    chat: bool = False,
    system: str | None = None,
    chat_options: Mapping[str, Any] | None = None,
    chat_turns: bool | None = None,
    answer_score: str | None = None,
    seed: int = 0,
) -> Task:
    """Make a task ready to be scored.

    `name` is a task of the catalog ("hypernymy", "trivia", "responses", …), the path of a task file (.toml), or a
    table of the same keys. `data` is the data file, where the task brings none or another is wanted.

    `split` is train, test or all. `split_kind` says what a test item may share with training: "random"
    nothing but the words, "unseen-hypernyms" no category, "unseen-both" no word at all (pairs that cross are
    dropped and counted). "nested" has one training side and all three tests of it, so that one repair is tried
    on each: "test" (random), "test-unseen-hypernyms", "test-unseen-both". But for pairs of words, all answers to one
    prompt stay on one side. `limit` keeps that many items, balanced: the items come in an order whose every prefix is
    balanced. Where a prompt has four answers or more in the mean, it takes eight of each prompt, then more.

    Shots are "zero" or "few"; `validator_shots=None` is few where the task has worked examples. Phrasings are
    named in `catalog`; None is the first. `seed` fixes the split and the order. The task's `settings` record all of
    this, and what was left out, and why.

    `chat` puts the prompts into the model's chat template: with a `system` message, `chat_options` for the template
    (`{"enable_thinking": False}`), and each worked example as a turn with its reply unless `chat_turns` is False;
    None, for these three: as the task has it (see `accord.tasks.Chat`).

    `answer_score` is what the generator's log-odds are of: "first", the answer's first token; "whole", all its tokens;
    "per_token", their geometric mean; "auto", whole where first tokens of right and wrong answers clash (see
    `accord.gap.AnswerScore`); None as the task has it, auto unless its file says otherwise.

    >>> task("hypernymy", split="train", split_kind="nested", limit=400).split
    'train'
    >>> [item.answer for item in task("hypernymy", limit=2, seed=1).items] == [
    ...     item.answer for item in task("hypernymy", limit=4, seed=1).items[:2]
    ... ]
    True
    """
    choices = TaskChoices(
        split=split,
        split_kind=split_kind,
        limit=limit,
        generator_shots=generator_shots,
        validator_shots=validator_shots,
        generator_phrasing=generator_phrasing,
        validator_phrasing=validator_phrasing,
        chat=chat,
        system=system,
        chat_options=chat_options,
        chat_turns=chat_turns,
        answer_score=answer_score,
        seed=seed,
    )
    return build(_definition(name), None if data is None else Path(data), choices)


def as_task(task_or_name: Task | str | Path | Mapping[str, Any]) -> Task:
    """A task as it is; a name, file or table is made into one by `task`, without further choices.

    >>> as_task("hypernymy").name
    'hypernymy'
    """
    return task_or_name if isinstance(task_or_name, Task) else task(task_or_name)


def _definition(name: str | Path | Mapping[str, Any] | CustomTask) -> Definition:
    if isinstance(name, CustomTask):
        return definition(name)
    if isinstance(name, Mapping):
        return definition(CustomTask.parse(name))
    if str(name) in TASKS:
        return TASKS[str(name)]
    if Path(name).suffix == ".toml":
        return definition(CustomTask.load(Path(name)))
    raise AccordError(
        "Unknown task",
        got=repr(str(name)),
        wanted=nearest(str(name), TASKS),
        fix="or name a task file, FILE.toml",
    )


@dataclass(frozen=True)
class CatalogRow:
    """One named task, as `accord tasks` shows it.

    >>> next(row.labels for row in catalog() if row.name == "hypernymy")
    {'yes': ('Yes',), 'no': ('No',)}
    """

    name: str
    asks: str
    data: str  # what file it reads
    generator_phrasings: dict[str, str]  # name -> template; the first is the default
    validator_phrasings: dict[str, str]
    labels: dict[str, tuple[str, ...]]  # what the validator may answer, with its words
    items: int | None  # how many items are built in; None: the task needs a data file


@checked
def catalog() -> list[CatalogRow]:
    """The named tasks.

    >>> [row.name for row in catalog()][:2]
    ['hypernymy', 'hypernymy-members']
    """
    return [
        CatalogRow(
            kind.name,
            kind.asks,
            kind.needs,
            dict(kind.generators),
            dict(kind.validators),
            dict(kind.labels.words),
            _builtin_items(kind),
        )
        for kind in TASKS.values()
    ]


def _builtin_items(kind: Definition) -> int | None:
    return None if kind.data is None else len(kind.read(DataFile.open(kind.data)).items)
