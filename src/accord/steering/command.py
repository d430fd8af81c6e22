"""`accord steer`: texts with and without concepts turned off or up, side by side."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.terminal import OptionOf, print_table

if TYPE_CHECKING:
    from accord.concepts import Edit
    from accord.lm.edited import StateEdit
    from accord.steering import Target
    from accord.steering.typical import Typical


def steer(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or one of a concept language model.")],
    model: Annotated[str | None, typer.Option(help="In a run: a concept language model of its heads/.")] = None,
    concepts: Annotated[
        str | None, typer.Option(help="In a run: a concept model of its concepts/, spliced into the backbone.")
    ] = None,
    concept: Annotated[list[int] | None, typer.Option(help="A concept; each --factor is for one, in order.")] = None,
    factor: Annotated[list[float] | None, typer.Option(help="Times its strength, where it is active.")] = None,
    off: Annotated[list[int] | None, typer.Option(help="A concept to turn off.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="CONCEPT=VALUE", help="Its strength, at every position.")
    ] = None,
    typical: Annotated[
        list[str] | None,
        typer.Option(metavar="CONCEPT=TIMES", help="The same in units of its mean strength where active, in a run."),
    ] = None,
    added: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONCEPT=TIMES",
            help="Add to every state so many times what it writes on average where active, in a run: for concepts with "
            "embeddings of their own, of which --set writes little where they are off.",
        ),
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="What to continue; by default nothing.")] = None,
    positions: Annotated[
        Literal["all", "prompt", "generated"],
        typer.Option(help="Edit everywhere, where generated tokens are written, or before."),
    ] = "all",
    number: Annotated[int, typer.Option("-n", min=1, help="Texts of each prompt.")] = 3,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens after which a text is cut.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws, the same with and without edits.")] = 0,
    drop_error: Annotated[
        bool, typer.Option("--drop-error", help="Put the reconstruction alone in the state's place, in both texts.")
    ] = False,
    *,
    device: Annotated[str, OptionOf(BackboneSection, "device")],
) -> None:
    """Write texts with concepts turned off or up, beside the same texts without.

    Examples:

    - `accord steer runs/demo --concepts topk --concept 12 --factor 4 --prompt "The film was"`
    - `accord steer runs/demo --concepts lcblm --off 3 --added 7=4`
    - `accord steer runs/demo/heads/topk-latents-new-s0 --off 12 --set 7=3.5 --positions generated`
    """
    doses = _doses(concept or [], factor or [], off or [], _pairs({"set": set_, "typical": typical, "added": added}))
    from accord.lm import generate
    from accord.steering.open import open_target, train_store, typical_of

    measured = any(kind in ("typical", "added") for kind, _ in doses.values())
    store = train_store(folder) if measured else None
    target = open_target(folder, model=model, concepts=concepts, device=device, keep_error=not drop_error)
    edits, push = _edits(doses, target, typical_of(store, target) if store else None)
    steered = target.at(edits, positions, push)
    options = {"prompts": prompt or None, "n": number, "max_new_tokens": tokens, "seed": seed}
    pairs = zip(generate(target.plain, **options), generate(steered, **options), strict=True)  # type: ignore[arg-type]
    rows = [[before.prompt, before.text.strip(), after.text.strip()] for before, after in pairs]
    print_table(("prompt", "without", "with"), rows)


def _doses(
    concept: list[int], factor: list[float], off: list[int], pairs: list[tuple[int, tuple[str, float]]]
) -> dict[int, tuple[str, float]]:
    """Concept -> kind of edit and its number; before anything is loaded."""
    if len(concept) != len(factor):
        got = f"{len(concept)} --concept, {len(factor)} --factor"
        raise AccordError("Every --concept needs a --factor, and the other way round.", got=got)
    doses = [(k, ("factor", times)) for k, times in zip(concept, factor, strict=True)]
    doses += [*((k, ("factor", 0.0)) for k in off), *pairs]
    if not doses:
        raise AccordError("There is nothing to steer.", fix="name a concept: --off 12, or --concept 12 --factor 4")
    if twice := [k for k, times in Counter(k for k, _ in doses).items() if times > 1]:
        raise AccordError("A concept is named twice.", got=", ".join(map(str, sorted(twice))))
    return dict(doses)


def _pairs(options: dict[str, list[str] | None]) -> list[tuple[int, tuple[str, float]]]:
    """CONCEPT=NUMBER options as concepts with the kind of edit and its number."""
    return [_pair(word, kind) for kind, words in options.items() for word in words or []]


def _pair(word: str, kind: str) -> tuple[int, tuple[str, float]]:
    concept, _, value = word.partition("=")
    try:
        return int(concept), (kind, float(value))
    except ValueError:
        raise AccordError(
            "An edit is a concept, =, and a number.", where=f"--{kind}", got=word, wanted="12=3.5"
        ) from None


def _edits(
    doses: dict[int, tuple[str, float]], target: "Target", usual: "Typical | None"
) -> tuple[dict[int, "Edit"], "StateEdit | None"]:
    """What is asked for: edits of strengths, and the sum of what is added to every state, if anything is."""
    from torch import stack

    from accord.concepts import Scale, Set
    from accord.steering.arms import Dose
    from accord.steering.edits import AddDirection
    from accord.steering.target import as_edits

    edits: dict[int, Edit] = {}
    added = []
    for concept, (kind, number) in doses.items():
        if usual is not None and kind == "typical":
            edits[concept] = usual.edit(concept, number)
        elif usual is not None and kind == "added":
            added.append(Dose("added", number).direction(concept, usual))
        else:
            edits[concept] = Set(number) if kind == "set" else Scale(number)
    return as_edits(edits), AddDirection(target.layer, stack(added).sum(0)) if added else None


COMMANDS = (steer,)
