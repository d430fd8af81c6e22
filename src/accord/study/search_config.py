"""`[search]`: what `accord search` looks for."""

from typing import Literal

from pydantic import Field

from accord.section import Section, Seed

SEARCH = "search.json"  # in the run folder of a search: what is sought
TABLE = "trials.csv"  # there as well


class SearchSection(Section):
    """How `accord search` looks for the best values of the ranges in this file; `accord run` takes no notice of it.

    A range stands in place of a value: { low = 1e-4, high = 1e-2, log = true }, { low = 2, high = 8 } for whole
    numbers, { choices = ["a", "b"] }.
    """

    objective: str = Field(
        min_length=1,
        description="What is sought: STAGE:METRIC, a metric in the metrics.json of a stage, its mean over the seeds. "
        "STAGE is concepts/NAME, heads/ROW, perplexity/ROW or gap/NAME, as in the run folder, without the seed.",
        examples=["concepts/topk:r2_hard"],
    )
    direction: Literal["maximize", "minimize"] = Field(
        description="Whether high or low values are better: maximize or minimize.", examples=["maximize"]
    )
    sampler: Literal["random", "tpe", "gp"] = Field(
        default="random",
        description="How values are drawn: random, or learning from the trials before: tpe (tree-structured Parzen "
        "estimator) or gp (Gaussian process).",
    )
    seed: Seed = Field(default=0, description="Of the draws; the study's own seeds are those of each trial.")
