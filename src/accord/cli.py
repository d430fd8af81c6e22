"""The command line: parses, calls one function of a room, prints.

Rooms are imported inside the commands, so that `accord --help` does not wait for torch.
"""

import errno
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from accord import (
    cli_concepts,
    cli_damage,
    cli_names,
    cli_pathway,
    cli_prove,
    cli_repair,
    cli_search,
    cli_steering,
    cli_verdict,
)
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
    say_if_blank,
    say_if_little,
)
from accord.cli_show import show_as_read, show_command
from accord.disk import read_object
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.study import BackboneSection, GapSection
    from accord.tasks import CustomTask, Task


class Commands(typer.core.TyperGroup):
    """Turns whatever stops a command into a message and an exit code; see `_explain`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a reader that is gone is noticed here, not at exit
            return result
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(141) from None
            if type(error).__module__.startswith(("typer", "click")):  # usage errors, exits
                raise
            if ctx.params.get("debug"):
                traceback.print_exc()
            message, code = _explain(error)
            typer.echo(message, err=True)
            raise typer.Exit(code) from None


def _explain(error: BaseException) -> tuple[str, int]:
    """The message and the exit code for what stopped a command."""
    if isinstance(error, AccordError):
        return f"error: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on from what is done", 130
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"error: {_no_space(error)}", 1
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"error: {error.strerror}: {error.filename}", 1
    if isinstance(error, MemoryError):
        return "error: Memory ran out. Ask for less at a time.", 1
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"error: {said}\nThis is a bug in accord. For the traceback: accord --debug COMMAND …", 1


def _no_space(error: OSError) -> AccordError:
    folder = Path(error.filename or ".").absolute()
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    fix = "free some, or name a folder on another disk; then run again to go on"
    return AccordError("The disk is full.", where=folder, got=f"{free / 1e6:.1f} MB free", fix=fix)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

TaskName = Annotated[str, typer.Option("--task", help="A task of `accord tasks`, or a task file (.toml).")]
Data = Annotated[Path | None, typer.Option(help="Data file, where the task brings none or another is wanted.")]
Split = Annotated[str, typer.Option(help="train, test or all; see `accord.task`.")]
SplitKind = Annotated[str, typer.Option(help="random, unseen-hypernyms, unseen-both or nested.")]
Shots = Annotated[
    Literal["zero", "few"] | None,
    typer.Option(help="Worked examples in both forms; by default only in the validator's."),
]
Generator = Annotated[str | None, typer.Option("--generator", help="Wording of the generator form.")]
Validator = Annotated[str | None, typer.Option("--validator", help="Wording of the validator form.")]
Seed = Annotated[int, typer.Option(help="Of the split and the choice of items.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a folder of `accord gap --out`.")]


def _version(asked: bool) -> None:
    if asked:
        from accord import __version__

        typer.echo(f"accord {__version__}")
        raise typer.Exit


@app.callback()
def accord(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of any error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find where a language model disagrees with itself."""


@app.command()
def gap(
    model: Annotated[
        str,
        typer.Option(
            help="A model of `accord models`, a hub id, a folder (of a concept language model or a PEFT "
            "adapter too), or a .gguf."
        ),
    ],
    task: TaskName,
    data: Data = None,
    split: Split = "test",
    split_kind: SplitKind = "random",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many items; all by default.")] = None,
    shots: Shots = None,
    generator: Generator = None,
    validator: Validator = None,
    chat: Chat = False,
    system: System = None,
    chat_options: ChatOptions = None,
    one_message: OneMessage = False,
    answer_score: AnswerScore = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also read both forms at every layer.")] = False,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for tables and figures; without it, only print.")] = None,
) -> None:
    """Measure the gap between what a model says and what it affirms.

    Examples:

    - `accord gap --model smollm2-135m --task hypernymy --limit 100`
    - `accord gap --model smollm2-135m --task hypernymy --layers --out results/hypernymy`
    - `accord gap --model ./my-model --task my-task.toml --shots zero`
    - `accord gap --model runs/demo/heads/lcblm-reconstruction-original-s0 --task hypernymy --limit 100`
    """
    from accord.report.verdict import counted_words
    from accord.study import BackboneSection, from_options

    if layers and out is None:
        raise AccordError("--layers writes tables and figures.", fix="name a folder for them with --out")
    backbone = from_options(BackboneSection, {"model": model, "device": device, "dtype": dtype})
    section, asked = _question(
        task,
        data,
        seed,
        shots,
        split=split,
        split_kind=split_kind,
        limit=limit,
        generator_phrasing=generator,
        validator_phrasing=validator,
        chat=chat,
        system=system,
        chat_options=key_values("--chat-option", chat_options) if chat_options else None,
        chat_turns=False if one_message else None,
        answer_score=answer_score,
        layers=layers,
    )
    metrics = _measured(section, asked, backbone, seed, out)
    counted = metrics.pop("answer_score")
    rows = [[name, *_numbers(metric)] for name, metric in metrics.items()]
    print_table(("metric", "value", "low", "high"), rows, title=f"{asked.name} / {model}")
    for reason, names in _reasons(metrics).items():
        typer.echo(f"No interval for {', '.join(names)}: {reason}.")
    typer.echo(counted_words(counted, *(int(metrics[name]["value"]) for name in ("first_token_clashes", "task_items"))))
    say_if_little(metrics["yes_no_mass"]["value"], show_command(model, task, data, dict(section)))
    say_if_blank(metrics["blank_first_tokens"]["value"], metrics["n"]["value"])


@app.command()
def models() -> None:
    """List the models of the catalog.

    Example: `accord models`
    """
    from accord.lm.catalog import entries

    for one in entries():
        weights = f"{one.download / 1e6:.0f} MB to fetch" if one.on_disk is None else "in the cache"
        size = f"{one.layers} layers, width {one.width}, vocabulary {one.vocab:,}"
        _print_record(one.name, one.description, {"size": size, "weights": weights, "licence": one.license})


@app.command()
def tasks() -> None:
    """List the tasks, their wordings, and the data they read.

    Example: `accord tasks`
    """
    from accord.tasks import catalog

    for row in catalog():
        built_in = "" if row.items is None else f"{row.items} items built in, or "
        generators = {f"--generator {name}": text for name, text in row.generator_phrasings.items()}
        validators = {f"--validator {name}": text for name, text in row.validator_phrasings.items()}
        words = " or ".join("/".join(each) for each in row.labels.values())
        parts = {"--data": built_in + row.data, **generators, **validators, "validator answers": words}
        _print_record(row.name, row.asks, parts)


@app.command()
def show(
    task: Annotated[str, typer.Argument(help="A task of `accord tasks`, or a task file (.toml).")],
    data: Data = None,
    number: Annotated[int, typer.Option("-n", min=1, help="How many items.")] = 3,
    split: Split = "test",
    split_kind: SplitKind = "random",
    shots: Shots = None,
    generator: Generator = None,
    validator: Validator = None,
    chat: Chat = False,
    system: System = None,
    chat_options: ChatOptions = None,
    one_message: OneMessage = False,
    answer_score: AnswerScore = None,
    seed: Seed = 0,
    model: Annotated[
        str | None, typer.Option(help="Show them as this model reads them, with the tokens and odds of its answers.")
    ] = None,
) -> None:
    """Show items of a task with both prompts; with a model as it reads them, and what helps if it seldom answers.

    Examples:

    - `accord show hypernymy`
    - `accord show trivia --data trivia.jsonl --shots zero -n 5`
    - `accord show my-task.toml --model smollm2-135m`
    """
    if chat and model is None:
        raise AccordError("--chat puts prompts into a model's own template.", fix="name the model, with --model")
    section, asked = _question(
        task,
        data,
        seed,
        shots,
        split=split,
        split_kind=split_kind,
        generator_phrasing=generator,
        validator_phrasing=validator,
        chat=chat,
        system=system,
        chat_options=key_values("--chat-option", chat_options) if chat_options else None,
        chat_turns=False if one_message else None,
        answer_score=answer_score,
    )
    typer.echo(f"{asked.name}, {asked.split}: {len(asked.items)} items")
    words = " or ".join("/".join(each) for each in asked.labels.words.values())
    typer.echo(f"validator answers: {words}; between a prompt and its answer: {asked.generator.join!r}")
    if model is not None:
        from accord.loading import load
        from accord.study import task_of

        def make(task: "str | CustomTask" = task, **keys: Any) -> "Task":
            return task_of(section.model_copy(update=keys), task, data, seed)

        show_as_read(load(model), section, asked, number, make)
        return
    for item in asked.items[:number]:
        about = [f"answer: {item.answer}", f"gold: {asked.labels.right(item)}"]
        about += [f"{key}: {value}" for key in ("group", "similarity") if (value := getattr(item, key))]
        typer.echo("\n" + ", ".join(about))
        for form, prompt in zip(("generator", "validator"), asked.prompts(item), strict=True):
            typer.echo(f"{form}:\n" + "\n".join(f"  | {line}" for line in prompt.split("\n")))


@app.command()
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the study file and its data.")] = False,
) -> None:
    """Run a study: what is new or changed in it, or was interrupted.

    Examples:

    - `accord run study.toml`
    - `accord run study.toml --check`
    """
    from accord.study import load
    from accord.study import run as run_study
    from accord.study.validate import check as check_study

    if check:
        say_how_read(check_study(load(study)))
        typer.echo(f"{study}: no problem found")
    else:
        typer.echo(run_study(study, out, console=progress_console()))


@app.command()
def init(file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.toml")) -> None:
    """Write a study file to start from, every key explained.

    Example: `accord init my-study.toml`
    """
    from accord.study import write_template

    write_template(file)
    typer.echo(f"{file}: fill it in, then: accord run {file}")


@app.command()
def report(folder: RunFolder) -> None:
    """Write the report of a run again: one HTML file.

    Example: `accord report runs/demo`
    """
    from accord.report import write_report

    typer.echo(write_report(folder))


@app.command()
def check(folder: RunFolder) -> None:
    """Compare every file of a run with the hashes written when it was made; exit code 1 if any differs.

    Example: `accord check runs/demo`
    """
    from accord.study.check import check as check_files

    problems = check_files(folder)
    for problem in problems:
        typer.echo(f"{problem.path}: {problem.what}")
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{folder}: all files are as they were written")


for _commands in (
    cli_concepts,
    cli_damage,
    cli_names,
    cli_pathway,
    cli_prove,
    cli_repair,
    cli_search,
    cli_steering,
    cli_verdict,
):
    _commands.register(app)


def main() -> None:
    """Run the command line."""
    app(prog_name="accord")


def _question(task: str, data: Path | None, seed: int, shots: str | None, **keys: Any) -> tuple["GapSection", "Task"]:
    """What the options ask for, as a section of a study would, and its task."""
    from accord.study import GapSection, from_options, task_of

    keys |= {"task": task, "generator_shots": shots or "zero", "validator_shots": shots}
    section = from_options(GapSection, keys)
    asked = task_of(section, task, data, seed)
    say_how_read([asked])
    return section, asked


def _measured(
    section: "GapSection", task: "Task", backbone: "BackboneSection", seed: int, out: Path | None
) -> dict[str, Any]:
    """The metrics, from the folder `out` if it holds them already."""

    from accord import study

    weights = study.lazy(backbone)
    if out is None:
        lm = weights()
        with study.bars(progress_console()) as bar:
            return study.measure(lm, section, task, bar(task.name)).as_json()
    stage = study.gap_stage(section, task, backbone, seed, weights)
    with study.bars(progress_console()) as bar:
        made = study.publish(out, stage.recipe, lambda work: stage.build(work, bar(task.name)), replace=False)
    typer.echo(f"{out}: {'written' if made else 'up to date'}", err=True)
    return read_object(out / "metrics.json")


def _numbers(metric: dict[str, Any]) -> list[str]:
    value, low, high = (metric[key] for key in ("value", "low", "high"))
    if value is None:
        return ["undefined", "", ""]
    if low is None:
        return [f"{value:.3f}" if "reason" in metric else f"{value:.0f}", "", ""]  # without a reason it is a count
    return [f"{number:.3f}" for number in (value, low, high)]


def _reasons(metrics: dict[str, Any]) -> dict[str, list[str]]:
    """Why measures have no interval: reason -> their names."""
    reasons: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if "reason" in metric:
            reasons.setdefault(metric["reason"], []).append(name)
    return reasons


def _print_record(name: str, said: str, parts: dict[str, str]) -> None:
    """A name, what it is, and its properties, a line each: complete in any width."""
    typer.echo(f"{name}: {said}")
    for label, text in parts.items():
        typer.echo(f"  {label:<24}" + text.replace("\n", "\n" + " " * 26))
