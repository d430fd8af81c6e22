"""`accord names`: the concept dictionary of a run."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.names.config import AnyAnnotator, NamesSection, OpenAIAnnotator, TransformersAnnotator
from accord.screen import tell
from accord.terminal import OptionOf, Replace, decimals, made_in_run, options, print_finding, print_table

if TYPE_CHECKING:
    from accord.concepts.in_run import RunOfConcepts
    from accord.names.result import NamedDictionary
    from accord.study.stage import Stage

Kind = Literal["tokens", "transformers", "openai"]


def names(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with concepts and embeddings.")],
    section: Annotated[
        NamesSection,
        options(
            without=("annotator",),
            help={"concepts": "A concept model (topk, lcblm-s0); by default all of the first seed."},
        ),
    ],
    annotator: Annotated[
        Kind | None,
        typer.Option(help="Who names them: tokens (no model), transformers (here), openai (a server)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Of the annotator: a model of `accord models`, a hub id, a folder; or as the server calls it."
        ),
    ] = None,
    base_url: Annotated[str | None, OptionOf(OpenAIAnnotator, "base_url")] = None,
    neuronpedia: Annotated[
        Path | None,
        typer.Option(help="Write the dictionary there, too, as files that Neuronpedia imports (MODEL/LAYER-NAME)."),
    ] = None,
    replace: Replace = False,
    backbone: Annotated[
        str | None, typer.Option(help="The model of the run, where its path is another one now.")
    ] = None,
) -> None:
    """Say what every concept of a run fires on and promotes, name it, and score the names.

    Without options: the names that are there, or those that the run's study asks for.

    The key of a server is read from the environment variable OPENAI_API_KEY. An interrupted run goes on from the
    answers it has, and the same command again asks a server for those that it did not give.

    Examples:

    - `accord names runs/demo`
    - `accord names runs/demo --annotator transformers --model smollm2-135m --limit 30 --replace`
    - `accord names runs/demo --concepts topk --neuronpedia exports`
    - `accord names runs/demo --annotator openai --base-url http://127.0.0.1:8080/v1 --model local --replace`
    """
    from accord.concepts.in_run import open_run
    from accord.study.manifest import missing

    opened = open_run(run, backbone)
    asked = section.model_fields_set - {"concepts"}
    own = opened.file.study.the(NamesSection) or NamesSection()
    section = own.model_copy(update=section.model_dump(include=section.model_fields_set))
    choice = {"kind": annotator, "model": model, "base_url": base_url}
    if given := {key: value for key, value in choice.items() if value is not None}:
        asked |= {"annotator"}
        section = section.model_copy(update={"annotator": _annotator(own.annotator, given)})

    def stage(concepts: "Stage") -> "Stage":  # what is there already is shown without any of this
        from accord.names.stage import ConceptsToName, names_stage
        from accord.study.plan import identity

        about = ConceptsToName(opened.backbone.section, opened.embeddings, concepts, concepts.settings["layer"])
        local = section.annotator if isinstance(section.annotator, TransformersAnnotator) else None
        named = None if local is None else BackboneSection(model=local.model, device=local.device, dtype=local.dtype)
        return names_stage(section, about, concepts.seed, None if named is None else identity(named))

    for concepts in opened.concepts(section.concepts):
        name = f"names/{concepts.label}"
        named = made_in_run(name, run, partial(stage, concepts), asked=asked, replace=replace)
        _print(named, run / name)
        if neuronpedia is not None:
            tell(_export(opened, concepts, named, neuronpedia))
        if notice := missing(run / name):
            tell(notice, err=True)


def _export(opened: "RunOfConcepts", concepts: "Stage", named: "NamedDictionary", folder: Path) -> Path:
    """The dictionary for Neuronpedia, by the names that the run has; where it is."""
    from accord.concepts import load
    from accord.embeddings.result import TRAIN, Embeddings
    from accord.loading import load_tokenizer
    from accord.names import FeatureSource, Side, export_neuronpedia

    backbone = opened.backbone.section.model
    texts = Embeddings.read(opened.folder / opened.embeddings.name)
    source = FeatureSource(
        Path(backbone).name,
        f"accord-{concepts.label}",
        concepts.settings["layer"],
        title=f"{concepts.label}, a concept model of accord",
    )
    model = load(opened.folder / concepts.name)
    train = Side(texts.store(TRAIN), texts.table(TRAIN))
    return export_neuronpedia(named, model, train, load_tokenizer(backbone), source, folder)


def _annotator(own: AnyAnnotator, given: dict[str, str]) -> AnyAnnotator:
    """The annotator that the options ask for; the keys that they do not name are the study's, where it is of that kind.

    Raises AccordError naming the option.
    """
    from accord.study.config import from_options

    kind = given.get("kind", own.kind)
    for option, takers in (("model", ("transformers", "openai")), ("base_url", ("openai",))):
        if option in given and kind not in takers:
            flags = " or ".join(f"--annotator {taker}" for taker in takers)
            raise AccordError(f"--annotator {kind} takes no --{option.replace('_', '-')}.", fix=flags)
    table = {**(own.model_dump(exclude_unset=True) if own.kind == kind else {}), **given, "kind": kind}
    if kind != "tokens" and "model" not in table:
        raise AccordError(f"--annotator {kind} needs a --model.")
    return from_options(NamesSection, {"annotator": table}).annotator


def _print(named: "NamedDictionary", folder: Path) -> None:
    """What came of it: counts, scores, and where to look."""
    from accord.names.findings import names_finding

    metrics = named.metrics
    if found := names_finding(folder.name, named):
        print_finding(found)
    counts = ", ".join(f"{metrics[key]} {key}" for key in ("live", "asked", "named", "failed"))
    tell(f"{metrics['concepts']}, {metrics['annotator']}: {counts}")
    if metrics["failed"]:
        tell(f"why: {folder / 'failures.jsonl'}", err=True)
    rows = [
        [name, *(decimals(score[key]) for key in ("value", "low", "high")), str(score["n"])]
        for name, score in metrics.items()
        if isinstance(score, dict)
    ]
    if rows:
        print_table(("score", "value", "low", "high", "concepts"), rows)


COMMANDS = (names,)
