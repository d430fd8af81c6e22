"""The sections of a study file about texts: which are embedded, which are written, and who judges them."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from accord.study.sections import Section


class TextSection(Section):
    """Texts whose embeddings concepts and heads are trained on, and the held-out ones they are judged by."""

    source: str = Field(
        min_length=1,
        description="movie-reviews, amazon-reviews, news-editorials or tweets; a .jsonl, .csv, .tsv, .parquet, "
        ".txt or .md file (also .gz), a pattern or a folder of them; a folder that `datasets` saved to disk; or a data "
        "set of the hub.",
        examples=["movie-reviews"],
    )
    column: str = Field(
        default="text",
        min_length=1,
        description="Column of the texts; a.b for b within a. Elements of a list are texts of one document.",
    )
    label: str | None = Field(default=None, description="Column to keep beside them.", examples=["sentiment"])
    split: str | None = Field(default=None, description="Which split of a data set that has some.", examples=["train"])
    unit: Literal["line", "file"] | None = Field(
        default=None,
        description="What one text of a .txt or .md file is: line, or file for the whole of it; without it a line of "
        ".txt and the whole of .md. Of several such files each is on one side as a whole.",
        examples=["line"],
    )
    limit: int | None = Field(default=None, ge=1, description="At most so many texts.", examples=[10000])
    held_out: float = Field(default=0.2, gt=0, lt=1, description="Share of the texts that nothing is trained on.")
    max_tokens: int | None = Field(
        default=None, ge=2, description="Embeddings to train on, at most; without it all.", examples=[200000]
    )
    held_out_tokens: int | None = Field(
        default=None, ge=2, description="Held-out embeddings, at most; without it all.", examples=[20000]
    )
    max_length: int = Field(default=512, ge=2, description="Tokens of a text that are read.")
    stride: int | None = Field(
        default=None,
        ge=1,
        description="Read longer texts in windows that start so many tokens apart; without it they are cut.",
        examples=[256],
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Of the stored embeddings: float32, bfloat16 or float16."
    )


def _as_rows(value: object) -> Any:
    """One message, as in `sections.Layers`."""
    if value == "all" or (isinstance(value, list) and value and all(isinstance(one, str) for one in value)):
        return value
    raise ValueError('"all" or a list of rows such as ["backbone", "random"]')


class PerplexitySection(Section):
    """Let every model of the study write texts, and a third-party model judge them."""

    judge: str = Field(
        default="gemma3-270m",
        min_length=1,
        description="Model that scores the texts: a catalog name, a hub id, a folder or a .gguf file.",
    )
    rows: Annotated[Literal["all"] | list[str], PlainValidator(_as_rows)] = Field(
        default="all",
        description="Which models write: all, or a list of backbone, finetuned, new, random, CONCEPTS-latents-new, "
        "CONCEPTS-reconstruction-original, CONCEPTS-reconstruction-new, or rows of your [[heads]].",
    )
    samples: int = Field(default=100, ge=1, description="Texts of each model and seed.")
    max_new_tokens: int = Field(default=100, ge=1, description="Tokens after which a text is cut.")
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
