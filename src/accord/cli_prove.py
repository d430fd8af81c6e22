"""The command that shows what holds in a model."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from accord.cli_parts import print_table
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.lm import Backbone

# Ordinary sentences, at whose tokens log-odds are compared between precisions.
_TEXTS = (
    "The committee met on Tuesday to discuss the budget for the coming year.",
    "A bee is a kind of insect that lives in a hive and makes honey.",
    "Question: Is a sparrow a kind of bird? Answer: Yes",
)


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(prove)


def prove(
    model: Annotated[str, typer.Argument(help="A model of `accord models`, a hub id, a folder of any kind, a .gguf.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")
    ] = "auto",
) -> None:
    """Show what accord relies on in a model, how it was tried, and the largest differences; exit code 1 if refused.

    The same is tried, on shorter texts, whenever a model loads: see docs/models.md.

    Examples:

    - `accord prove smollm2-135m`
    - `accord prove ./my-model --dtype bfloat16`
    """
    import accord
    from accord.lm.edited import backbone_of
    from accord.lm.proofs import precision

    lm = accord.load(model, device=device, dtype=dtype)
    backbone = backbone_of(lm)
    backbone.prove(thorough=True)
    rows = [
        [name, "holds" if proof.holds else "no", f"{proof.difference:.1e}", f"{proof.tolerance:.0e}", proof.meaning()]
        for name, proof in backbone.proofs.items()
    ]
    try:
        mean, largest = precision(backbone, _TEXTS)
        better = "float64" if str(backbone.dtype) == "torch.float32" else "float32"
        moved = f"log-odds of the next token beside {better}, in nats (mean {mean:.1e})"
        rows.append(["precision", "", f"{largest:.1e}", "", moved])
    except AccordError as error:  # accord does not rely on it
        rows.append(["precision", "not tried", "", "", f"{error.problem} ({error.got})"])
    print_table(("proof", "verdict", "difference", "allowed", "what it says"), rows, title=lm.name)
    typer.echo(_limits(backbone))
    if lm is not backbone:
        typer.echo(f"Proven is {backbone.name}, on which this model stands; what changes it was not tried.")


def _limits(lm: "Backbone") -> str:
    """What is read, and how, in a sentence or two."""
    limits = lm.limits
    said = [f"{lm.n_layers} blocks of width {lm.d_model}, {lm.vocab_size:,} tokens."]
    said += [f"It reads at most {limits.length:,} tokens."] if limits.length else []
    said += [f"Its numbers switch at {', '.join(map(str, limits.switches))} tokens."] if limits.switches else []
    if limits.each_from == 1:
        said.append("Only texts of one length share a batch.")
    elif limits.each_from:
        said.append(f"From {limits.each_from} tokens on, each length has numbers of its own.")
    return " ".join(said)
