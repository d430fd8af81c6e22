"""The command that makes the concept dictionary of a run: `accord names`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from accord.cli_parts import print_table, progress_console
from accord.disk import read_object
from accord.errors import AccordError

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with concepts and embeddings.")]
Kind = Literal["tokens", "transformers", "openai"]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(names)


def names(
    run: RunFolder,
    annotator: Annotated[
        Kind, typer.Option(help="Who names them: tokens (no model), transformers (runs here), openai (a server).")
    ] = "tokens",
    model: Annotated[
        str | None,
        typer.Option(
            help="Of the annotator: a model of `accord models`, a hub id, a folder; or as the server calls it."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="With openai: address of the server, such as http://127.0.0.1:8080/v1.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Name at most so many concepts, drawn at random.")] = None,
    concepts: Annotated[
        str, typer.Option(help="A concept model (topk, lcblm-s0); all of the first seed by default.")
    ] = "all",
    scores: Annotated[bool, typer.Option("--scores/--no-scores", help="Score names on held-out texts.")] = True,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace names that were made with other settings.")
    ] = False,
    backbone: Annotated[
        str | None, typer.Option(help="The model of the run, where its path is another one now.")
    ] = None,
) -> None:
    """Say what every concept of a run fires on and promotes, name it, and score the names.

    The key of a server is read from the environment variable OPENAI_API_KEY. An interrupted run goes on from the
    answers it has, and the same command again asks a server for those that it did not give.

    Examples:

    - `accord names runs/demo`
    - `accord names runs/demo --annotator transformers --model smollm2-135m --limit 30`
    - `accord names runs/demo --annotator openai --base-url http://127.0.0.1:8080/v1 --model local`
    """
    given: dict[str, Any] = {"kind": annotator}
    given |= {key: value for key, value in (("model", model), ("base_url", base_url)) if value is not None}
    for option, value, takers in (("model", model, ("transformers", "openai")), ("base-url", base_url, ("openai",))):
        if value is not None and annotator not in takers:
            raise AccordError(f"--annotator {annotator} takes no --{option}.")
    if annotator != "tokens" and model is None:
        raise AccordError(f"--annotator {annotator} needs a --model.")
    from accord.names.config import NamesSection
    from accord.study import bars, from_options, publish
    from accord.study.name_stages import named_in, names_stage, open_run
    from accord.study.store import missing, state

    section = from_options(NamesSection, {"annotator": given, "limit": limit, "scores": scores})
    opened, seed = open_run(run, backbone)
    for named in named_in(run, concepts, seed):
        stage = names_stage(opened, section, named)
        if state(run / stage.name, stage.recipe) == "other" and not replace:
            fix = "add --replace, or move it"
            raise AccordError("This folder holds names of other settings.", where=run / stage.name, fix=fix)
        with bars(progress_console()) as bar:
            made = publish(
                run / stage.name, stage.recipe, lambda work, stage=stage: stage.build(work, bar(stage.name)),  # type: ignore[misc]
                replace=replace,
            )  # fmt: skip
        typer.echo(f"{run / stage.name}: {'written' if made else 'up to date'}", err=True)
        _show(run / stage.name)
        if said := missing(run / stage.name):
            typer.echo(said, err=True)


def _show(folder: Path) -> None:
    """What came of it: counts, scores, and where to look."""

    metrics = read_object(folder / "metrics.json")
    counts = ", ".join(f"{metrics[key]} {key}" for key in ("live", "asked", "named", "failed"))
    typer.echo(f"{metrics['concepts']}, {metrics['annotator']}: {counts}")
    if metrics["failed"]:
        typer.echo(f"why: {folder / 'failures.jsonl'}", err=True)
    rows = [
        [
            name,
            *("undefined" if value[key] is None else f"{value[key]:.3f}" for key in ("value", "low", "high")),
            str(value["n"]),
        ]
        for name, value in metrics.items()
        if isinstance(value, dict)
    ]
    if rows:
        print_table(("score", "value", "low", "high", "concepts"), rows)
