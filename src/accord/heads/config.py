"""What a study says of a head: which kind, what it reads, how it is trained. Every table is `[[heads]]`."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from accord.arguments import checked
from accord.concepts.base import Section
from accord.concepts.train import Schedule
from accord.errors import AccordError, nearest

Reads = Literal["embedding", "latents", "reconstruction"]


class HeadTraining(Schedule):
    """How a head is trained."""

    # A head has a weight for every input and token, far more than a store has rows: without a look at held-out rows
    # it soon learns its training texts by heart (16,000 rows of SmolLM2-135M: within 200 steps).
    steps: int = Field(default=1000, ge=1, description="Updates at most; each sees one batch.")
    lr: float = Field(default=3e-4, gt=0, description="Learning rate of Adam.")
    # The loss is a mean over rows, in nats: its gradients have norms around 1, where those of concept models, which
    # are means over dimensions too, are far smaller.
    clip: float | None = Field(default=1.0, gt=0, description="Largest norm of the whole gradient; null: no clipping.")
    evaluate_every: int = Field(default=50, ge=1, description="Steps between evaluations on held-out embeddings.")
    patience: int | None = Field(
        default=3,
        ge=1,
        description="Evaluations without a better held-out cross-entropy after which training stops, and the best "
        "weights are taken; null: never (and no held-out embeddings are needed).",
    )


class FinetuneTraining(HeadTraining):
    """How a copy of the original head is trained: in smaller steps, as it is good already."""

    lr: float = Field(default=1e-4, gt=0, description="Learning rate of Adam.")


class _HeadFields(Section):
    hard: bool = Field(
        default=False,
        description="Read gates open or shut (above .5) instead of their probabilities; for gated concept models.",
    )


class _TrainedFields(_HeadFields):
    vocabulary: Literal["full", "observed"] = Field(
        default="full",
        description="full: a logit for every token. observed: for those that follow somewhere in the training "
        "texts, which is cheaper; all others share a small probability (Good-Turing).",
    )


class OriginalHead(_HeadFields):
    """The backbone's own head, untouched; the state goes to it through the layers that remain."""

    kind: Literal["original"] = "original"
    reads: Literal["embedding", "reconstruction"] = Field(
        default="reconstruction", description="The layer's state, or what the concepts make of it."
    )


class FinetunedHead(_TrainedFields):
    """A copy of the backbone's final norm and head, trained on what it reads."""

    kind: Literal["finetuned"] = "finetuned"
    reads: Literal["embedding", "reconstruction"] = Field(
        default="reconstruction", description="The layer's state, or what the concepts make of it."
    )
    training: FinetuneTraining = Field(default=FinetuneTraining(), description="How it is trained.")


class NewHead(_TrainedFields):
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


HeadConfig = Annotated[OriginalHead | FinetunedHead | NewHead, Field(discriminator="kind")]
HEAD_KINDS = ("original", "finetuned", "new")


@checked
def read_head(table: dict[str, Any], where: object = "heads") -> HeadConfig:
    """A section from a plain table with its `kind`; raises AccordError naming the key that is wrong."""
    kind = table.get("kind")
    if kind not in HEAD_KINDS:
        raise AccordError("no such kind of head", where=where, got=repr(kind), wanted=nearest(str(kind), HEAD_KINDS))
    try:
        config: HeadConfig = TypeAdapter(HeadConfig).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:]) or kind
        raise AccordError(first["msg"], where=f"{where}: {key}", got=repr(first["input"])) from None
    return config
