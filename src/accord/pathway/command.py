"""`accord pathway`: which way a repair goes through the layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.pathway.config import PathwaySection
from accord.repair.repaired import before_and_after, say_if_unknown, say_left_out
from accord.screen import tell
from accord.tasks.config import QuestionSection
from accord.terminal import (
    DEVICE,
    QUESTION,
    Replace,
    decimals,
    made,
    options,
    print_table,
    print_text,
)

if TYPE_CHECKING:
    from accord.pathway.result import Pathway
    from accord.pathway.stage import PathwayItems

_TOP = 10  # concepts that are printed


def pathway(
    repaired: Annotated[
        BackboneSection,
        DEVICE.but(
            renamed={"model": "repaired"},
            help={"model": "The repaired model: a folder of `accord repair`, or any."},
        ),
    ],
    question: Annotated[QuestionSection, QUESTION.but(without=("system", "chat_options", "chat_turns"), flags={})],
    section: Annotated[PathwaySection, options(without=("repairs", "concepts"))],
    base: Annotated[
        str | None,
        typer.Option(help="The model it was made from; by default the one that the repaired folder names."),
    ] = None,
    concepts: Annotated[Path | None, typer.Option(help="Folder of a concept model: tell which concepts moved.")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="With --concepts: the layer it was made on.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of the split, the random signs and the random directions; by default as the repair had it."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; without it, only print.")] = None,
    replace: Replace = False,
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
    from accord.pathway.stage import pair_stage

    if (concepts is None) != (layer is None):
        raise AccordError("A concept model and its layer belong together.", fix="give both --concepts and --layer")
    items, split_seed = _items(section, repaired.model, question, seed)
    before, after = before_and_after(repaired, base)
    model_and_layer = None if concepts is None or layer is None else (concepts, layer)
    result: Pathway = made(pair_stage(section, items, before, after, split_seed, model_and_layer), out, replace=replace)
    _print(result, f"{items.train.name} / {before.model} / {after.model}")


def _items(
    section: PathwaySection, repaired: str, question: QuestionSection, seed: int | None
) -> "tuple[PathwayItems, int]":
    """The items, and the seed that divided them: as the repair had them, but for the keys given as options."""
    from accord.pathway.stage import items_of
    from accord.repair.learned import all_marks, links
    from accord.repair.question import asked_as
    from accord.tasks import task as make_task

    name, data = question.task, question.data
    usual = asked_as(repaired, make_task(name, data=data, split="all"), seed=seed)
    keys = usual | question.model_dump(include=question.model_fields_set - {"task", "data"})
    items = items_of(
        section,
        lambda **others: make_task(name, data=data, **{**keys, **others}),
        split_kind=keys["split_kind"],
        learned=all_marks(links(repaired)),
    )
    say_if_unknown(repaired)
    say_left_out(items.tests.values())
    return items, keys["seed"]


def _print(result: "Pathway", title: str) -> None:
    for sentence in result.summary()["sentences"]:
        print_text(sentence)
    tell()
    rows = list(result.by_layer())
    cells = [
        [str(value) if name == "layer" else decimals(value, missing="") for name, value in row.items()] for row in rows
    ]
    print_table(tuple(rows[0]), cells, title=title)
    if result.concepts is not None:
        top = result.concepts.head(_TOP)
        cells = [
            [str(row.concept), *(decimals(x) for x in row[2:7]), "yes" if row.certain else ""]
            for row in top.itertuples()
        ]
        print_table(tuple(top.columns), cells, title="concepts that changed most")


COMMANDS = (pathway,)
