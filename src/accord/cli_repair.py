"""Commands that change a model: repair and merge."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from accord.cli_parts import (
    AnswerScore,
    Chat,
    ChatOptions,
    OneMessage,
    System,
    key_values,
    print_table,
    progress_console,
    say_how_read,
)
from accord.errors import AccordError

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (repair, merge):
        app.command()(command)


def repair(
    model: Annotated[
        str, typer.Option(help="A model of `accord models`, a hub id, a folder (of an adapter too), or a .gguf.")
    ],
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
    chat: Chat = False,
    system: System = None,
    chat_options: ChatOptions = None,
    one_message: OneMessage = False,
    answer_score: AnswerScore = None,
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
    from accord.repair.config import check_labels
    from accord.repair.question import check_goes_on
    from accord.study.stage import identity, read_by_model
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
        system=system,
        chat_options=key_values("--chat-option", chat_options) if chat_options else None,
        chat_turns=False if one_message else None,
        answer_score=answer_score,
        seed=seed,
    )
    say_how_read([asked])
    table = {"kind": method, **key_values("--set", keys or []), "steps": steps, "lr": lr}
    section = read_repair({key: value for key, value in table.items() if value is not None}, "--method, --set")
    check_goes_on(model, asked)
    check_labels(asked, section)
    backbone = study.from_options(study.BackboneSection, {"model": model, "device": device, "dtype": dtype})
    asked = read_by_model(asked, backbone)
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
    for line in _reach(out):
        typer.echo(line)


def merge(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that accord repair wrote, or of a PEFT adapter.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the merged weights, in hub layout.")],
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Merge an adapter, of a repaired model or of PEFT, into its base, and say how far the answers drifted by that.

    Example: `accord merge repaired --out merged`
    """
    from accord.repair import merge as merged

    drift = merged(folder, out, device=device, dtype=dtype)
    rows = [
        ["log p of any token, largest", f"{drift.largest:.2e}"],
        ["log p of any token, mean", f"{drift.mean:.2e}"],
        ["log-odds of yes, largest", "not read" if drift.logodds is None else f"{drift.logodds:.2e}"],
    ]
    print_table(("drift by merging, nats", f"over {drift.prompts} prompts"), rows, title=str(out))


def _reach(folder: Path) -> list[str]:
    """What an adapter was put on, and on what not, in words; nothing of other repairs."""
    about = json.loads((folder / "repair.json").read_text(encoding="utf-8"))["about"]
    if (reach := about.get("reach")) is None:
        return []
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in reach["kinds"].items())
    lines = [f"adapter on {reach['share']:.1%} of the weights in the model's blocks: {kinds}"]
    return lines + [f"not on {path}: {why}" for path, why in reach["left"].items()]
