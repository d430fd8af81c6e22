"""`[[concepts]]` and `[[heads]]`: the sections of their rooms, and what a study adds (name, layers, batches)."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from accord.concepts.batchtopk import BatchTopKConfig
from accord.concepts.bernoulli import BernoulliConfig
from accord.concepts.kinds import AnyConfig, read_config
from accord.concepts.l1 import L1Config
from accord.concepts.lcblm import LCBLMConfig
from accord.concepts.lcblm_shared import LCBLMSharedConfig
from accord.concepts.topk import TopKConfig
from accord.concepts.train import Training
from accord.heads.config import (
    FinetunedHead,
    FinetuneTraining,
    HeadConfig,
    HeadTraining,
    NewHead,
    OriginalHead,
    read_head,
)
from accord.study.sections import FolderName, Layers


class _Batches(BaseModel):
    """What a study adds to a schedule; the seed it gives itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _no_seed(cls, values: Any) -> Any:
        if isinstance(values, dict) and "seed" in values:
            raise ValueError("no seed here: every section is trained with each of the study's seeds")
        return values


class ConceptTraining(_Batches, Training):
    """How a concept model is trained."""

    batch: int = Field(default=2048, ge=1, description="Embeddings of an update.")
    epochs: float | None = Field(
        default=None, gt=0, description="Times that each embedding is seen; sets steps.", examples=[20.0]
    )

    def schedule(self, tokens: int, seed: int) -> Training:
        """For the trainer, on so many embeddings."""
        table = self.model_dump(exclude={"batch", "epochs"}) | {"seed": seed}
        if self.epochs is not None:
            table["steps"] = math.ceil(self.epochs * tokens / self.batch)
        return Training(**table)


class _HeadBatches(_Batches):
    batch: int = Field(default=512, ge=1, description="Embeddings of an update.")


class NewHeadTraining(_HeadBatches, HeadTraining):
    """How a new head is trained."""


class FinetunedHeadTraining(_HeadBatches, FinetuneTraining):
    """How a copy of the original head is trained."""


class ConceptFields(BaseModel):
    """What every `[[concepts]]` has beside the keys of its kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

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


class TrainedFields(ConceptFields):
    """What those have beside that which the study trains."""

    own: ClassVar[set[str]] = {"name", "layers", "training"}
    training: ConceptTraining = Field(default=ConceptTraining(), description="How it is trained.")

    @property
    def config(self) -> AnyConfig:
        """The section as the room of concepts knows it."""
        return read_config(self.model_dump(exclude=self.own))


class TopKSection(TrainedFields, TopKConfig):
    """TopK sparse autoencoder: exactly k latents a token."""


class BatchTopKSection(TrainedFields, BatchTopKConfig):
    """BatchTopK sparse autoencoder: k latents a token on average."""


class L1Section(TrainedFields, L1Config):
    """Sparse autoencoder with an L1 penalty."""


class BernoulliSection(TrainedFields, BernoulliConfig):
    """Sparse autoencoder with gates that are Bernoulli variables."""


class LCBLMSection(TrainedFields, LCBLMConfig):
    """LCBLM: gated concepts, each with its own encoder and embedding."""


class LCBLMSharedSection(TrainedFields, LCBLMSharedConfig):
    """LCBLM with one embedding of a token for all concepts."""


class ImportedSection(ConceptFields):
    """A dictionary that another tool trained: SAELens, sparsify or Gemma Scope."""

    kind: Literal["imported"] = "imported"
    source: str = Field(
        min_length=1,
        description="Its folder, or its place on the hub, org/name/folder. The layer must be the one that it reads.",
        examples=["google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"],
    )


TrainedSection = TopKSection | BatchTopKSection | L1Section | BernoulliSection | LCBLMSection | LCBLMSharedSection
ConceptSection = Annotated[TrainedSection | ImportedSection, Field(discriminator="kind")]


class HeadFields(BaseModel):
    """What every `[[heads]]` has beside the keys of its kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: FolderName | None = Field(
        default=None,
        description="Last part of its row's name; without it what is read and by which head.",
        examples=["observed"],
    )
    concepts: str = Field(
        default="all", min_length=1, description="Name of the [[concepts]] that it reads, or all: a row for each."
    )


class OriginalHeadSection(HeadFields, OriginalHead):
    """The backbone's own head, untouched."""


class FinetunedHeadSection(HeadFields, FinetunedHead):
    """A copy of the backbone's final norm and head, trained on what it reads."""

    training: FinetunedHeadTraining = Field(default=FinetunedHeadTraining(), description="How it is trained.")


class NewHeadSection(HeadFields, NewHead):
    """A linear map to the vocabulary, trained on what it reads."""

    training: NewHeadTraining = Field(default=NewHeadTraining(), description="How it is trained.")


HeadSection = Annotated[OriginalHeadSection | FinetunedHeadSection | NewHeadSection, Field(discriminator="kind")]


def head_config(section: HeadSection, seed: int) -> HeadConfig:
    """The section as the room of heads knows it."""
    table = section.model_dump(exclude={"name": True, "concepts": True, "training": {"batch"}})
    if "training" in table:
        table["training"]["seed"] = seed
    return read_head(table)
