"""The commands that judge: verdict, on a repair; explain, of a gap by concepts."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli_parts import print_table, progress_console
from accord.errors import AccordError

_SHOWN = ("pearson_all", "pearson_yes", "pearson_no", "validator_auc", "validator_accuracy", "generator_auc")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (verdict, explain):
        app.command()(command)


def verdict(
    repaired: Annotated[Path, typer.Option(help="Folder of the repaired model.")],
    task: Annotated[str, typer.Option(help="The task it was repaired on: one of `accord tasks`, or a task file.")],
    base: Annotated[str | None, typer.Option(help="The model before; the one it was repaired from by default.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data file, where the task brings none or another is wanted.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many items of each test set.")] = 200,
    phrasings: Annotated[bool, typer.Option("--phrasings", help="Also try the other wordings of both forms.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the split and the bootstrap; by default as the repair had it.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for verdict.json and the scores.")] = None,
) -> None:
    """Is the gap closed? A model before and after its repair, on items ever further from those it learned from.

    The questions are worded as the repair had them.

    Example: `accord verdict --repaired repaired --task hypernymy`
    """
    from accord.loading import load
    from accord.repair.folder import base_of
    from accord.repair.question import asked_as
    from accord.repair.verdict import judge, score_tests, trials_of
    from accord.study import bars
    from accord.tasks import task as make

    models = {"before": base or base_of(repaired), "after": str(repaired)}
    known = make(task, data=data, split="all")
    question = asked_as(repaired, known, seed=seed, split_kind="nested" if known.nested else "random")

    def asked(**keys: Any) -> Any:
        return make(task, data=data, **{**question, **keys})

    usual = asked(split="all")
    others = usual.rewordings if phrasings else {}
    trials = trials_of(asked, nested=usual.nested, phrasings=others, limit=limit, phrasing_limit=limit, others={})
    scores = {}
    for when, model in models.items():
        lm = load(model, device=device)
        with bars(progress_console()) as bar:
            scores[when] = score_tests(lm, trials, progress=bar(f"{when}: {model}"))
    found = judge(scores["before"], scores["after"], trials, seed=question["seed"])
    rows = [
        [trial.title, str(found.n[trial.name]), name, *_before_after(found.changes[trial.name][name].as_json())]
        for trial in trials
        for name in _SHOWN
    ]
    print_table(("items", "n", "measure", "before", "after", "change", "closed"), rows)
    if out is not None:
        found.write(out)
        typer.echo(out)


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with concepts.")],
    task: Annotated[str, typer.Option(help="A task of `accord tasks`, or a task file (.toml).")] = "hypernymy",
    concepts: Annotated[
        str, typer.Option(help="A concept model (topk, lcblm-s0); all of the first seed by default.")
    ] = "all",
    limit: Annotated[int, typer.Option(min=20, help="At most so many test items.")] = 200,
    candidates: Annotated[int, typer.Option(min=2, help="Concepts that are turned off one by one.")] = 48,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what was explained with other settings.")] = False,
    backbone: Annotated[
        str | None, typer.Option(help="The model of the run, where its path is another one now.")
    ] = None,
) -> None:
    """Which concepts stand between what a model says and what it affirms?

    Example: `accord explain runs/demo --task hypernymy --limit 100`
    """
    from accord.study import bars, from_options, publish
    from accord.study.explain_sections import ExplainSection
    from accord.study.explain_stages import explain_stage
    from accord.study.name_stages import named_in, open_run
    from accord.study.store import state
    from accord.tasks import task as make

    section = from_options(ExplainSection, {"limit": limit, "candidates": candidates})
    opened, seed = open_run(run, backbone)
    asked = make(task, split="test", limit=limit, seed=seed)
    for named in named_in(run, concepts, seed):
        stage = explain_stage(opened, section, asked, named.folder, named.layer, named.seed, list(named.inputs[1:]))
        folder = run / stage.name
        if state(folder, stage.recipe) == "other" and not replace:
            raise AccordError(
                "This folder holds other settings' results.", where=folder, fix="add --replace, or move it"
            )
        with bars(progress_console()) as bar:
            publish(folder, stage.recipe, lambda work, stage=stage: stage.build(work, bar(stage.name)), replace=replace)  # type: ignore[misc]
        _show_check(folder)


def _show_check(folder: Path) -> None:
    told = json.loads((folder / "explain.json").read_text(encoding="utf-8"))
    titles = ("concepts of", "turned off", "number", "measure", "value", "low", "high", "random", "low", "high", "p")
    keys = ("value", "low", "high", "random_mean", "random_low", "random_high", "p")
    rows = [
        [folder.name, what, str(len(one["concepts"])), one["measure"], *(_number(one[key]) for key in keys)]
        for what, one in told["check"].items()
    ]
    print_table(titles, rows, title=f"{folder}, checked on {told['checked_items']} items")


def _before_after(change: dict[str, Any]) -> list[str]:
    interval = change["change"]
    spread = "" if interval["low"] is None else f" [{interval['low']:+.3f}, {interval['high']:+.3f}]"
    closed = "" if change["closure"] is None else _number(change["closure"]["value"])
    moved = "undefined" if interval["value"] is None else f"{interval['value']:+.3f}{spread}"
    return [_number(change["before"]["value"]), _number(change["after"]["value"]), moved, closed]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
