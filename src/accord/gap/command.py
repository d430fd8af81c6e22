"""`accord gap` and `accord show`: the gap of a model on a task, and the task's questions as a model reads them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.gap.shown import print_items, repair_command, show_as_read, show_command, show_items
from accord.lm.config import BackboneSection
from accord.report.metric import called
from accord.screen import tell
from accord.terminal import (
    DEVICE,
    QUESTION,
    All,
    Replace,
    Seed,
    decimals,
    made,
    options,
    print_finding,
    print_next,
    print_table,
    say_how_read,
)

if TYPE_CHECKING:
    from accord.gap import Gap
    from accord.tasks import CustomTask, Task


def gap(
    backbone: Annotated[BackboneSection, DEVICE],
    section: Annotated[GapSection, QUESTION],
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and figures; without it, only print.")] = None,
    replace: Replace = False,
    all_: All = False,
) -> None:
    """Measure the gap between what a model says and what it affirms.

    The model may also be a folder of a concept language model, of a repaired model, or of a PEFT adapter.

    Examples:

    - `accord gap --model smollm2-135m --task hypernymy --limit 100`
    - `accord gap --model smollm2-135m --task hypernymy --layers --out results/hypernymy`
    - `accord gap --model ./my-model --task my-task.toml --shots zero`
    - `accord gap --model runs/demo/heads/lcblm-reconstruction-original-s0 --task hypernymy --limit 100`
    """
    from accord.gap.stage import gap_stage
    from accord.study.plan import identity, read_by_model

    if section.layers and out is None:
        raise AccordError("--layers writes tables and figures.", fix="name a folder for them with --out")
    task = _task(section, seed)
    question = read_by_model(task, backbone)
    stage = gap_stage(section, question, identity(backbone), lambda work: work.load(backbone), seed)
    measured: Gap = made(stage, out, replace=replace)
    _print(measured, backbone.model, section)
    if all_:
        _print_all(measured, f"{task.name} / {backbone.model}")


def show(
    section: Annotated[GapSection, QUESTION.but(without=("limit", "layers"), argument="task")],
    number: Annotated[int, typer.Option("-n", min=1, help="How many items.")] = 3,
    seed: Seed = 0,
    backbone: Annotated[
        BackboneSection | None,
        options(
            only=("model",),
            help={"model": "Show them as this model reads them, with the tokens and odds of its answers."},
        ),
    ] = None,
) -> None:
    """Show items of a task with both prompts; with a model as it reads them, and what helps if it seldom answers.

    Examples:

    - `accord show hypernymy`
    - `accord show trivia --data trivia.jsonl --shots zero -n 5`
    - `accord show my-task.toml --model smollm2-135m`
    """
    if section.chat and backbone is None:
        raise AccordError("--chat puts prompts into a model's own template.", fix="name the model, with --model")
    task = _task(section, seed)
    tell(f"{task.name}, {task.split}: {len(task.items)} items")
    words = " or ".join("/".join(each) for each in task.labels.words.values())
    tell(f"validator answers: {words}; between a prompt and its answer: {task.generator.join!r}")
    if backbone is None:
        show_items(task, number)
        return
    from accord.study.work import load

    def make(task: "str | CustomTask" = section.task, **keys: Any) -> "Task":
        return _made(task, section.model_copy(update=keys), seed)

    show_as_read(load(backbone), section, task, number, make)


def _task(section: GapSection, seed: int) -> "Task":
    task = _made(section.task, section, seed)
    say_how_read(task)
    return task


def _made(task: "str | CustomTask", section: GapSection, seed: int) -> "Task":
    from accord.tasks import task as make_task

    return make_task(task, data=section.data, seed=seed, **section.asked)


def _print(gap: "Gap", model: str, section: GapSection) -> None:
    """The finding, the items on which the forms disagree, and where to go from here."""
    from accord.gap.findings import LOW_MASS, disagreements, finding_of

    print_finding(finding_of(gap, called(Path(model).name)))
    if counts := disagreements(gap):
        tell("\n" + counts)
        print_items(gap)
    mass = gap.metrics["yes_no_mass"]["value"]
    tell(f"\nLabel words get {mass:.0%} of the probability when asked.")
    if mass < LOW_MASS or not counts:
        print_next(show_command(model, section))
    else:
        print_next(repair_command(model, section), "the same with --all: every measure with its interval")


def _print_all(gap: "Gap", title: str) -> None:
    """Every measure, what they are of, and why some have no interval."""
    from accord.gap.findings import what_counts

    metrics: dict[str, dict[str, Any]] = gap.metrics
    tell()
    print_table(
        ("metric", "value", "low", "high"), [[name, *_cells(metric)] for name, metric in metrics.items()], title=title
    )
    if gap.corrections is not None:
        columns = ("score", "metric", "all items", "low", "high", "within prompts", "low", "high")
        numbers = (
            [*row[:2], *(decimals(None if math.isnan(number) else number, "") for number in row[2:])]
            for row in gap.corrections.itertuples(index=False, name=None)
        )
        print_table(columns, list(numbers), title="the generator's answers scored in other ways")
    for reason, names in _reasons(metrics).items():
        tell(f"No interval for {', '.join(names)}: {reason}.")
    if counts := what_counts(gap):
        tell(counts)


def _cells(metric: dict[str, Any]) -> list[str]:
    value, low, high = (metric[key] for key in ("value", "low", "high"))
    if value is None:
        return ["undefined", "", ""]
    if low is None:
        return [f"{value:.3f}" if "reason" in metric else f"{value:.0f}", "", ""]  # without a reason it is a count
    return [decimals(number) for number in (value, low, high)]


def _reasons(metrics: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Why measures have no interval: reason -> their names."""
    reasons: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if "reason" in metric:
            reasons.setdefault(metric["reason"], []).append(name)
    return reasons


COMMANDS = (gap, show)
