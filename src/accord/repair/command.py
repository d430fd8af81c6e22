"""`accord repair` and `accord merge`: commands that change a model."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.repair.config import KINDS, RepairSection, Trained, read_repair
from accord.screen import tell
from accord.tasks.config import QuestionSection
from accord.terminal import DEVICE, QUESTION, OptionOf, Replace, key_values, made, print_next, print_table, say_how_read

if TYPE_CHECKING:
    from accord.repair.result import RepairRecord


def repair(
    backbone: Annotated[BackboneSection, DEVICE],
    question: Annotated[QuestionSection, QUESTION],
    method: Annotated[str, typer.Option(help=f"{', '.join(list(KINDS)[:-1])} or {list(KINDS)[-1]}.")],
    out: Annotated[Path, typer.Option(help="Folder for the repaired model.")],
    split: Annotated[str, typer.Option(help="The items to learn from: train, test or all.")] = "train",
    split_kind: Annotated[
        str | None,
        typer.Option(help="random, unseen-hypernyms, unseen-both or nested; nested where the task has pairs of words."),
    ] = None,
    limit: Annotated[int | None, OptionOf(RepairSection, "limit")] = None,
    steps: Annotated[int | None, OptionOf(Trained, "steps")] = None,
    lr: Annotated[float | None, OptionOf(Trained, "lr")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the method; may be given again."),
    ] = None,
    concepts: Annotated[
        Path | None, typer.Option(help="With method concepts: folder of a concept model, RUN/concepts/NAME.")
    ] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="With method concepts: the layer it was made on.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the first weights, and the order of items.")] = 0,
    replace: Replace = False,
) -> None:
    """Repair a model: teach one form what the other says. Any --model takes the folder; training writes an adapter.

    Examples:

    - `accord repair --model smollm2-135m --task hypernymy --method rankalign --out repaired`
    - `accord repair --model smollm2-135m --task hypernymy --method readout --out quick`
    - `accord repair --model repaired --task hypernymy --method calibrate --out calibrated`
    - `accord verdict --repaired repaired --task hypernymy`
    """
    from accord.repair.config import check_task
    from accord.repair.question import check_goes_on
    from accord.repair.stage import single_repair_stage
    from accord.tasks import task as make_task

    name, data = question.task, question.data
    kind = split_kind or make_task(name, data=data, split="all").usual_split_kind
    task = make_task(name, data=data, split=split, split_kind=kind, limit=limit, seed=seed, **question.asked)
    say_how_read(task)
    table = {"kind": method, **key_values("--set", set_ or []), "steps": steps, "lr": lr}
    config = read_repair({key: value for key, value in table.items() if value is not None}, "--method, --set")
    check_goes_on(backbone.model, task)
    check_task(task, config)
    if config.edits_concepts != (concepts is not None) or (concepts is None) != (layer is None):
        raise AccordError("Method concepts, and no other, takes --concepts and --layer.", got=method)
    edited = None if concepts is None or layer is None else (concepts, layer)
    record: RepairRecord = made(single_repair_stage(config, task, backbone, seed, edited), out, replace=replace)
    tell(record.headline())
    for line in _reach(record):
        tell(line)
    where = shlex.quote(str(out))
    asked = shlex.join(["--task", name, *(["--data", data] if data is not None else [])])
    print_next(f"accord verdict --repaired {where} {asked}", f"accord damage --repaired {where} {asked}")


def merge(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that accord repair wrote, or of a PEFT adapter.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the merged weights, in hub layout.")],
    device: Annotated[str, OptionOf(BackboneSection, "device")],
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], OptionOf(BackboneSection, "dtype")],
    replace: Replace = False,
) -> None:
    """Merge an adapter, of a repaired model or of PEFT, into its base, and say how far the answers drifted by that.

    Example: `accord merge repaired --out merged`
    """
    from accord.repair import merge as merged

    drift = merged(folder, out, device=device, dtype=dtype, replace=replace)
    rows = [
        ["log p of any token, largest", f"{drift.largest:.2e}"],
        ["log p of any token, mean", f"{drift.mean:.2e}"],
        ["log-odds of yes, largest", "not read" if drift.logodds is None else f"{drift.logodds:.2e}"],
    ]
    print_table(("drift by merging, nats", f"over {drift.prompts} prompts"), rows, title=str(out))


def _reach(record: "RepairRecord") -> Iterator[str]:
    """What an adapter was put on, and on what not, in words; nothing of other repairs."""
    reach = record.about.get("reach")
    if reach is not None:
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in reach["kinds"].items())
        yield f"adapter on {reach['share']:.1%} of the weights in the model's blocks: {kinds}"
        yield from (f"not on {path}: {why}" for path, why in reach["left"].items())


COMMANDS = (repair, merge)
