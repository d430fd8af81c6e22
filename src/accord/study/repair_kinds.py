"""`[[repair]]`: the sections of the room of repairs, and what a study adds to each."""

from typing import Annotated, Any

from pydantic import Field

from accord.repair.config import DPO, SFT, Consistency, RankAlign, read_repair
from accord.repair.surgery_config import CalibrateConfig, ConceptsConfig, DirectionConfig, ReadoutConfig
from accord.study.verdict_sections import RepairFields


class RankAlignSection(RepairFields, RankAlign):
    """RankAlign: one form learns the other's ranking of the items."""


class SFTSection(RepairFields, SFT):
    """Fine-tuning on gold answers."""


class ConsistencySection(RepairFields, Consistency):
    """Fine-tuning on the model's own answers where its two forms agree."""


class DPOSection(RepairFields, DPO):
    """Direct preference optimisation by one form's ranking."""


class ReadoutSection(RepairFields, ReadoutConfig):
    """Closed form: the generator's log-odds read off the validator's state, and written back."""


class CalibrateSection(RepairFields, CalibrateConfig):
    """The threshold alone: one number added to every validator log-odds."""


class DirectionSection(RepairFields, DirectionConfig):
    """A steering direction found on training items."""


class ConceptsSection(RepairFields, ConceptsConfig):
    """Concepts scaled so that the validator agrees with the generator."""

    own = (*RepairFields.own, "model")

    model: str = Field(
        min_length=1, description="Name of the [[concepts]] whose concepts are edited.", examples=["topk"]
    )


RepairSection = Annotated[
    RankAlignSection
    | SFTSection
    | ConsistencySection
    | DPOSection
    | ReadoutSection
    | CalibrateSection
    | DirectionSection
    | ConceptsSection,
    Field(discriminator="kind"),
]


def repair_config(section: RepairSection) -> Any:
    """The section as the room of repairs knows it."""
    return read_repair(section.settings())
