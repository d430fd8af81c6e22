"""The commands that judge: verdict, on a repair; explain, of a gap by concepts."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from accord.cli_parts import print_table, progress_console, say_if_little, say_if_unknown
from accord.cli_show import show_command
from accord.disk import read_object
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.tasks import Task
    from accord.verdict.measure import Trial

_SHOWN = ("pearson_all", "pearson_yes", "pearson_no", "validator_auc", "validator_accuracy", "generator_auc")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (verdict, explain):
        app.command()(command)


def verdict(
    repaired: Annotated[Path, typer.Option(help="Folder of the repaired model, or of a PEFT adapter.")],
    task: Annotated[str, typer.Option(help="The task it was repaired on: one of `accord tasks`, or a task file.")],
    base: Annotated[str | None, typer.Option(help="The model before; the one it was repaired from by default.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data file, where the task brings none or another is wanted.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many items of each test set.")] = 200,
    phrasings: Annotated[bool, typer.Option("--phrasings", help="Also try the other wordings of both forms.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split; by default as the repair had it.")] = None,
    other: Annotated[list[str] | None, typer.Option(help="Another task to try it on; repeatable.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder for verdict.json and the scores; without it, only print.")
    ] = None,
) -> None:
    """Is the gap closed? A model before and after its repair, on items ever further from those it learned from.

    The questions are worded and divided as the repair had them; what it, or a repair that it goes on from, learned
    from is left out. Other tasks are asked in their own wording.

    Examples:

    - `accord verdict --repaired repaired --task hypernymy`
    - `accord verdict --repaired repaired --task hypernymy --other capitals.toml --out results/verdict`
    """
    from accord.repair.folder import base_of
    from accord.study import BackboneSection, bars, from_options, publish
    from accord.study.gap_stages import check_model
    from accord.study.verdict_stages import pair_stage

    models = [
        from_options(BackboneSection, {"model": model, "device": device, "dtype": dtype})
        for model in (base or base_of(repaired), str(repaired))
    ]
    for model in models:
        check_model(model.model)
    say_if_unknown(repaired)
    trials, divided = _trials(repaired, task, data, limit, seed, phrasings, other or [])
    stage = pair_stage(trials, models[0], models[1], divided)
    with TemporaryDirectory() as kept_nowhere, bars(progress_console()) as bar:
        folder = out or Path(kept_nowhere) / "verdict"
        made = publish(folder, stage.recipe, lambda work: stage.build(work, bar("verdict")), replace=False)
        tests = read_object(folder / "verdict.json", "tests")["tests"]
    if out is not None:
        typer.echo(f"{out}: {'written' if made else 'up to date'}", err=True)
    _print_tests(list(tests.values()), show_command(models[0].model, task, data, {}))


def _trials(
    repaired: Path,
    task: str,
    data: Path | None,
    limit: int | None,
    seed: int | None,
    phrasings: bool,
    others: list[str],
) -> "tuple[list[Trial], int]":
    """What the repair is tried on, and the seed that divided its own task."""
    from accord.repair.learned import all_marks, links, same_data
    from accord.repair.question import asked_as, other_task
    from accord.tasks import task as make
    from accord.verdict.measure import trials_of

    question = asked_as(repaired, make(task, data=data, split="all"), seed=seed)
    usual = make(task, data=data, **{**question, "split": "all"})
    beside: dict[str, Task] = {}
    for name in others:
        found = other_task(repaired, name, limit)
        if same_data(found, usual) or Path(name).stem in beside:
            raise AccordError("this task is tried already", where="--other", got=name, fix="leave it out")
        beside[Path(name).stem] = found
    trials = trials_of(
        lambda **keys: make(task, data=data, **{**question, **keys}),
        split_kind=question["split_kind"],
        phrasings=usual.rewordings if phrasings else {},
        limit=limit,
        phrasing_limit=limit,
        others=beside,
        learned=all_marks(links(repaired)),
    )
    return trials, question["seed"]


def _print_tests(tests: list[dict[str, Any]], remedy: str) -> None:
    """A table of what changed, and a warning for each model that seldom answers, of the test where it does least."""
    rows = [
        [test["title"], str(test["n"]), name, *_before_after(test["changes"][name])]
        for test in tests
        for name in _SHOWN
    ]
    print_table(("items", "n", "measure", "before", "after", "change", "closed"), rows)
    for when in ("before", "after"):
        mass, title = min((test["changes"]["yes_no_mass"][when]["value"], test["title"]) for test in tests)
        say_if_little(mass, remedy, f"{when}, {title}: ")


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
    from accord.explain.config import ExplainSection
    from accord.study import bars, from_options, publish
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
    told = read_object(folder / "explain.json", "check", "checked_items")
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
