"""Commands that change a model: repair and merge."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from accord.cli_parts import print_table, progress_console, say_how_read
from accord.errors import AccordError

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (repair, merge):
        app.command()(command)


def repair(
    model: Annotated[str, typer.Option(help="A model of `accord models`, a hub id, a folder, or a .gguf.")],
    task: Annotated[str, typer.Option(help="A task of `accord tasks`, or a task file (.toml).")],
    method: Annotated[
        str,
        typer.Option(help="rankalign, readout, calibrate, sft, consistency, dpo, direction or concepts."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the repaired model.")],
    data: Annotated[
        Path | None, typer.Option(help="Data file, where the task brings none or another is wanted.")
    ] = None,
    split: Annotated[str, typer.Option(help="The items to learn from: train, test or all.")] = "train",
    split_kind: Annotated[
        str | None,
        typer.Option(help="random, unseen-hypernyms, unseen-both or nested; nested where the task has pairs of words."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="At most so many items; all by default.")] = None,
    shots: Annotated[
        Literal["zero", "few"] | None,
        typer.Option(help="Worked examples in both forms; by default only in the validator's."),
    ] = None,
    generator: Annotated[str | None, typer.Option(help="Wording of the generator form.")] = None,
    validator: Annotated[str | None, typer.Option(help="Wording of the validator form.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompts into the model's chat template.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the method; may be given again."),
    ] = None,
    concepts: Annotated[
        Path | None, typer.Option(help="With method concepts: folder of a concept model, RUN/concepts/NAME.")
    ] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="With method concepts: the layer it was made on.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the first weights, and the order of items.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Repair a model: teach one form what the other says. Any --model takes the folder; training writes an adapter.

    Examples:

    - `accord repair --model smollm2-135m --task hypernymy --method rankalign --out repaired`
    - `accord repair --model smollm2-135m --task hypernymy --method readout --out quick`
    - `accord repair --model repaired --task hypernymy --method calibrate --out calibrated`
    - `accord verdict --repaired repaired --task hypernymy`
    """
    from accord import study
    from accord.repair import read_repair
    from accord.repair import repair as repair_model
    from accord.repair.question import check_goes_on
    from accord.study.stage import identity
    from accord.tasks import task as make

    kind = split_kind or ("nested" if make(task, data=data, split="all").nested else "random")
    asked = make(
        task,
        data=data,
        split=split,
        split_kind=kind,
        limit=limit,
        generator_shots=shots or "zero",
        validator_shots=shots,
        generator_phrasing=generator,
        validator_phrasing=validator,
        chat=chat,
        seed=seed,
    )
    say_how_read([asked])
    table = {"kind": method, **_table(keys or []), "steps": steps, "lr": lr}
    section = read_repair({key: value for key, value in table.items() if value is not None}, "--method, --set")
    check_goes_on(model, asked)
    backbone = study.from_options(study.Backbone, {"model": model, "device": device, "dtype": dtype})
    if (method == "concepts") != (concepts is not None) or (concepts is None) != (layer is None):
        raise AccordError("Method concepts, and no other, takes --concepts and --layer.", got=method)
    edited = str(concepts.resolve()) if concepts else None
    about = {"concepts": edited, "layer": layer}
    settings = {**identity(backbone), "task": asked.settings, "repair": section.model_dump(), **about}

    def build(work: Path) -> dict[str, Any]:
        lm = study.lazy(backbone)()
        known = None
        if concepts is not None and layer is not None:
            from accord.concepts import load

            known = (load(concepts, lm.device), layer)
        with study.bars(progress_console()) as bar:
            keys: dict[str, Any] = {"folder": work, "seed": seed, "base": model, "concepts": known}
            seconds = repair_model(lm, asked, section, progress=bar(method), **keys)
        return {"device": lm.device.type, "dtype": str(lm.dtype).removeprefix("torch."), "seconds": seconds}

    made = study.publish(out, study.Recipe("repair", 1, settings, seed), build, replace=False)
    typer.echo(f"{out}: {'written' if made else 'up to date'}")


def merge(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that accord repair wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the merged weights, in hub layout.")],
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Merge a repaired model's adapter into its base, and say how far the answers drifted by that.

    Example: `accord merge repaired --out merged`
    """
    from accord.repair import merge as merged

    drift = merged(folder, out, device=device, dtype=dtype)
    rows = [
        ["log p of any token, largest", f"{drift.largest:.2e}"],
        ["log p of any token, mean", f"{drift.mean:.2e}"],
        ["log-odds of yes, largest", f"{drift.logodds:.2e}"],
    ]
    print_table(("drift by merging, nats", f"over {drift.prompts} prompts"), rows, title=str(out))


def _table(keys: list[str]) -> dict[str, Any]:
    """KEY=VALUE options as keys of a section; what is no JSON is a word."""
    table: dict[str, Any] = {}
    for pair in keys:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise AccordError("--set takes a key and its value", got=pair, wanted="KEY=VALUE, such as delta=3")
        try:
            table[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            table[key.replace("-", "_")] = value
    return table
