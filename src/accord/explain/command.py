"""`accord explain`: the gap explained by the concepts of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.explain.config import ExplainSection
from accord.terminal import decimals, made_in_run, options, print_table

if TYPE_CHECKING:
    from accord.explain.result import Explanation


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with concepts.")],
    section: Annotated[ExplainSection, options(without=("gap",))],
    task: Annotated[str, typer.Option(help="A task of `accord tasks`, or a task file (.toml).")] = "hypernymy",
    concepts: Annotated[
        str, typer.Option(help="A concept model (topk, lcblm-s0); all of the first seed by default.")
    ] = "all",
    replace: Annotated[bool, typer.Option("--replace", help="Replace what was explained with other settings.")] = False,
    backbone: Annotated[
        str | None, typer.Option(help="The model of the run, where its path is another one now.")
    ] = None,
) -> None:
    """Which concepts stand between what a model says and what it affirms?

    Example: `accord explain runs/demo --task hypernymy --limit 100`
    """
    from accord.concepts.in_run import open_run
    from accord.explain.stage import explain_stage
    from accord.tasks import task as make_task

    opened = open_run(run, backbone)
    questions = make_task(task, split="test", limit=section.limit, seed=opened.seed)
    for made_concepts in opened.concepts(concepts):
        layer = made_concepts.settings["layer"]
        stage = explain_stage(section, questions, opened.backbone, made_concepts, layer, made_concepts.seed)
        _print(made_in_run(stage, run, replace=replace), run / stage.name)


def _print(explanation: "Explanation", folder: Path) -> None:
    titles = ("concepts of", "turned off", "number", "measure", "value", "low", "high", "random", "low", "high", "p")
    keys = ("value", "low", "high", "random_mean", "random_low", "random_high", "p")
    rows = [
        [folder.name, what, str(len(check["concepts"])), check["measure"], *(decimals(check[key]) for key in keys)]
        for what, check in explanation.summary["check"].items()
    ]
    print_table(titles, rows, title=f"{folder}, checked on {explanation.summary['checked_items']} items")


COMMANDS = (explain,)
