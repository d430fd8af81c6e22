"""`accord push`: a model that accord made, to the hub."""

from pathlib import Path
from typing import Annotated

import typer

from accord.screen import tell


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A repaired model, a concept language model, or a concept model.")
    ],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="Its hub id, OWNER/NAME; made if it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="Everybody may see it; else its owner alone.")] = False,
    results: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a verdict or of damage, for the card; may be given again. A run's own stand there."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="What it stands on, as others can fetch it; by default as its folder says.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the base, as the hub writes it; by default as known.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Show what would go up, and send nothing.")] = False,
) -> None:
    """Put a model that accord made on the Hugging Face hub, with a card of what was measured. Private by default.

    Weights and accord's own files go up, and nothing else. The token is the one of `hf auth login`, or of HF_TOKEN.

    Examples:

    - `accord push runs/demo/repair/rankalign-s0 me/hypernymy-repaired --check`
    - `accord push runs/demo/repair/rankalign-s0 me/hypernymy-repaired`
    - `accord push repaired me/repaired --results verdict --results damage --public`
    """
    from accord.sharing import push as send

    made = send(folder, repository, public=public, results=results or [], base=base, licence=licence, check=check)
    for name, size in made.files.items():
        tell(f"{size:>14,}  {name}")
    tell("nothing was sent" if check else made.address)


COMMANDS = (push,)
