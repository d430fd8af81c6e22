"""`[text]`: which texts are embedded."""

from typing import Any, Literal

from pydantic import Field

from accord.section import PATH, TIMES, Section

SAMPLE = 1000  # texts of a data set of the hub that are looked at before anything runs


class TextSection(Section):
    """Texts whose embeddings concepts and heads are trained on, and the held-out ones they are judged by."""

    source: str = Field(
        min_length=1,
        description="movie-reviews, amazon-reviews, news-editorials or tweets; a .jsonl, .csv, .tsv, .parquet, "
        ".txt or .md file (also .gz), a pattern or a folder of them; a folder that `datasets` saved to disk; or a data "
        "set of the hub.",
        examples=["movie-reviews"],
        json_schema_extra=PATH,
    )
    column: str = Field(
        default="text",
        min_length=1,
        description="Column of the texts; a.b for b within a. Elements of a list are texts of one document.",
    )
    label: str | None = Field(default=None, description="Column to keep beside them.", examples=["sentiment"])
    split: str | None = Field(default=None, description='Which split of a data set of the hub: "train", for example.')
    unit: Literal["line", "file"] | None = Field(
        default=None,
        description="What one text of a .txt or .md file is: line, or file for the whole of it; without it a line of "
        ".txt and the whole of .md. Of several such files each is on one side as a whole.",
    )
    limit: int | None = Field(default=None, ge=1, description="At most so many texts.", examples=[10000])
    held_out: float = Field(default=0.2, gt=0, lt=1, description="Share of the texts that nothing is trained on.")
    max_tokens: int | None = Field(
        default=None, ge=2, description="Embeddings to train on, at most; without it all.", examples=[200000]
    )
    held_out_tokens: int | None = Field(
        default=None, ge=2, description="Held-out embeddings, at most; without it all.", examples=[20000]
    )
    max_length: int = Field(default=512, ge=2, le=10 * TIMES, description="Tokens of a text that are read.")
    stride: int | None = Field(
        default=None,
        ge=1,
        description="Read longer texts in windows that start so many tokens apart; without it they are cut.",
        examples=[256],
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Of the stored embeddings: float32, bfloat16 or float16."
    )


def sections() -> dict[str, Any]:
    """Keys of the study file: what each holds, and its field."""
    return {"text": (TextSection | None, Field(default=None, description="Texts to learn from."))}
