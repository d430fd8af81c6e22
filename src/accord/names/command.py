"""`accord names`: the concept dictionary of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.names.config import NamesSection, OpenAIAnnotator, TransformersAnnotator
from accord.terminal import OptionOf, decimals, made_in_run, options, print_table

if TYPE_CHECKING:
    from accord.names.result import NamedDictionary

Kind = Literal["tokens", "transformers", "openai"]


def names(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with concepts and embeddings.")],
    section: Annotated[
        NamesSection,
        options(
            without=("annotator",),
            help={"concepts": "A concept model (topk, lcblm-s0); all of the first seed by default."},
        ),
    ],
    annotator: Annotated[
        Kind, typer.Option(help="Who names them: tokens (no model), transformers (runs here), openai (a server).")
    ] = "tokens",
    model: Annotated[
        str | None,
        typer.Option(
            help="Of the annotator: a model of `accord models`, a hub id, a folder; or as the server calls it."
        ),
    ] = None,
    base_url: Annotated[str | None, OptionOf(OpenAIAnnotator, "base_url")] = None,
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
    from accord.concepts.in_run import open_run
    from accord.names.stage import ConceptsToName, names_stage
    from accord.study.store import missing

    section, identity = _annotated(section, annotator, model, base_url)
    opened = open_run(run, backbone)
    for concepts in opened.concepts(section.concepts):
        about = ConceptsToName(opened.backbone.section, opened.embeddings, concepts, concepts.settings["layer"])
        stage = names_stage(section, about, concepts.seed, identity)
        _print(made_in_run(stage, run, replace=replace), run / stage.name)
        if notice := missing(run / stage.name):
            typer.echo(notice, err=True)


def _annotated(
    section: NamesSection, kind: Kind, model: str | None, base_url: str | None
) -> tuple[NamesSection, dict[str, Any] | None]:
    """The section with its annotator, and the identity of one that runs here. Raises AccordError naming the option."""
    from accord.study.config import from_options
    from accord.study.plan import identity

    for option, value, takers in (("model", model, ("transformers", "openai")), ("base-url", base_url, ("openai",))):
        if value is not None and kind not in takers:
            raise AccordError(f"--annotator {kind} takes no --{option}.")
    if kind != "tokens" and model is None:
        raise AccordError(f"--annotator {kind} needs a --model.")
    choice = {"kind": kind, "model": model, "base_url": base_url}
    table = {key: value for key, value in choice.items() if value is not None}
    section = from_options(NamesSection, {**section.model_dump(exclude={"annotator"}), "annotator": table})
    annotator = section.annotator
    if not isinstance(annotator, TransformersAnnotator):
        return section, None
    return section, identity(BackboneSection(model=annotator.model, device=annotator.device, dtype=annotator.dtype))


def _print(named: "NamedDictionary", folder: Path) -> None:
    """What came of it: counts, scores, and where to look."""
    metrics = named.metrics
    counts = ", ".join(f"{metrics[key]} {key}" for key in ("live", "asked", "named", "failed"))
    typer.echo(f"{metrics['concepts']}, {metrics['annotator']}: {counts}")
    if metrics["failed"]:
        typer.echo(f"why: {folder / 'failures.jsonl'}", err=True)
    rows = [
        [name, *(decimals(score[key]) for key in ("value", "low", "high")), str(score["n"])]
        for name, score in metrics.items()
        if isinstance(score, dict)
    ]
    if rows:
        print_table(("score", "value", "low", "high", "concepts"), rows)


COMMANDS = (names,)
