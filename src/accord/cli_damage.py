"""The command that measures what a repair cost."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer

from accord.cli_parts import print_table, progress_console, say_if_unknown, say_left_out
from accord.disk import read_object


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(damage)


def damage(
    repaired: Annotated[str, typer.Option(help="The repaired model: a folder, or whatever --base may be.")],
    base: Annotated[
        str | None,
        typer.Option(help="The model it was made from; by default the one that the repaired folder names."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The task that was repaired, whose generator should have stayed.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Its data file, where it brings none.")] = None,
    split_kind: Annotated[
        str | None, typer.Option(help="Its split; by default as the repair had it, else nested or random.")
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="At most so many of its test items; by default all.")] = None,
    other: Annotated[list[str] | None, typer.Option(help="Another task that should have stayed; repeatable.")] = None,
    texts: Annotated[str, typer.Option(help="Held-out texts, as [text] source of a study.")] = "movie-reviews",
    limit: Annotated[int, typer.Option(min=1, help="At most so many texts.")] = 200,
    facts: Annotated[
        int | None, typer.Option(min=0, help="Facts of each built-in relation, at most; 0: none; by default all.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Free texts that each model writes.")] = 32,
    judge: Annotated[str | None, typer.Option(help="Model that reads them, such as gemma3-270m.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the splits and the free texts; by default as the repair had it."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and texts; without it, only print.")] = None,
) -> None:
    """Measure what a repair cost: text, other relations, the task's own generator, free texts.

    Examples:

    - `accord damage --repaired runs/demo/repair/rankalign-s0 --task hypernymy`
    - `accord damage --base smollm2-135m --repaired ./my-adapter --judge gemma3-270m --out results/damage`
    """
    from accord.damage.config import DamageSection
    from accord.gap.config import GapSection
    from accord.repair.folder import base_of
    from accord.repair.learned import all_marks, links, unlearned
    from accord.repair.question import asked_as, split_seed
    from accord.study import BackboneSection, bars, from_options, publish, task_of
    from accord.study.damage_stages import Asked, pair_stage
    from accord.study.gap_stages import check_model
    from accord.tasks import task as make

    keys = {"texts": texts, "limit": limit, "facts": facts, "samples": samples, "judge": judge, "tasks": other}
    section = from_options(DamageSection, {key: value for key, value in keys.items() if value is not None})
    own, divided = None, split_seed(repaired) if seed is None else seed
    learned = all_marks(links(repaired))
    if task is not None:
        question = asked_as(repaired, make(task, data=data, split="all"), seed=seed, split_kind=split_kind)
        own_seed = question.pop("seed")
        asked = from_options(GapSection, {**question, "task": task})
        own = unlearned(
            lambda **keys: task_of(asked.model_copy(update=keys), task, data, own_seed), learned, limit=items
        )
    models = [
        from_options(BackboneSection, {"model": model, "device": device, "dtype": dtype})
        for model in (base or base_of(repaired), repaired)
    ]
    for model in models:
        check_model(model.model)
    questions = Asked.of(section, own, models[0], divided, learned)
    say_if_unknown(repaired)
    say_left_out([*([own] if own else []), *questions.tasks])
    stage = pair_stage(questions, *models)
    with TemporaryDirectory() as kept_nowhere, bars(progress_console()) as bar:
        folder = out or Path(kept_nowhere) / "damage"
        made = publish(folder, stage.recipe, lambda work: stage.build(work, bar("damage")), replace=False)
        found = read_object(folder / "damage.json")
    if out is not None:
        typer.echo(f"{out}: {'written' if made else 'up to date'}", err=True)
    _print(found, repaired)


def _print(found: dict[str, Any], title: str) -> None:
    from accord.damage.wording import word

    header = ("group", "measure", "base", "repaired", "change", "low", "high", "n", "verdict")
    rows = [[row["group"], row["measure"], *_numbers(row), str(row["n"]), word(row)] for row in found["table"]]
    print_table(header, rows, title=title)
    typer.echo(found["sentence"])


def _numbers(row: dict[str, Any]) -> list[str]:
    times = "×" if row["change_is"] == "ratio" else ""
    values = [row[key] for key in ("base", "repaired", "change", "low", "high")]
    shown = ["undefined" if value is None else f"{value:.4g}" for value in values]
    return [*shown[:2], times + shown[2], *shown[3:]]
