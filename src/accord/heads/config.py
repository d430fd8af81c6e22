"""`[[heads]]`: which kind a head is, what it reads, how it is trained, and what a study adds."""

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, create_model

from accord.arguments import checked
from accord.concepts.config import Batches, Schedule, Settings, read_kind
from accord.kinds import Kinds, add, list_of, section
from accord.section import STEPS, TIMES, FolderName, Section

Reads = Literal["embedding", "latents", "reconstruction"]


class HeadTraining(Schedule):
    """How a head is trained."""

    # A head has a weight for every input and token, far more than a store has rows: without a look at held-out rows
    # it soon learns its training texts by heart (16,000 rows of SmolLM2-135M: within 200 steps).
    steps: int = Field(default=1000, ge=1, le=STEPS, description="Updates at most; each sees one batch.")
    lr: float = Field(default=3e-4, gt=0, description="Learning rate of Adam.")
    # The loss is a mean over rows, in nats: its gradients have norms around 1, where those of concept models, which
    # are means over dimensions too, are far smaller.
    clip: float | None = Field(
        default=1.0, gt=0, description="Largest norm of the whole gradient (in Python None: no clipping)."
    )
    evaluate_every: int = Field(default=50, ge=1, description="Steps between evaluations on held-out embeddings.")
    patience: int | None = Field(
        default=3,
        ge=1,
        description="Evaluations without a better held-out cross-entropy after which training stops, and the best "
        "weights are taken (in Python None: never, and no held-out embeddings are needed).",
    )


class FinetuneTraining(HeadTraining):
    """How a copy of the original head is trained: in smaller steps, as it is good already."""

    lr: float = Field(default=1e-4, gt=0, description="Learning rate of Adam.")


class HeadConfig(Settings):
    """What a head is made from: a kind is one of these, with `kind: Literal[…]` as its name."""

    if TYPE_CHECKING:
        kind: Any
        reads: Any

    hard: bool = Field(
        default=False,
        description="Read gates open or shut (above .5) instead of their probabilities; for gated concept models.",
    )


class TrainedHead(HeadConfig):
    """What heads have that are trained."""

    if TYPE_CHECKING:
        training: Any

    vocabulary: Literal["full", "observed"] = Field(
        default="full",
        description="full: a logit for every token. observed: for those that follow somewhere in the training "
        "texts, which is cheaper; all others share a small probability (Good-Turing).",
    )


class OriginalHead(HeadConfig):
    """The backbone's own head, untouched; the state goes to it through the layers that remain."""

    kind: Literal["original"] = "original"
    reads: Literal["embedding", "reconstruction"] = Field(
        default="reconstruction", description="The layer's state, or what the concepts make of it."
    )


class FinetunedHead(TrainedHead):
    """A copy of the backbone's final norm and head, trained on what it reads."""

    kind: Literal["finetuned"] = "finetuned"
    reads: Literal["embedding", "reconstruction"] = Field(
        default="reconstruction", description="The layer's state, or what the concepts make of it."
    )
    training: FinetuneTraining = Field(default=FinetuneTraining(), description="How it is trained.")


class NewHead(TrainedHead):
    """A linear map to the vocabulary, trained on what it reads."""

    kind: Literal["new"] = "new"
    reads: Reads = Field(
        default="latents", description="The layer's state, the concepts, or what the concepts make of the state."
    )
    start: Literal["original", "zero"] = Field(
        default="original",
        description="First weights: what each input writes, through the original head; or zero.",
    )
    training: HeadTraining = Field(default=HeadTraining(), description="How it is trained.")


KINDS: Kinds = {}
"""kind -> (its settings, the head that is made from them)"""


def register(config: type[HeadConfig], head: str) -> None:
    """Add a kind of head; `[[heads]]`, `accord.heads.build_head` and `load_concept_lm` then take it.

    Args:
        config: its settings; `kind: Literal["name"] = "name"` is its name.
        head: "module:Class" of the `Head`, imported when first needed; empty for the backbone's own.
    """
    add(KINDS, config, head)


register(OriginalHead, "")
register(FinetunedHead, "accord.heads.head:Finetuned")
register(NewHead, "accord.heads.linear:Linear")


@checked
def read_head(table: dict[str, Any], where: object = "heads") -> Any:
    """A section from a plain table with its `kind`; raises AccordError naming the key that is wrong."""
    return read_kind(KINDS, table, "head", where)


class HeadSection(Section):
    """What every `[[heads]]` has beside the keys of its kind."""

    needs: ClassVar[tuple[str, ...]] = ("text", "concepts")

    if TYPE_CHECKING:  # the kind's
        kind: Any
        reads: Any
        hard: Any
        training: Any
        vocabulary: Any

    name: FolderName | None = Field(
        default=None,
        description="Last part of its row's name; without it what is read and by which head.",
        examples=["observed"],
    )
    concepts: str = Field(
        default="all", min_length=1, description="Name of the [[concepts]] that it reads, or all: a row for each."
    )


class _HeadBatches(Batches):
    batch: int = Field(default=512, ge=1, le=TIMES, description="Embeddings of an update.")


def section_of(kind: str) -> type[HeadSection]:
    """The section of a kind: its keys, and what a study adds."""
    return _section(KINDS[kind][0])


@cache
def _section(config: Any) -> type[HeadSection]:
    if not issubclass(config, TrainedHead):
        return section(HeadSection, config)
    schedule = type(config.model_fields["training"].default)
    bases = (_HeadBatches, schedule)
    training = create_model(f"{config.__name__}Training", __base__=bases, __doc__=schedule.__doc__, __module__=__name__)
    return section(
        HeadSection, config, training=(training, Field(default=training(), description="How it is trained."))
    )


def head_config(section: HeadSection, seed: int) -> Any:
    """The section as the room of heads knows it."""
    table = section.model_dump(exclude={"name": True, "concepts": True, "training": {"batch"}})
    if "training" in table:
        table["training"]["seed"] = seed
    return read_head(table)


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    kinds = list_of(section_of(kind) for kind in KINDS)
    return {"heads": (kinds, Field(default=[], description="Next-token heads."))}
