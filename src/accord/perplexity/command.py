"""`accord generate` and `accord perplexity`: texts that models write, and how probable texts are to them."""

from pathlib import Path
from typing import Annotated

import typer

from accord.embeddings.config import TextSection
from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.screen import tell
from accord.terminal import Replace, StudyOut, decimals, options, print_table, progress_console

MaybeStudy = Annotated[Path | None, typer.Argument(metavar="[STUDY.toml]", help="The study file.")]
Alone = Annotated[BackboneSection | None, options(only=("model", "device"))]


def generate(
    study: MaybeStudy = None,
    out: StudyOut = None,
    replace: Replace = False,
    backbone: Alone = None,
    number: Annotated[int, typer.Option("-n", min=1, help="With --model: how many texts.")] = 3,
    prompt: Annotated[str | None, typer.Option(help="With --model: what to continue; by default nothing.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="With --model: tokens after which a text is cut.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="With --model: of the draws.")] = 0,
) -> None:
    """Let every model of a study write texts, or one model by itself.

    Examples:

    - `accord generate study.toml`
    - `accord generate --model smollm2-135m -n 3 --prompt "The film was"`
    - `accord generate --model runs/demo/heads/topk-latents-new-s0`
    """
    if (model := _alone(study, backbone)) is None:
        _only("texts", study, out, replace)
        return
    from accord.lm import generate as write
    from accord.study.work import load

    prompts = None if prompt is None else [prompt]
    for sample in write(load(model), prompts=prompts, n=number, max_new_tokens=tokens, seed=seed):
        tell(f"--- {len(sample.ids)} tokens{'' if sample.finished else ', cut'}\n{sample.prompt}{sample.text}")


def perplexity(
    study: MaybeStudy = None,
    out: StudyOut = None,
    replace: Replace = False,
    backbone: Alone = None,
    texts: Annotated[
        TextSection | None, options(only=("source", "column", "limit"), renamed={"source": "data"})
    ] = None,
) -> None:
    """Judge the texts that every model of a study wrote, or let one model read texts.

    Examples:

    - `accord perplexity study.toml`
    - `accord perplexity --model smollm2-135m --data reviews.txt`
    """
    if (model := _alone(study, backbone)) is None:
        _only("perplexity", study, out, replace)
        return
    if texts is None:
        raise AccordError("There are no texts to read.", fix="name them: --data FILE")
    from accord.lm.perplexity import perplexity as judge
    from accord.study.work import load
    from accord.text import corpus

    read = corpus(texts.source, column=texts.column, limit=texts.limit, held_out=0).train
    scores, columns = judge(load(model), read), ("value", "low", "high")
    rows = [[name, *(decimals(mean[column]) for column in columns)] for name, mean in scores.summary().items()]
    rows += [["texts", str(len(read)), "", ""], ["unscored", str(scores.unscored), "", ""]]
    print_table(("perplexity", *columns), rows, title=model.model)


def _alone(study: Path | None, model: BackboneSection | None) -> BackboneSection | None:
    """The model, or None where a study is given."""
    if (study is None) == (model is None):
        raise AccordError("Name a study file or a --model, one of the two.", fix="see --help")
    return model


def _only(kind: str, study: Path | None, out: Path | None, replace: bool) -> None:
    from accord.study.engine import run

    assert study is not None
    tell(run(study, out, console=progress_console(), only=[kind], replace=replace))


COMMANDS = (generate, perplexity)
