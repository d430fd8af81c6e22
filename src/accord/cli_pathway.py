"""The command that follows a repair through the layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from accord.cli_parts import AnswerScore, Chat, print_table, progress_console, say_if_unknown, say_left_out
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.lm.config import BackboneSection
    from accord.pathway.config import PathwaySection
    from accord.study.pathway_stages import Concepts, Questions
    from accord.study.stage import Stage

_TOP = 10  # concepts that are printed
Shots = Annotated[
    Literal["zero", "few"] | None,
    typer.Option(help="Worked examples in both forms; by default only in the validator's."),
]


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(pathway)


def pathway(
    repaired: Annotated[str, typer.Option(help="The repaired model: a folder of `accord repair`, or any model.")],
    task: Annotated[str, typer.Option("--task", help="A task of `accord tasks`, or a task file (.toml).")],
    base: Annotated[
        str | None,
        typer.Option(help="The model it was made from; by default the one that the repaired folder names."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data file, where the task brings none.")] = None,
    limit: Annotated[int, typer.Option(min=4, help="At most so many items of each test set.")] = 100,
    train_limit: Annotated[int, typer.Option(min=8, help="At most so many training items, for the readout.")] = 400,
    patch_items: Annotated[int, typer.Option(min=2, help="Items whose states are put into the other model.")] = 64,
    draws: Annotated[int, typer.Option(min=0, help="Random directions beside each state that is put.")] = 3,
    every_position: Annotated[
        bool, typer.Option("--every-position", help="Also put all positions' states, at some twenty times the cost.")
    ] = False,
    concepts: Annotated[Path | None, typer.Option(help="Folder of a concept model: tell which concepts moved.")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="With --concepts: the layer it was made on.")] = None,
    shots: Shots = None,
    generator: Annotated[str | None, typer.Option(help="Wording of the generator form.")] = None,
    validator: Annotated[str | None, typer.Option(help="Wording of the validator form.")] = None,
    chat: Chat = False,
    answer_score: AnswerScore = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of the split, the random signs and the random directions; by default as the repair had it."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; without it, only print.")] = None,
) -> None:
    """Show which way a repair goes: what every layer knows, says and carries, before and after.

    Columns: AUC of the validator's lens, and r of its log-odds with the model's own generator; CKA of base and
    repaired states; r of what is read off the validator's state with the base's generator; share of the repair's
    effect that a layer's states carry into the base model, that random changes of the same size have, and that the
    base's states undo.

    Examples:

    - `accord pathway --repaired runs/demo/repair/rankalign-s0 --task hypernymy --limit 100`
    - `accord pathway --base smollm2-135m --repaired out --task hypernymy --concepts DIR --layer 30`
    """
    from accord import study
    from accord.pathway.config import PathwaySection
    from accord.repair.folder import base_of
    from accord.study.pathway_stages import two_models_stage

    if (concepts is None) != (layer is None):
        raise AccordError("A concept model and its layer belong together.", fix="give both --concepts and --layer")
    keys = {"limit": limit, "train_limit": train_limit, "patch_items": patch_items, "draws": draws}
    section = study.from_options(PathwaySection, {**keys, "every_position": every_position})
    forms = {"generator_phrasing": generator, "validator_phrasing": validator, "chat": chat or None}
    forms |= {"generator_shots": shots, "validator_shots": shots, "answer_score": answer_score}
    asked, divided = _questions(section, repaired, task, data, seed, forms)
    before = base or base_of(repaired)
    models = [
        study.from_options(study.BackboneSection, {"model": model, "device": device, "dtype": dtype})
        for model in (before, repaired)
    ]
    stage = two_models_stage(
        "pathway",
        section,
        asked.read_by(models[0]),
        _identities(models),
        (study.lazy(models[0]), study.lazy(models[1])),
        divided,
        _concepts(concepts, layer),
    )
    _print(stage, out, f"{asked.train.name} / {before} / {repaired}")


def _questions(
    section: "PathwaySection", repaired: str, task: str, data: Path | None, seed: int | None, forms: Mapping[str, Any]
) -> "tuple[Questions, int]":
    """What is asked, and the seed that divided it: as the repair asked, but for the forms that are given."""
    from accord.repair.learned import all_marks, links
    from accord.repair.question import asked_as
    from accord.study import GapSection, from_options, task_of
    from accord.study.pathway_stages import questions
    from accord.tasks import task as make

    usual = make(task, data=data, split="all")
    keys = asked_as(repaired, usual, seed=seed)
    divided = keys.pop("seed")
    keys |= {key: value for key, value in forms.items() if value is not None}
    question = from_options(GapSection, {**keys, "task": task})
    asked = questions(
        section,
        lambda **others: task_of(question.model_copy(update=others), task, data, divided),
        split_kind=question.split_kind,
        learned=all_marks(links(repaired)),
    )
    say_if_unknown(repaired)
    say_left_out(asked.tests.values())
    return asked, divided


def _identities(models: list["BackboneSection"]) -> dict[str, Any]:
    from accord.study.stage import identity

    return dict(zip(("base", "repaired"), map(identity, models), strict=True))


def _concepts(folder: Path | None, layer: int | None) -> "Concepts | None":
    from accord.cache import hash_file
    from accord.study.pathway_stages import Concepts, load_concepts

    if folder is None or layer is None:
        return None
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        raise AccordError("This folder holds no concept model.", where=folder, wanted=weights.name)
    return Concepts(layer, hash_file(weights), lambda lm: load_concepts(folder, lm))


def _print(stage: "Stage", out: Path | None, title: str) -> None:
    """Make the stage in `out`, or in a folder that is thrown away, and print what is in it."""
    from tempfile import TemporaryDirectory

    from accord import study
    from accord.pathway import Pathway

    with TemporaryDirectory() as passing:
        folder = out or Path(passing) / "pathway"
        with study.bars(progress_console()) as bar:
            made = study.publish(folder, stage.recipe, lambda work: stage.build(work, bar("pathway")), replace=False)
        if out is not None:
            typer.echo(f"{out}: {'written' if made else 'up to date'}", err=True)
        found = Pathway.read(folder)
    rows = list(found.by_layer())
    print_table(tuple(rows[0]), [[_number(name, value) for name, value in row.items()] for row in rows], title=title)
    if found.concepts is not None:
        shown = found.concepts.head(_TOP)
        cells = [
            [str(row.concept), *(f"{x:.3f}" for x in row[2:7]), "yes" if row.certain else ""]
            for row in shown.itertuples()
        ]
        print_table(tuple(shown.columns), cells, title="concepts that changed most")
    for sentence in found.summary()["sentences"]:
        typer.echo(sentence)


def _number(name: str, value: float | None) -> str:
    if name == "layer":
        return str(value)
    return "" if value is None else f"{value:.3f}"
