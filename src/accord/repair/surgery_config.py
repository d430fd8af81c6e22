"""What may be chosen about repairs without training: `kind` says which. Nothing here imports torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Factors = Annotated[list[float], Field(min_length=1)]
Positives = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
LayerNumbers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def allow_low_mass() -> Any:
    """The key that every repair has."""
    return Field(
        default=False,
        description="Repair although the model seldom answers with the label words (less than 10 % of the probability, "
        "mean over training items), so that their log-odds are mostly noise. sft, which learns from gold labels alone, "
        "never asks.",
    )


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    allow_low_mass: bool = allow_low_mass()


class _Searched(_Section):
    """What every repair has that is chosen on held-out items and texts."""

    held_out: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="Share of the training items that settings are chosen on; whole groups, where items have them.",
    )
    budget: float = Field(
        default=1.008,
        gt=1,
        description="Largest ratio of perplexities, repaired to base, on texts that the repair was not fitted to. "
        "A little below what may be lost, as other texts differ.",
    )


class ReadoutConfig(_Searched):
    """Ridge regression from the validator's state to the generator's log-odds, written back as a readout."""

    kind: Literal["readout"] = "readout"
    layers: LayerNumbers | None = Field(
        default=None, description="Layers to try; without it all.", examples=[[16, 18, 20]]
    )
    window: int = Field(
        default=5,
        ge=1,
        description="Neighbouring layers that are read together, around the best single one; 1: one layer alone.",
    )
    spread: float = Field(
        default=1.5,
        gt=0,
        description="Standard deviation of the wanted log-odds over training items, in nats.",
    )
    penalties: Positives = Field(
        default=[0.1, 0.3, 1.0],
        description="Ridge penalties to try, on standardised states.",
    )
    quiet_weights: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = Field(
        default=[0.03, 0.1, 0.3],
        description="Weights to try of ordinary text, where the readout should give 0.",
    )
    strengths: Positives = Field(default=[0.5, 0.75, 1.0], description="Factors on the readout to try.")
    positions: int = Field(
        default=1500, ge=1, description="Positions of ordinary text to fit on; as many others to choose on."
    )


class CalibrateConfig(_Section):
    """The threshold alone: the same number added to every validator log-odds."""

    kind: Literal["calibrate"] = "calibrate"
    by: Literal["share", "gold"] = Field(
        default="share",
        description="share: needs no labels, affirms as many training items as `share` says; "
        "gold: best accuracy on training items.",
    )
    share: float = Field(default=0.5, gt=0, lt=1, description="Share of the items that should be affirmed.")
    positions: int = Field(default=1500, ge=1, description="Positions of ordinary text that the cost is measured on.")


class _Run(_Searched):
    """What repairs have whose every setting must be run to be judged."""

    items: int = Field(default=100, ge=10, description="Held-out items to judge a setting on, at most.")
    texts: int = Field(default=40, ge=1, description="Texts to judge a setting on.")


class DirectionConfig(_Run):
    """Difference of means between validator states of affirmed and denied items, used to steer."""

    kind: Literal["direction"] = "direction"
    mode: Literal["add", "amplify"] = Field(
        default="add",
        description="add: the direction to every state (moves the threshold, hardly the order); "
        "amplify: what a state has along it (moves the order).",
    )
    by: Literal["generator", "gold"] = Field(
        default="generator",
        description="Who affirms: generator: log-odds above their median, no labels needed; gold: the labels.",
    )
    layers: LayerNumbers | None = Field(
        default=None, description="Layers to try; without it eight, evenly spaced.", examples=[[12, 16, 20]]
    )
    positions: int = Field(
        default=3, ge=1, description="Last positions of the prompt to take a direction from, each tried."
    )
    tries: int = Field(
        default=3, ge=1, description="Layers, the best by how well the direction separates, whose factors are run."
    )
    factors: Factors = Field(
        default=[-1.0, 0.5, 1.0, 2.0],
        description="Factors to try: of the difference of means (add), or of a state's part along it (amplify).",
    )


class ConceptsConfig(_Run):
    """Concepts scaled so that what they say to the validator agrees with the generator."""

    kind: Literal["concepts"] = "concepts"
    counts: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        default=[4, 16, 64], description="Numbers of concepts to edit to try."
    )
    factors: Positives = Field(
        default=[0.5, 1.0, 2.0],
        description="Steps to try: concepts that agree are multiplied by 1 + step, the others by 1 − step, at least 0.",
    )
    attributed: int = Field(default=200, ge=10, description="Training items that concepts are ranked on, at most.")


SurgeryConfig = Annotated[
    ReadoutConfig | CalibrateConfig | DirectionConfig | ConceptsConfig, Field(discriminator="kind")
]
"""A repair without gradient training, by its `kind`."""
