"""`[perplexity]`: which models write texts, and who judges them."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator

from accord.section import PATH, TIMES, Section


def _as_rows(value: object) -> Any:
    """A union would give a message for each of its types; this gives one, as in `accord.section.Layers`."""
    if value == "all" or (isinstance(value, list) and value and all(isinstance(row, str) for row in value)):
        return value
    raise ValueError('"all" or a list of rows such as ["backbone", "random"]')


class PerplexitySection(Section):
    """Let every model of the study write texts, and a third-party model judge them."""

    needs: ClassVar[tuple[str, ...]] = ("text",)

    judge: str = Field(
        default="gemma3-270m",
        min_length=1,
        description="Model that scores the texts: a catalog name, a hub id, a folder or a .gguf file.",
        json_schema_extra=PATH,
    )
    rows: Annotated[Literal["all"] | list[str], PlainValidator(_as_rows)] = Field(
        default="all",
        description="Which models write: all, or a list of backbone, finetuned, new, random, CONCEPTS-latents-new, "
        "CONCEPTS-reconstruction-original, CONCEPTS-reconstruction-new, or rows of your [[heads]].",
    )
    samples: int = Field(default=100, ge=1, le=TIMES, description="Texts of each model and seed.")
    max_new_tokens: int = Field(default=100, ge=1, le=TIMES, description="Tokens after which a text is cut.")
    temperature: float = Field(default=0.7, ge=0, description="Divides the logits; 0: the most probable token.")
    top_k: int = Field(default=100, ge=0, description="Draw from so many most probable tokens; 0: from all.")
    top_p: float = Field(default=0.9, gt=0, le=1, description="Draw from those that hold so much probability.")
    repetition_penalty: float = Field(default=1.5, gt=0, description="Makes tokens rarer that the text has; 1: none.")
    own_texts: int = Field(
        default=100, ge=1, description="Held-out texts for each model's own perplexity, which repetition cannot game."
    )

    @property
    def sampling(self) -> dict[str, Any]:
        """What fixes the texts, in the words of `accord.lm.generate`."""
        return self.model_dump(exclude={"judge", "rows", "samples", "own_texts"})


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"perplexity": (PerplexitySection | None, Field(default=None, description="Texts written and judged."))}
