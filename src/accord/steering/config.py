"""`[steering]`: which concepts are turned off and up, how far, and how the effects are measured."""

from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, model_validator

from accord.errors import MissingLibrary
from accord.section import PATH, TIMES, Section


def _as_names(value: object) -> Any:
    """One message, as in `accord.section.Layers`."""
    if value == "all" or (isinstance(value, list) and value and all(isinstance(label, str) for label in value)):
        return value
    raise ValueError('"all" or a list of names of [[concepts]] such as ["topk"]')


class SteeringSection(Section):
    """Turn concepts of every concept model off and up, and measure whether that does what it should."""

    needs: ClassVar[tuple[str, ...]] = ("text", "concepts")

    concepts: Annotated[Literal["all"] | list[str], PlainValidator(_as_names)] = Field(
        default="all", description="Which concept models: all, or a list of names of [[concepts]]."
    )
    number: int = Field(
        default=20, ge=1, description="Concepts, drawn at random, whose promoted tokens are followed on held-out texts."
    )
    promoted: int = Field(default=10, ge=1, le=TIMES, description="Promoted tokens of each.")
    places: int = Field(default=100, ge=1, description="Positions at most at which each concept and dose is measured.")
    texts: int = Field(default=100, ge=2, description="Held-out texts that they are taken from.")
    factors: list[Annotated[float, Field(ge=0)]] = Field(
        default=[0.0, 0.5, 2.0], description="Doses as factors of the strength where active; 0.0 is off."
    )
    strengths: list[Annotated[float, Field(ge=0)]] = Field(
        default=[4.0],
        description="Doses at every position, in units of the concept's mean strength where active.",
    )
    added: list[Annotated[float, Field(gt=0)]] = Field(
        default=[2.0, 4.0, 8.0],
        description="Doses at every position, in units of what the concept writes on average where active: the fair "
        "scale between kinds, as a gate that is set where it was off writes little.",
    )
    written: int | None = Field(
        default=None,
        ge=0,
        le=TIMES,
        description="Concepts that go most with the label of [text], steered while texts are written; 0 for none. "
        "Without it 3 where [text] has a label.",
    )
    by: Literal["tokens", "strength"] = Field(
        default="tokens",
        description="What of a concept goes with the label: the tokens that it promotes (tokens), or how strong it is "
        "in texts that have it (strength).",
    )
    scorer: Literal["sentiment", "classifier"] = Field(
        default="sentiment",
        description="What tells the label of a written text: sentiment (VADER, a lexicon), or a classifier trained on "
        "the backbone's embeddings and the labels.",
    )
    label: str | None = Field(
        default=None,
        description='With labels that are no numbers: the one that concepts are steered toward, such as "sports".',
    )
    prompts: list[str] | None = Field(
        default=None,
        min_length=1,
        description="What texts are begun with; without it openings about a film.",
        examples=[["The film was"]],
    )
    samples: int = Field(default=4, ge=1, le=TIMES, description="Texts of each prompt and dose.")
    max_new_tokens: int = Field(default=20, ge=1, le=TIMES, description="Tokens after which a text is cut.")
    judge: str | None = Field(
        default=None,
        min_length=1,
        description="Model that tells how fluent the texts are; without it only repetition is measured.",
        examples=["gemma3-270m"],
        json_schema_extra=PATH,
    )
    keep_error: bool = Field(
        default=True, description="Leave alone what the concepts do not explain of a state, or drop it."
    )

    @model_validator(mode="after")
    def _some_dose(self) -> "SteeringSection":
        if not self.factors and not self.strengths and not self.added:
            raise ValueError("name a dose: factors, strengths or added")
        if 1.0 in self.factors:
            raise ValueError("a factor of 1 changes nothing: leave it out of factors")
        return self


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {
        "steering": (
            SteeringSection | None,
            Field(default=None, description="Concepts turned off and up, and what it does."),
        )
    }


def check_sentiment() -> None:
    """MissingLibrary unless the package that scores sentiment is installed."""
    if find_spec("vaderSentiment") is None:
        raise MissingLibrary(
            "Sentiment is scored by a package that is not installed.",
            wanted="vaderSentiment",
            fix='pip install "accord[sentiment]"',
        )
