"""What is steered on the command line: a run folder and a name in it, or a folder of a concept language model."""

from pathlib import Path

from accord.concepts import load as load_concepts
from accord.disk import read_object
from accord.errors import AccordError, nearest
from accord.heads.folder import is_concept_lm
from accord.loading import load
from accord.steering.target import Target
from accord.steering.typical import Typical, measure_typical
from accord.text import EmbeddingStore, in_order

_ROWS = 4096


def open_target(
    folder: Path,
    *,
    model: str | None = None,
    concepts: str | None = None,
    device: str = "auto",
    keep_error: bool = True,
) -> Target:
    """What is to be steered, loaded.

    Args:
        folder: of a concept language model; or a run folder.
        model: in a run folder, the name of a concept language model in `heads/`, such as "topk-latents-new-s0".
        concepts: in a run folder, the name of a concept model in `concepts/`, to be spliced into the run's backbone
            at its layer. The seed may be left out of either name: the lowest is taken.

    Raises:
        AccordError: there is no such thing, or both or none are named where it matters.
    """
    if is_concept_lm(folder):
        if model or concepts:
            raise AccordError("This folder is one model: there is nothing to choose in it.", where=folder)
        return Target.of(load(folder, device=device), None, None, keep_error)
    if model and concepts:
        raise AccordError("Name --model or --concepts, not both.", where=folder)
    if model:
        return Target.of(load(_named(folder / "heads", model), device=device), None, None, keep_error)
    place = _named(folder / "concepts", concepts)
    layer = int(read_object(place / "metrics.json", "layer")["layer"])
    backbone = load(train_store(folder).layout.settings["model"], device=device)
    return Target.of(backbone, load_concepts(place, backbone.device), layer, keep_error)


def train_store(folder: Path) -> EmbeddingStore:
    """The training embeddings of a run, by its folder or that of a model in its `heads/`.

    Raises AccordError if there are none.
    """
    inside = folder.resolve()
    run = inside.parent.parent if inside.parent.name == "heads" and is_concept_lm(folder) else folder
    place = run / "embeddings" / "train"
    if not place.is_dir():
        raise AccordError(
            "There are no embeddings here, which the usual strengths of concepts are measured on.",
            where=folder,
            wanted="a run folder with embeddings/train, or a model in its heads/",
        )
    return EmbeddingStore(place)


def typical_of(store: EmbeddingStore, target: Target) -> Typical:
    """The typical strengths of the target's concepts, from a run's training embeddings."""
    return measure_typical(target.concepts, in_order(store, target.layer, _ROWS))


def _named(parent: Path, name: str | None) -> Path:
    """The folder of this name, or of its lowest seed; without a name the only one there is."""
    there = sorted(path.name for path in parent.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not there:
        raise AccordError(f"There are no {parent.name} here.", where=parent.parent, wanted="a run folder with some")
    if name is None:
        if len(there) > 1:
            raise AccordError(
                f"Which of the {parent.name}?",
                where=parent.parent,
                wanted=", ".join(there),
                fix=f"--{parent.name} NAME",
            )
        return parent / there[0]
    seeds = [label for label in there if label == name or label.rpartition("-s")[0] == name]
    if not seeds:
        raise AccordError("There is nothing of this name.", where=parent, got=name, wanted=nearest(name, there))
    return parent / min(seeds, key=lambda label: (len(label), label))
