"""`accord verdict`: is the gap closed?"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.errors import AccordError
from accord.gap.shown import show_command
from accord.lm.config import BackboneSection
from accord.repair.repaired import before_and_after, say_if_unknown
from accord.report.metric import called
from accord.screen import tell
from accord.tasks.config import QuestionSection
from accord.terminal import (
    DEVICE,
    QUESTION,
    All,
    Replace,
    decimals,
    made,
    options,
    print_finding,
    print_next,
    print_table,
    say_if_little,
)
from accord.verdict.config import VerdictSection

if TYPE_CHECKING:
    from accord.gap.change import Change
    from accord.tasks import Task
    from accord.verdict.measure import Trial
    from accord.verdict.result import Verdict

_SHOWN = (
    *("pearson_all", "validator_auc", "validator_accuracy", "generator_auc"),
    *("within_pearson", "within_validator_auc", "within_generator_auc"),  # where prompts have several answers
)
_FEW = 10  # items of a test, of which nothing much can be said


def verdict(
    repaired: Annotated[
        BackboneSection,
        DEVICE.but(
            renamed={"model": "repaired"}, help={"model": "Folder of the repaired model, or of a PEFT adapter."}
        ),
    ],
    question: Annotated[QuestionSection, QUESTION.but(only=("task", "data"), joined={}, flags={})],
    section: Annotated[
        VerdictSection,
        options(renamed={"tasks": "other"}, help={"tasks": "Another task to try it on, or a task file."}),
    ],
    base: Annotated[str | None, typer.Option(help="The model before; the one it was repaired from by default.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split; by default as the repair had it.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for verdict.json and the scores; without it, only print.")
    ] = None,
    replace: Replace = False,
    all_: All = False,
) -> None:
    """Is the gap closed? A model before and after its repair, on items ever further from those it learned from.

    The questions are worded and divided as the repair had them; what it, or a repair that it goes on from, learned
    from is left out. Other tasks are asked in their own wording.

    Examples:

    - `accord verdict --repaired repaired --task hypernymy`
    - `accord verdict --repaired repaired --task hypernymy --other capitals.toml --out results/verdict`
    """
    from accord.verdict.stage import pair_stage

    before, after = before_and_after(repaired, base)
    say_if_unknown(after.model)
    trials, split_seed = _trials(after.model, question, section, seed)
    result: Verdict = made(pair_stage(trials, before, after, split_seed), out, replace=replace)
    _print(result, after.model, show_command(before.model, question), every=all_)


def _trials(
    repaired: str, question: QuestionSection, section: VerdictSection, seed: int | None
) -> "tuple[list[Trial], int]":
    """The trials of the repair, and the seed that divided its own task."""
    from accord.repair.learned import all_marks, links, same_data
    from accord.repair.question import asked_as, other_task
    from accord.tasks import task as make_task
    from accord.verdict.measure import trials_of

    name, data = question.task, question.data
    question_keys = asked_as(repaired, make_task(name, data=data, split="all"), seed=seed)
    usual = make_task(name, data=data, **{**question_keys, "split": "all"})
    others: dict[str, Task] = {}
    for other in section.tasks:
        task = other_task(repaired, other, section.limit)
        if same_data(task, usual) or Path(other).stem in others:
            raise AccordError("this task is tried already", where="--other", got=other, fix="leave it out")
        others[Path(other).stem] = task
    trials = trials_of(
        lambda **keys: make_task(name, data=data, **{**question_keys, **keys}),
        split_kind=question_keys["split_kind"],
        phrasings=usual.rewordings if section.phrasings else {},
        limit=section.limit,
        phrasing_limit=section.phrasing_limit,
        others=others,
        learned=all_marks(links(repaired)),
    )
    return trials, question_keys["seed"]


def _print(result: "Verdict", repaired: str, remedy: str, *, every: bool) -> None:
    """The finding, a short table of what changed, and a warning for each model that seldom answers."""
    from accord.verdict.findings import finding
    from accord.verdict.judged import alone

    print_finding(finding(alone(result, called(Path(repaired).name))))
    shown = {trial: n for trial, n in result.n.items() if every or n >= _FEW} or result.n
    rows = [
        [result.titles[trial], str(n), measure, *_cells(result.changes[trial][measure])]
        for trial, n in shown.items()
        for measure in (result.changes[trial] if every else _SHOWN)
        if measure in result.changes[trial]
    ]
    tell()
    print_table(("items", "n", "measure", "before", "after", "change", "closed"), rows)
    if left := len(result.n) - len(shown):
        tell(f"Left out: {left} tests of fewer than {_FEW} items (--all shows them).")
    for when in ("before", "after"):
        masses = {trial: getattr(changes["yes_no_mass"], when)["value"] for trial, changes in result.changes.items()}
        mass, title = min((mass, result.titles[trial]) for trial, mass in masses.items())
        say_if_little(mass, remedy, f"{when}, {title}: ")
    print_next(f"accord damage --repaired {shlex.quote(repaired)}", "the same with --all: every measure")


def _cells(change: "Change") -> list[str]:
    interval = change.change
    spread = "" if interval["low"] is None else f" [{interval['low']:+z.3f}, {interval['high']:+z.3f}]"
    closed = "" if change.closure is None else decimals(change.closure["value"])
    moved = "undefined" if interval["value"] is None else f"{interval['value']:+z.3f}{spread}"
    return [decimals(change.before["value"]), decimals(change.after["value"]), moved, closed]


COMMANDS = (verdict,)
