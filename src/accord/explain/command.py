"""`accord explain`: the gap explained by the concepts of a run."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.explain.config import ExplainSection
from accord.terminal import Replace, decimals, made_in_run, options, print_finding, print_table

if TYPE_CHECKING:
    from accord.explain.result import Explanation
    from accord.study.stage import Stage

# What is asked for, as the settings of the stage call it.
_SETTINGS = {"limit": "task.explained"}
_TASK = {"task.name", "task.data", "task.data_sha256"}


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with concepts.")],
    section: Annotated[ExplainSection, options(without=("gap",))],
    task: Annotated[
        str | None,
        typer.Option(help="A task of `accord tasks`, or a task file (.toml); by default that of the run's first gap."),
    ] = None,
    concepts: Annotated[
        str, typer.Option(help="A concept model (topk, lcblm-s0); all of the first seed by default.")
    ] = "all",
    replace: Replace = False,
    backbone: Annotated[
        str | None, typer.Option(help="The model of the run, where its path is another one now.")
    ] = None,
) -> None:
    """Which concepts stand between what a model says and what it affirms?

    Without options: the explanation that is there, or the one that the run's study asks for.

    Examples:

    - `accord explain runs/demo`
    - `accord explain runs/demo --limit 50 --replace`
    """
    from accord.concepts.in_run import open_run

    opened = open_run(run, backbone)
    given = section.model_fields_set
    asked = {_SETTINGS.get(key, key) for key in given} | (_TASK if task is not None else set())
    own = opened.file.study.the(ExplainSection) or ExplainSection()
    section = own.model_copy(update=section.model_dump(include=given))

    def stage(made: "Stage") -> "Stage":  # what is there already is shown without any of this
        from accord.explain.stage import explain_stage, explained_alone

        questions = explained_alone(opened, section, task)
        return explain_stage(section, questions, opened.backbone, made, made.settings["layer"], made.seed)

    for made in opened.concepts(concepts):
        name = f"explain/{made.label}"
        _print(made_in_run(name, run, partial(stage, made), asked=asked, replace=replace), run / name)


def _print(explanation: "Explanation", folder: Path) -> None:
    from accord.explain.findings import explain_findings

    for finding in explain_findings({folder.name: explanation}):
        print_finding(finding)
    titles = ("concepts of", "turned off", "number", "measure", "value", "low", "high", "random", "low", "high", "p")
    keys = ("value", "low", "high", "random_mean", "random_low", "random_high", "p")
    rows = [
        [folder.name, what, str(len(check["concepts"])), check["measure"], *(decimals(check[key]) for key in keys)]
        for what, check in explanation.summary["check"].items()
    ]
    print_table(titles, rows, title=f"{folder}, checked on {explanation.summary['checked_items']} items")


COMMANDS = (explain,)
