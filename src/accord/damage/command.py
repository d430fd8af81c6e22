"""`accord damage`: what a repair cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.damage.config import DamageSection
from accord.lm.config import BackboneSection
from accord.repair.repaired import before_and_after, say_if_unknown, say_left_out
from accord.screen import tell
from accord.tasks.config import QuestionSection
from accord.terminal import (
    DEVICE,
    All,
    Replace,
    made,
    options,
    print_table,
    print_text,
)

if TYPE_CHECKING:
    from accord.damage.result import Damage
    from accord.damage.stage import DamageItems
    from accord.tasks import Task


def damage(
    repaired: Annotated[
        BackboneSection,
        DEVICE.but(
            renamed={"model": "repaired"}, help={"model": "The repaired model: a folder, or whatever --base may be."}
        ),
    ],
    section: Annotated[
        DamageSection,
        options(
            renamed={"tasks": "other"},
            help={
                "texts": "Ordinary text, of which only the held-out share is read: as source of [text] in a study; "
                "by default movie-reviews.",
                "tasks": "Another task that should have stayed, with built-in items, or a task file.",
            },
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option(help="The model it was made from; by default the one that the repaired folder names."),
    ] = None,
    question: Annotated[
        QuestionSection | None,
        options(
            only=("task", "data"), help={"task": "The task that was repaired, whose generator should have stayed."}
        ),
    ] = None,
    split_kind: Annotated[
        str | None, typer.Option(help="Its split; by default as the repair had it, else nested or random.")
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="At most so many of its test items; by default all.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the splits and the free texts; by default as the repair had it."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and texts; without it, only print.")] = None,
    replace: Replace = False,
    all_: All = False,
) -> None:
    """Measure what a repair cost: text, other relations, the task's own generator, free texts.

    Examples:

    - `accord damage --repaired runs/demo/repair/rankalign-s0 --task hypernymy`
    - `accord damage --base smollm2-135m --repaired ./my-adapter --judge gemma3-270m --out results/damage`
    - `accord damage --repaired runs/demo/repair/rankalign-s0 --harness arc_easy --harness-limit 200`
    """
    from accord.damage.stage import pair_stage

    own = None if question is None else _own(question, repaired.model, seed, split_kind, items)
    before, after = before_and_after(repaired, base)
    questions = _items(section, own, before, after.model, seed)
    say_if_unknown(after.model)
    say_left_out([*([own] if own else []), *questions.tasks])
    result: Damage = made(pair_stage(questions, before, after), out, replace=replace)
    _print(result, after.model, every=all_)


def _own(
    question: QuestionSection, repaired: str, seed: int | None, split_kind: str | None, limit: int | None
) -> "Task":
    """The task that was repaired, asked as the repair did, on items that it never saw."""
    from accord.repair.learned import all_marks, links, unlearned
    from accord.repair.question import asked_as
    from accord.tasks import task as make_task

    name, data = question.task, question.data
    keys = asked_as(repaired, make_task(name, data=data, split="all"), seed=seed, split_kind=split_kind)
    learned = all_marks(links(repaired))
    return unlearned(lambda **others: make_task(name, data=data, **{**keys, **others}), learned, limit=limit)


def _items(
    section: DamageSection, own: "Task | None", base: BackboneSection, repaired: str, seed: int | None
) -> "DamageItems":
    """All questions to both models; the seed is the repair's, so that no text is one that it was fitted on."""
    from accord.damage.stage import DamageItems, harness_settings, other_tasks
    from accord.embeddings.ordinary import DEFAULT, ordinary_of
    from accord.loading import check_model
    from accord.repair.learned import all_marks, links
    from accord.repair.question import split_seed
    from accord.study.plan import Named, identity, read_by_model

    divided = split_seed(repaired) if seed is None else seed
    done = harness_settings(section)
    judge = None
    if section.judge is not None:
        check_model(section.judge)
        model = base.model_copy(update={"model": section.judge})
        judge = Named(model, identity(model))
    texts = ordinary_of(section, section.texts or DEFAULT, divided)
    tasks = other_tasks(section, all_marks(links(repaired)), divided)
    return DamageItems(section, texts, own and read_by_model(own, base), tasks, judge, divided, done)


def _print(result: "Damage", title: str, *, every: bool) -> None:
    """What got worse, then the measures that can get worse of all relations and tasks together; all with `every`."""
    from accord.damage.wording import harms, word

    print_text(result.sentence)
    tell()
    header = ("group", "measure", "base", "repaired", "change", "low", "high", "n", "verdict")
    table = result.table if every else harms(result.table)
    rows = [[row["group"], row["measure"], *_cells(row), str(row["n"]), word(row)] for row in table.to_dict("records")]
    print_table(header, rows, title=title)
    if left := len(result.table) - len(table):
        tell(f"{left} more with --all: distances, what is neither better nor worse, single relations and tasks.")


def _cells(row: dict[Any, Any]) -> list[str]:
    times = "×" if row["change_is"] == "ratio" else ""
    values = [row[key] for key in ("base", "repaired", "change", "low", "high")]
    texts = ["undefined" if value is None or value != value else f"{value:.4g}" for value in values]
    return [*texts[:2], times + texts[2], *texts[3:]]


COMMANDS = (damage,)
