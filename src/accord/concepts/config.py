"""`[[concepts]]`: every kind of concept model, how they are trained, and what a study adds.

Nothing here imports torch.
"""

import itertools
import math
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from accord.arguments import checked
from accord.errors import AccordError
from accord.kinds import Kinds, add, check_kind, list_of, section, validate
from accord.section import PATH, STEPS, TIMES, FolderName, Layer, Layers, Section


class Settings(BaseModel):
    """A table that Python fills, too: unlike in a study file, numbers and lists may need a conversion to fit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConceptConfig(Settings):
    """What a concept model is made from: a kind is one of these, with `kind: Literal[…]` as its name."""

    if TYPE_CHECKING:
        kind: Any


class TopKFields(ConceptConfig):
    """What `topk`, `batchtopk` and `matryoshka` ask for."""

    size: int = Field(ge=1, le=10 * TIMES, description="Number of concepts (latents).", examples=[2048])
    k: int = Field(default=32, ge=1, description="Active concepts a token.")
    aux_weight: float = Field(
        default=1 / 32, ge=0, description="Weight of the loss that revives dead concepts; 0: off."
    )
    dead_after: int = Field(
        default=100_000, ge=1, description="Training tokens without firing after which a concept is dead."
    )

    @model_validator(mode="after")
    def _k_fits(self) -> "TopKFields":
        if self.k > self.size:
            raise ValueError(f"k = {self.k} is larger than size = {self.size}")
        return self


class TopKConfig(TopKFields):
    """TopK sparse autoencoder: exactly k latents a token."""

    kind: Literal["topk"] = "topk"


class BatchTopKConfig(TopKFields):
    """BatchTopK sparse autoencoder: k latents a token on average over the batch."""

    kind: Literal["batchtopk"] = "batchtopk"


class MatryoshkaConfig(TopKFields):
    """Matryoshka sparse autoencoder: a BatchTopK whose first concepts reconstruct alone, too."""

    kind: Literal["matryoshka"] = "matryoshka"
    prefixes: list[float] = Field(
        default=[1 / 16, 1 / 8, 1 / 4, 1 / 2],
        min_length=1,
        max_length=32,
        description="Shares of the concepts, rising, of which the first so many must reconstruct alone; all must, too.",
    )

    @property
    def sizes(self) -> list[int]:
        """How many concepts each prefix has; without all of them.

        >>> MatryoshkaConfig(size=100, k=4).sizes
        [6, 12, 25, 50]
        """
        return [round(share * self.size) for share in self.prefixes]

    @model_validator(mode="after")
    def _nested(self) -> "MatryoshkaConfig":
        sizes = [0, *self.sizes, self.size]
        if any(a >= b for a, b in itertools.pairwise(sizes)):
            raise ValueError(f"prefixes must rise between 0 and 1; of {self.size} concepts they are {self.sizes}")
        return self


class JumpReLUConfig(ConceptConfig):
    """JumpReLU sparse autoencoder: a threshold for each latent, learned against a price on active ones."""

    kind: Literal["jumprelu"] = "jumprelu"
    size: int = Field(ge=1, le=10 * TIMES, description="Number of concepts (latents).", examples=[2048])
    sparsity: float = Field(
        default=2e-3,
        ge=0,
        description="λ, share of the variance that an active concept must be worth; more gives fewer active.",
    )
    bandwidth: float = Field(
        default=0.05,
        gt=0,
        description="ε, width of the kernel that estimates the thresholds' gradient; thresholds start there.",
    )
    warmup: float = Field(default=0.1, ge=0, le=1, description="Share of training over which λ rises from 0.")
    dead_after: int = Field(
        default=100_000, ge=1, description="Training tokens without firing after which a concept is reseeded."
    )


class L1Fields(ConceptConfig):
    """What `l1` and `transcoder` ask for."""

    size: int = Field(ge=1, le=10 * TIMES, description="Number of concepts (latents).", examples=[2048])
    sparsity: float = Field(
        default=1.0, ge=0, description="λ, price of strength against squared error; more gives fewer active."
    )
    warmup: float = Field(default=0.1, ge=0, le=1, description="Share of training over which λ rises from 0.")
    dead_after: int = Field(
        default=100_000, ge=1, description="Training tokens without firing after which a concept is reseeded."
    )


class L1Config(L1Fields):
    """L1 sparse autoencoder: ReLU latents with a sparsity price."""

    kind: Literal["l1"] = "l1"


class SupervisedConfig(L1Fields):
    """Labelled concepts, one a label of the texts, and a rest that is kept from telling the labels."""

    kind: Literal["supervised"] = "supervised"
    labels: list[str] = Field(
        min_length=2,
        max_length=1000,
        description="Labels of [text] that have a concept each, its number in this list. Of labels that are "
        "numbers: two names, for those below 0 and those above.",
        examples=[["negative", "positive"]],
    )
    size: int = Field(ge=1, le=10 * TIMES, description="Number of concepts without a label.", examples=[1024])
    label_weight: float = Field(
        default=1.0, ge=0, description="Weight of the cross-entropy of labelled concepts with a token's label."
    )
    adversary_weight: float = Field(
        default=1.0,
        ge=0,
        description="Weight of keeping a linear adversary, which tells labels by the rest, at chance.",
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must differ: {self.labels}")
        return self


class TranscoderConfig(L1Fields):
    """Transcoder: ReLU latents of one layer's states that reconstruct another's."""

    kind: Literal["transcoder"] = "transcoder"


class BernoulliConfig(ConceptConfig):
    """Bernoulli sparse autoencoder: on/off concepts at a prior rate."""

    kind: Literal["bernoulli"] = "bernoulli"
    size: int = Field(ge=1, le=10 * TIMES, description="Number of concepts.", examples=[2048])
    prior: float = Field(default=0.05, gt=0, lt=1, description="π, the share of tokens a concept should be on for.")
    rate_weight: float = Field(
        default=10.0, ge=0, description="β, weight of the divergence of concepts' rates from the prior."
    )
    temperature: float = Field(default=0.5, gt=0, description="τ of the relaxed gates in training; lower is harder.")
    dead_after: int = Field(
        default=100_000, ge=1, description="Training tokens without firing after which a concept is reseeded."
    )


class LCBLMFields(ConceptConfig):
    """What both kinds of LCBLM ask for."""

    concepts: int = Field(default=128, ge=2, le=TIMES, description="K, number of concepts.")
    width: int = Field(default=16, ge=1, le=TIMES, description="E, numbers in a concept's embedding.")
    prior: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="π, share of tokens a concept should be on for; keep K·π from 2 to 7.",
    )
    encoder: Literal["gelu", "linear", "mlp"] = Field(
        default="gelu",
        description="From token to concept embeddings: linear + GELU, linear, or a hidden layer of d.",
    )
    similarity: Literal["cosine", "inner", "distance"] = Field(
        default="cosine",
        description="Of concept embedding and prototype; distance: a learned offset minus it.",
    )
    decoder: Literal["stacked", "sum"] = Field(
        default="stacked",
        description="One linear map of all concept embeddings side by side, or of their sum.",
    )
    rate_weight: float = Field(
        default=4.0, ge=0, description="β, weight of the divergence of concepts' rates from the prior."
    )
    entropy_weight: float = Field(
        default=1.0, ge=0, description="λ_ent, weight of the gates' entropy: more makes them surer."
    )
    ortho_weight: float = Field(
        default=0.0, ge=0, description="λ_ortho, weight of the overlap of concepts' decoder blocks."
    )
    warmup: float = Field(
        default=0.2, ge=0, le=1, description="Share of training over which those three weights rise from 0."
    )
    temperature: float = Field(default=0.5, gt=0, description="τ of the relaxed gates in training; lower is harder.")
    noise: float = Field(default=0.1, ge=0, description="σ0, noise on concept embeddings in training.")
    dead_after: int = Field(
        default=100_000, ge=1, description="Training tokens without firing after which a concept is reseeded."
    )

    @model_validator(mode="after")
    def _blocks_to_compare(self) -> "LCBLMFields":
        if self.decoder == "sum" and self.ortho_weight > 0:
            raise ValueError('ortho_weight compares decoder blocks, which decoder = "sum" has not: set it to 0')
        return self


class LCBLMConfig(LCBLMFields):
    """LCBLM: gated concepts, each with its own encoder and embedding."""

    kind: Literal["lcblm"] = "lcblm"
    encoder: Literal["gelu", "linear", "mlp"] = Field(
        default="linear",
        description="From token to concept embeddings: linear + GELU, linear, or a hidden layer of d.",
    )
    prototype_weight: float = Field(
        default=0.1,
        ge=0,
        description="γ, pull of a concept's embedding to its prototype where on, to 0 where off.",
    )
    forming: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of training in which a concept writes its prototype alone; after it, its embedding comes in "
        "over another `warmup`. 0: embeddings from the start.",
    )

    @model_validator(mode="after")
    def _formed_in_time(self) -> Self:
        if self.forming and self.forming + self.warmup >= 1:
            raise ValueError("embeddings come in after `forming`, over `warmup`: the two together must be below 1")
        return self


class LCBLMSharedConfig(LCBLMFields):
    """LCBLM with a shared encoder: gated concepts, one embedding a token."""

    kind: Literal["lcblm-shared"] = "lcblm-shared"


class Origin(Settings):
    """Where a dictionary comes from, as far as its files say."""

    tool: str = Field(description="Whose format it was in.")
    model: str | None = Field(default=None, description="The language model, as that tool calls it.")
    reads: str | None = Field(default=None, description="The place in that model that it reads, as that tool calls it.")
    writes: str | None = Field(default=None, description="The place that a transcoder reconstructs.")
    layer: int | None = Field(default=None, description="The layer that it reads; null where `reads` is no layer.")
    target_layer: int | None = Field(default=None, description="The layer that a transcoder reconstructs.")
    caution: str | None = Field(default=None, description="Why it has no layer although `reads` looks like one.")


class ImportedConfig(ConceptConfig):
    """A dictionary of another tool."""

    kind: Literal["imported"] = "imported"
    size: int = Field(ge=1, le=10 * TIMES, description="Number of concepts (latents).", examples=[2048])
    activation: Literal["relu", "topk", "jumprelu", "gated"] = Field(description="What pre-activations go through.")
    k: int | None = Field(default=None, ge=1, description="Active concepts a token (topk).")
    normalise: Literal["none", "layer_norm", "constant_norm"] = Field(
        default="none", description="What is done to every embedding first, and undone last."
    )
    d_out: int | None = Field(default=None, ge=1, description="Width of what a transcoder reconstructs.")
    skip: bool = Field(default=False, description="Whether a transcoder adds a linear map of what it reads.")
    origin: Origin = Field(description="Where it comes from.")

    @model_validator(mode="after")
    def _fits(self) -> "ImportedConfig":
        if (self.activation == "topk") != (self.k is not None):
            raise ValueError("k goes with topk, and topk with k")
        if self.k is not None and self.k > self.size:
            raise ValueError(f"k = {self.k} is larger than size = {self.size}")
        if self.skip and self.d_out is None:
            raise ValueError("only a transcoder (d_out) has a skip connection")
        return self


class Pace(Settings):
    """How far each update moves."""

    steps: int = Field(default=4000, ge=1, le=STEPS, description="Updates; each sees one batch.")
    lr: float = Field(default=1e-3, gt=0, description="Learning rate of Adam.")
    warmup: float = Field(
        default=0.02, ge=0, le=1, description="Share of steps over which the learning rate rises from 0."
    )
    decay: float = Field(default=0.2, ge=0, le=1, description="Share of steps, the last, over which it falls to 0.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay (AdamW).")
    # Losses are means over rows and dimensions, so a gradient of norm 1 never comes. At 0.03 nearly every
    # step is brought to one length; otherwise Adam remembers the large first gradients for a thousand steps.
    clip: float | None = Field(
        default=0.03, gt=0, description="Largest norm of the whole gradient (in Python None: no clipping)."
    )


class Schedule(Pace):
    """How anything is trained."""

    log_every: int = Field(default=50, ge=1, description="Steps between rows of the curve.")
    evaluate_every: int = Field(default=500, ge=1, description="Steps between evaluations on held-out embeddings.")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Evaluations without a better held-out result after which training stops; without it never.",
        examples=[5],
    )
    checkpoint_every: int = Field(default=500, ge=1, description="Steps between checkpoints, where a folder is given.")
    seed: int = Field(default=0, ge=0, description="Of the noise in the losses and of reseeding.")

    def reseeds(self, done: int) -> bool:
        """Whether dead concepts are reseeded after `done` updates."""
        return False


class Training(Schedule):
    """How a concept model is trained."""

    reseed_every: int = Field(
        default=250, ge=1, description="Steps between reseedings of dead concepts, until the decay."
    )

    def reseeds(self, done: int) -> bool:
        """Every `reseed_every` updates, until the decay.

        >>> [done for done in range(1, 1001) if Training(steps=1000, reseed_every=250, decay=0.2).reseeds(done)]
        [250, 500, 750]
        """
        return done % self.reseed_every == 0 and done < self.steps * (1 - self.decay)


class Batches(Section):
    """What a study adds to a schedule; the seed is not among its keys: the study's seeds are taken."""

    @model_validator(mode="before")
    @classmethod
    def _no_seed(cls, values: Any) -> Any:
        if isinstance(values, dict) and "seed" in values:
            raise ValueError("no seed here: every section is trained with each of the study's seeds")
        return values


class ConceptTraining(Batches, Training):
    """How a concept model is trained."""

    batch: int = Field(default=2048, ge=1, le=TIMES, description="Embeddings of an update.")
    epochs: float | None = Field(
        default=None, gt=0, le=10_000, description="Times that each embedding is seen; sets steps.", examples=[20.0]
    )

    def schedule(self, tokens: int, seed: int) -> Training:
        """For the trainer, on so many embeddings.

        >>> ConceptTraining(batch=100, epochs=20).schedule(tokens=5000, seed=0).steps
        1000
        """
        training = Training(**self.model_dump(exclude={"batch", "epochs"}) | {"seed": seed})
        if self.epochs is None:
            return training
        return training.model_copy(update={"steps": math.ceil(self.epochs * tokens / self.batch)})


class ConceptSection(Section):
    """What every `[[concepts]]` has beside the keys of its kind."""

    needs: ClassVar[tuple[str, ...]] = ("text",)
    transcodes: ClassVar[bool] = False
    """Does it give other states than those that it reads? What a study does with concepts is then not for it."""

    if TYPE_CHECKING:  # the kind's
        kind: Any

    name: FolderName | None = Field(
        default=None, description="What its folders and rows are called; the kind by default.", examples=["concepts"]
    )
    layers: Layers | None = Field(
        default=None, description="Layers to make one on each of; the backbone's by default.", examples=["last"]
    )

    @property
    def title(self) -> str:
        """Its name in folders and rows."""
        return self.name or str(self.__dict__["kind"])


class TrainedSection(ConceptSection):
    """What a concept model that the study trains has beside."""

    training: ConceptTraining = Field(default=ConceptTraining(), description="How it is trained.")

    @property
    def config(self) -> ConceptConfig:
        """The settings of its kind, without the keys that a study adds."""
        return read_config(self.model_dump(include=set(KINDS[self.kind][0].model_fields)))


class ImportedSection(ConceptSection):
    """A dictionary that another tool trained: SAELens, sparsify or Gemma Scope."""

    kind: Literal["imported"] = "imported"
    source: str = Field(
        min_length=1,
        description="Its folder, or its place on the hub, org/name/folder. The layer must be the one that it reads.",
        examples=["google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"],
        json_schema_extra=PATH,
    )


class TranscoderSection(TrainedSection, TranscoderConfig):
    """Transcoder: ReLU latents of one layer's states that reconstruct another's."""

    transcodes: ClassVar[bool] = True
    layers: Layers = Field(description="Layers to read; one is made on each.", examples=[[0]])
    target: Layer = Field(default="last", description="The layer above these whose states it reconstructs.")


_OWN: dict[Any, type[ConceptSection]] = {ImportedConfig: ImportedSection, TranscoderConfig: TranscoderSection}
"""settings -> the section, where a study adds more than to other kinds"""

KINDS: Kinds = {}
"""kind -> (its settings, the model that is made from them)"""


def register(config: type[ConceptConfig], model: str) -> None:
    """Add a kind of concept model; `[[concepts]]`, `accord.concepts.build` and `load` then take it.

    Args:
        config: its settings; `kind: Literal["name"] = "name"` is its name.
        model: "module:Class" of the `ConceptModel` that `Class(config, d)` makes; imported when first needed.
    """
    add(KINDS, config, model)


register(TopKConfig, "accord.concepts.topk:TopK")
register(BatchTopKConfig, "accord.concepts.batchtopk:BatchTopK")
register(MatryoshkaConfig, "accord.concepts.matryoshka:Matryoshka")
register(JumpReLUConfig, "accord.concepts.jumprelu:JumpReLU")
register(L1Config, "accord.concepts.l1:L1")
register(SupervisedConfig, "accord.concepts.supervised:Supervised")
register(TranscoderConfig, "accord.concepts.transcoder:Transcoder")
register(BernoulliConfig, "accord.concepts.bernoulli:Bernoulli")
register(LCBLMConfig, "accord.concepts.lcblm:LCBLM")
register(LCBLMSharedConfig, "accord.concepts.lcblm_shared:LCBLMShared")
register(ImportedConfig, "accord.concepts.imported:Imported")


@checked
def read_config(table: dict[str, Any], where: object = "concepts") -> ConceptConfig:
    """A section from a plain table with its `kind`; raises AccordError naming the key that is wrong.

    >>> read_config({"kind": "topk", "size": 512}).k
    32
    """
    config: ConceptConfig = read_kind(KINDS, table, "concept model", where)
    return config


def read_kind(kinds: Kinds, table: dict[str, Any], what: str, where: object) -> Any:
    """The settings in a plain table, of one of these kinds; raises AccordError naming the key that is wrong."""
    kind = check_kind(kinds, table, what, where)
    try:
        return validate(kinds, table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:]) or kind
        raise AccordError(first["msg"], where=f"{where}: {key}", got=repr(first["input"])) from None


def section_of(kind: str) -> type[ConceptSection]:
    """The section of a kind: its keys, and what a study adds."""
    config = KINDS[kind][0]
    return _OWN.get(config) or _trained(config)


@cache
def _trained(config: Any) -> type[TrainedSection]:
    return section(TrainedSection, config)


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    kinds = list_of(section_of(kind) for kind in KINDS)
    return {"concepts": (kinds, Field(default=[], description="Concept models."))}
