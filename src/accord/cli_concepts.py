"""Commands for single steps of a study, or for a model by itself: embed, train, generate, perplexity."""

from pathlib import Path
from typing import Annotated

import typer

from accord.cli_parts import print_table, progress_console
from accord.errors import AccordError

Study = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
MaybeStudy = Annotated[Path | None, typer.Argument(metavar="[STUDY.toml]", help="The study file.")]
Out = Annotated[Path | None, typer.Option(help="The run folder of the study; runs/NAME by default.")]
Model = Annotated[
    str | None,
    typer.Option(help="Without a study: a model of `accord models`, a hub id, a folder, or a .gguf file."),
]
Device = Annotated[str, typer.Option(help="With --model: auto, cpu, cuda, cuda:N or mps.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (embed, train, generate, perplexity):
        app.command()(command)


def embed(study: Study, out: Out = None) -> None:
    """Extract the embeddings of a study's texts, and stop there.

    Example: `accord embed study.toml`
    """
    _step(study, out, "embed")


def train(study: Study, out: Out = None) -> None:
    """Train the concept models and heads of a study, and what they need before.

    Example: `accord train study.toml`
    """
    _step(study, out, "train")


def generate(
    study: MaybeStudy = None,
    out: Out = None,
    model: Model = None,
    number: Annotated[int, typer.Option("-n", min=1, help="With --model: how many texts.")] = 3,
    prompt: Annotated[str | None, typer.Option(help="With --model: what to continue; by default nothing.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="With --model: tokens after which a text is cut.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="With --model: of the draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Let every model of a study write texts, or one model by itself.

    Examples:

    - `accord generate study.toml`
    - `accord generate --model smollm2-135m -n 3 --prompt "The film was"`
    - `accord generate --model runs/demo/heads/topk-latents-new-s0`
    """
    if _one(study, model) is None:
        assert study is not None
        _step(study, out, "generate")
        return
    from accord.lm import generate as write
    from accord.loading import load

    lm = load(str(model), device=device)
    prompts = None if prompt is None else [prompt]
    for sample in write(lm, prompts=prompts, n=number, max_new_tokens=tokens, seed=seed):
        typer.echo(f"--- {len(sample.ids)} tokens{'' if sample.finished else ', cut'}\n{sample.prompt}{sample.text}")


def perplexity(
    study: MaybeStudy = None,
    out: Out = None,
    model: Model = None,
    data: Annotated[str | None, typer.Option(help="With --model: texts, as [text] source of a study.")] = None,
    column: Annotated[str, typer.Option(help="With --model: column of the texts.")] = "text",
    limit: Annotated[int | None, typer.Option(min=1, help="With --model: at most so many texts.")] = None,
    device: Device = "auto",
) -> None:
    """Judge the texts that every model of a study wrote, or let one model read texts.

    Examples:

    - `accord perplexity study.toml`
    - `accord perplexity --model smollm2-135m --data reviews.txt`
    """
    if _one(study, model) is None:
        assert study is not None
        _step(study, out, "perplexity")
        return
    if data is None:
        raise AccordError("There are no texts to read.", fix="name them: --data FILE")
    from accord.lm.perplexity import perplexity as judge
    from accord.loading import load
    from accord.text import corpus

    texts = corpus(data, column=column, limit=limit, held_out=0).train
    found = judge(load(str(model), device=device), texts)
    rows = [
        [name, *(f"{value[key]:.3f}" for key in ("value", "low", "high"))] for name, value in found.summary().items()
    ]
    rows += [["texts", str(len(texts)), "", ""], ["unscored", str(found.unscored), "", ""]]
    print_table(("perplexity", "value", "low", "high"), rows, title=str(model))


def _one(study: Path | None, model: str | None) -> str | None:
    """The model, or None where a study is given."""
    if (study is None) == (model is None):
        raise AccordError("Name a study file or a --model, one of the two.", fix="see --help")
    return model


def _step(study: Path, out: Path | None, step: str) -> None:
    from accord.study import run

    typer.echo(run(study, out, console=progress_console(), step=step))
