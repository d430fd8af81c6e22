"""The section of a study file about names: which concepts are named, by whom, from how many examples."""

from pydantic import Field

from accord.naming.config import AnyAnnotator, OpenAIAnnotator, TokensAnnotator
from accord.study.sections import Section


class NamesSection(Section):
    """A dictionary of the first seed's concepts: what excites each, what it promotes, a name, and its scores."""

    concepts: str = Field(
        default="all", min_length=1, description="Name of the [[concepts]] to look at, or all of them."
    )
    limit: int | None = Field(
        default=None, ge=1, description="Name at most so many concepts of each, drawn at random.", examples=[100]
    )
    examples: int = Field(default=12, ge=3, le=24, description="Training examples that the annotator sees of each.")
    held_out: int = Field(default=10, ge=3, description="Held-out examples, of each sort, that a name is scored on.")
    scores: bool = Field(default=True, description="Score names on held-out examples, against shuffled names.")
    annotator: AnyAnnotator = Field(
        default=TokensAnnotator(),
        description="Who names them: tokens, transformers or openai.",
        examples=[OpenAIAnnotator(model="local", base_url="http://127.0.0.1:8080/v1")],
    )
