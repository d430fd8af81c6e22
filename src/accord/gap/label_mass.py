"""How much of the probability the validator's label words get: where it is little, l_V compares what is hardly said."""

from collections.abc import Sequence

import numpy as np

from accord.gap.questions import LabelWords
from accord.lm.model import LanguageModel
from accord.lm.scoring import Floats, score
from accord.progress import Progress
from accord.tasks import Item, Task


def label_masses(lm: LanguageModel, task: Task, items: Sequence[Item], *, progress: Progress | None = None) -> Floats:
    """Σ p(label words | V) of each item [item]."""
    words = LabelWords.of(lm, task)
    scored = score(lm, [validator for _, validator in words.queries(lm, task, items)], progress=progress)
    return np.array([float(np.exp(np.logaddexp.reduce(validator.total))) for validator in scored])
