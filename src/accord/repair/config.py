"""What a study says of a repair: which kind, and how it is trained. Every table is `[[repair]]`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from accord.arguments import checked
from accord.concepts.train import Pace
from accord.errors import AccordError, nearest
from accord.repair.surgery_config import (
    CalibrateConfig,
    ConceptsConfig,
    DirectionConfig,
    ReadoutConfig,
    allow_low_mass,
)
from accord.tasks import Task

Generated = Literal["task", "first", "answer"]
Direction = Literal["g2v", "v2g"]


class Trained(Pace):
    """How a repair is trained: the part that all trained kinds share."""

    steps: int = Field(default=80, ge=1, description="Updates; each sees one batch.")
    lr: float = Field(default=3e-4, gt=0, description="Learning rate of AdamW.")
    warmup: float = Field(
        default=0.1, ge=0, le=1, description="Share of steps over which the learning rate rises from 0."
    )
    decay: float = Field(
        default=0.5, ge=0, le=1, description="Share of steps, the last, over which it falls to 0; 0 keeps it constant."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay (AdamW).")
    clip: float | None = Field(default=1.0, gt=0, description="Largest norm of the whole gradient; null: no clipping.")
    batch: int = Field(default=24, ge=2, description="Items of an update.")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Pass so many prompts through the model at a time, with the gradient of the whole batch; null: all "
        "at once, which is faster where memory allows it.",
    )
    full: bool = Field(default=False, description="Train all weights and save the whole model, in place of an adapter.")
    r: int = Field(default=8, ge=1, description="Rank of the adapter: LoRA on linear layers and experts, not the head.")
    alpha: float = Field(default=16, gt=0, description="Its scale: what it adds is multiplied by alpha / r.")
    dropout: float = Field(
        default=0.05, ge=0, lt=1, description="Dropout before the adapter, in training; experts have none."
    )
    checkpoint_every: int = Field(default=20, ge=1, description="Steps between checkpoints.")
    allow_low_mass: bool = allow_low_mass()


class RankAlign(Trained):
    """One form learns the other's ranking of the items (Rodriguez et al., arXiv 2504.11381).

    For two items of a batch that the teaching form's frozen scores tell apart by more than `delta`, the loss is
    −log σ(s(higher) − s(lower)), s being the learning form's score: label-free.
    """

    kind: Literal["rankalign"] = "rankalign"
    direction: Literal["g2v", "v2g", "both"] = Field(
        default="g2v", description="Who teaches whom: g2v, the generator the validator; v2g, the other way; both."
    )
    score: Literal["yes", "logodds"] = Field(
        default="logodds",
        description="What the validator learns to rank by: yes, log p of the one answer Yes (as in the paper); "
        "logodds, all words for yes against all words for no.",
    )
    generated: Generated = Field(
        default="task",
        description="The generator's score: task, what its log-odds are of (see answer_score); first, of the answer's "
        "first token; answer, log p of all its tokens.",
    )
    reference: bool = Field(
        default=False, description="Subtract the base model's own difference of the learning form's two scores."
    )
    delta: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        default="auto",
        description="How many nats two items must differ by in the teacher's score; auto: the median difference of two "
        "training items, so that the clearer half of all pairs is learnt.",
    )
    weight: Annotated[float, Field(ge=0, le=1)] | Literal["gold"] = Field(
        default=0.5,
        description="With direction both, the share of g2v in the loss; gold: each pair of a right and a wrong item is "
        "taught by the forms that rank the right one higher, all other pairs by both alike. Uses the gold labels.",
    )


class SFT(Trained):
    """Fine-tuning on gold answers: each form continues with what is right."""

    kind: Literal["sft"] = "sft"
    form: Literal["generator", "validator", "union", "joint"] = Field(
        default="union",
        description="Which form is trained: one of them; union, each item in both; joint, both forms of an item in one "
        "text, in both orders.",
    )
    positives_only: bool = Field(default=False, description="Train on items with gold yes alone.")
    negation: bool = Field(
        default=False,
        description="Items with gold no enter the generator form too, by the task's negated wording (are not a kind "
        "of); else they enter the validator form alone.",
    )
    batch: int = Field(default=16, ge=2, description="Items of an update.")


class Consistency(Trained):
    """Fine-tuning on the model's own answers where its two forms agree, in rounds (Li et al., arXiv 2310.01846).

    The generator says yes where its log-odds are above their median over the items asked, or where the rank of the
    answer's first token is at most `rank`; the validator where its log-odds are above 0. Label-free.
    """

    kind: Literal["consistency"] = "consistency"
    rounds: int = Field(default=2, ge=1, description="How often the forms are measured anew; steps are shared out.")
    items: int = Field(default=400, ge=2, description="Items that a round asks, at most; each round draws its own.")
    rank: int | None = Field(
        default=None,
        ge=1,
        description="Largest rank of the answer's first token at which the generator says yes; null: the median.",
    )
    batch: int = Field(default=16, ge=2, description="Items of an update.")


class DPO(Trained):
    """Direct preference optimisation: one form's ranking gives the other's preferred continuations.

    g2v: the validator prompt prefers Yes to No where the generator's log-odds are above their median over the training
    items, else No to Yes. v2g: of two answers to one generator prompt, the one with the higher validator log-odds is
    preferred. Both label-free.
    """

    kind: Literal["dpo"] = "dpo"
    direction: Direction = Field(
        default="g2v", description="Who teaches whom: g2v, the generator the validator; v2g, the other way."
    )
    beta: float = Field(default=0.1, gt=0, description="How dear it is to leave the base model.")
    generated: Generated = Field(
        default="task",
        description="With v2g, the generator's score: log p of what its log-odds are of (task, see answer_score), of "
        "the answer's first token (first), or of all its tokens (answer).",
    )


TrainedConfig = Annotated[SFT | Consistency | DPO | RankAlign, Field(discriminator="kind")]
RepairConfig = Annotated[
    SFT | Consistency | DPO | RankAlign | ReadoutConfig | CalibrateConfig | DirectionConfig | ConceptsConfig,
    Field(discriminator="kind"),
]
_ALL: tuple[type[BaseModel], ...] = (
    SFT,
    Consistency,
    DPO,
    RankAlign,
    ReadoutConfig,
    CalibrateConfig,
    DirectionConfig,
    ConceptsConfig,
)
KINDS: dict[str, type[BaseModel]] = {section.model_fields["kind"].default: section for section in _ALL}


def check_labels(task: Task, config: BaseModel) -> None:
    """AccordError where a validator chooses among labels, and a repair moves or ranks by yes and no."""
    if not isinstance(config, SFT):
        task.labels.check_yes_or_no("any repair but sft", task.name)


@checked
def read_repair(table: dict[str, Any], where: object = "repair") -> Any:
    """A section from a plain table with its `kind`; raises AccordError naming the key that is wrong."""
    kind = table.get("kind")
    if kind not in KINDS:
        raise AccordError("no such kind of repair", where=where, got=repr(kind), wanted=nearest(str(kind), KINDS))
    try:
        return TypeAdapter(RepairConfig).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][1]) if len(first["loc"]) > 1 else str(kind)
        wanted = nearest(key, KINDS[str(kind)].model_fields) if first["type"] == "extra_forbidden" else first["msg"]
        problem = f"{kind} has no key {key!r}" if first["type"] == "extra_forbidden" else f"the key {key!r} is wrong"
        raise AccordError(problem, where=where, got=repr(first["input"]), wanted=wanted) from None
