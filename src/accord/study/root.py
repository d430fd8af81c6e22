"""The study file as a whole. Importing this imports torch, which the sections of concepts and heads need."""

from pydantic import Field

from accord.study.concept_sections import ConceptSection, HeadSection
from accord.study.explain_sections import ExplainSection
from accord.study.name_sections import NamesSection
from accord.study.pathway_sections import PathwaySection
from accord.study.repair_kinds import RepairSection
from accord.study.repair_sections import DamageSection
from accord.study.sections import Backbone, FolderName, GapSection, SearchSection, Section
from accord.study.steering_sections import SteeringSection
from accord.study.text_sections import PerplexitySection, TextSection
from accord.study.verdict_sections import VerdictSection
from accord.tasks import CustomTask


class Study(Section):
    """One study: a model, the questions put to it, and what is done about the answers."""

    name: FolderName = Field(
        description="Name of the study and of its run folder, runs/NAME; letters, digits, . _ -",
        examples=["my-study"],
    )
    seeds: list[int] = Field(
        default=[0],
        min_length=1,
        description="Random seeds. Concepts, heads and texts are made with each of them; [[gap]] and [text] use only "
        "the first: for the split and the choice of items under `limit`; the scores themselves are "
        "deterministic.",
    )
    backbone: Backbone
    tasks: dict[str, CustomTask] = Field(default={}, description="Tasks of your own.")
    gap: list[GapSection] = Field(default=[], description="Gap measurements.")
    text: TextSection | None = Field(default=None, description="Texts to learn from.")
    concepts: list[ConceptSection] = Field(default=[], description="Concept models.")
    heads: list[HeadSection] = Field(default=[], description="Next-token heads.")
    perplexity: PerplexitySection | None = Field(default=None, description="Texts written and judged.")
    search: SearchSection | None = Field(default=None, description="How accord search looks for the best values.")
    names: NamesSection | None = Field(default=None, description="Concepts named, and the names scored.")
    steering: SteeringSection | None = Field(default=None, description="Concepts turned off and up, and what it does.")
    explain: ExplainSection | None = Field(default=None, description="The gap told by concepts.")
    repair: list[RepairSection] = Field(default=[], description="Repairs of the gap.")
    verdict: VerdictSection | None = Field(default=None, description="What repairs are tried on.")
    damage: DamageSection | None = Field(default=None, description="What repairs cost.")
    pathway: PathwaySection | None = Field(default=None, description="Which way repairs go.")
