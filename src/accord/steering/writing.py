"""Texts that steered models write, each beside the text of the same prompt and random numbers without steering."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.lm.model import LanguageModel
from accord.lm.perplexity import perplexity
from accord.lm.sampling import Sample, generate
from accord.steering.scorers import Scorer
from accord.text.diversity import measure_diversity

Floats = NDArray[np.float64]

NEUTRAL = (
    "The film was",
    "I watched it last night and",
    "The story begins when",
    "The actors",
    "It is a movie that",
    "After the first hour,",
    "The director",
    "What I remember is",
)
"""Prompts that lean neither way."""


@dataclass(frozen=True)
class Writing:
    """How texts are written and judged.

    Attributes:
        n: texts of each prompt; text j of prompt i draws the same random numbers whatever is steered.
        scorer: tells the label that concepts are steered toward or away from.
        judge: a model that reads the texts; None for no judged perplexity.
        sampling: further settings of `accord.lm.generate`.
    """

    scorer: Scorer
    prompts: Sequence[str] = NEUTRAL
    n: int = 4
    max_new_tokens: int = 20
    seed: int = 0
    judge: LanguageModel | None = None
    sampling: dict[str, Any] = field(default_factory=dict)

    def write(self, lm: LanguageModel) -> list[Sample]:
        """The texts, prompt by prompt."""
        options = {"n": self.n, "max_new_tokens": self.max_new_tokens, "seed": self.seed, **self.sampling}
        return generate(lm, prompts=list(self.prompts), **options)

    def read(self, samples: Sequence[Sample]) -> dict[str, Floats]:
        """Measures of each text [prompt, n]; the prompt itself is left out.

        `label`: the scorer's number. `judge_nll`: nats a token under the judge, which reads the text alone.
        `distinct_2` and `repeated_4`: see `accord.text.diversity`. NaN where a text is too short.
        """
        texts = [sample.text for sample in samples]
        measures = {"label": self.scorer(texts)}
        diversity = [measure_diversity([text]) for text in texts]
        measures |= {name: np.array([row[name] for row in diversity]) for name in ("distinct_2", "repeated_4")}
        if self.judge is not None:
            judged = perplexity(self.judge, texts)
            with np.errstate(invalid="ignore", divide="ignore"):
                measures["judge_nll"] = np.where(judged.tokens > 0, judged.nll / judged.tokens, np.nan)
        return {name: values.reshape(len(self.prompts), self.n) for name, values in measures.items()}

    def wanted(self, label: Floats, direction: int) -> Floats:
        """1 where a text has the label (direction 1), or the opposite (−1); else 0; NaN where it has no score."""
        has = label >= self.scorer.high if direction > 0 else label <= self.scorer.low
        return np.where(np.isnan(label), np.nan, has.astype(np.float64))
