"""What the generator's log-odds are of: an answer's first token or all its tokens. Settled once for a whole task.

The source (RankAlign, arXiv 2504.11381) scores first tokens. Where answers begin alike, as sums do under a tokenizer
that writes the space before a number as a token of its own, first tokens cannot tell right answers from wrong ones.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from accord.gap.questions import generator_queries
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.scoring import Counted, Floats, Score, answer_logodds
from accord.tasks import Item, Task

# Share of a task's items whose first tokens may clash before the whole answer is scored.
_CLASHES = 0.01


@dataclass(frozen=True)
class AnswerScore:
    """How the answers of a task are scored under one tokenizer.

    >>> lm = accord.load("smollm2-135m")
    >>> AnswerScore.of(lm, accord.task("hypernymy", limit=20))
    AnswerScore(counted='first', setting='auto', clashes=0, items=3040)

    An item clashes if another answer of the task, with the opposite gold and other tokens, begins with the same token:
    then first tokens alone cannot tell them apart.

    Attributes:
        counted: "first", "whole" or "per_token"; see `accord.lm.scoring.answer_logodds`.
        setting: the task's `answer_score`; "auto" is whole where more than 1 % of the items clash, else first.
        clashes: items that clash, of `items`, all those of the task: every split of it is scored alike.
    """

    counted: Counted
    setting: str
    clashes: int
    items: int

    @classmethod
    def of(cls, lm: LanguageModel, task: Task) -> "AnswerScore":
        """How a task is scored, decided over its whole pool. Raises AccordError if an answer tokenises to nothing."""
        pool = task.pool or task.items
        clashes = sum(clashing(answer_ids(lm, task, pool), [item.gold for item in pool]))
        counted = task.answer_score
        if counted == "auto":
            counted = "whole" if clashes > _CLASHES * len(pool) else "first"
        return cls(cast(Counted, counted), task.answer_score, clashes, len(pool))

    def logodds(self, score: Score) -> float:
        """l_G: the log-odds of the first answer of a scored query."""
        return float(answer_logodds(torch.from_numpy(score.steps[0]), self.counted))

    def by_layer(self, score: Score) -> Floats:
        """The same by the lens of each layer [layer], of a query scored with layers (and every token, unless first)."""
        if self.counted == "first" or score.layer_steps is None:
            assert self.counted == "first" and score.layer_logodds is not None
            return score.layer_logodds[:, 0]
        return np.asarray(answer_logodds(torch.from_numpy(score.layer_steps[0]), self.counted).numpy())

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        """The counts as entries of a table of metrics."""
        counts = {"first_token_clashes": self.clashes, "task_items": self.items}
        return {name: {"value": float(n), "low": None, "high": None} for name, n in counts.items()}

    @property
    def about(self) -> dict[str, Any]:
        """For the record that goes with a table of scores."""
        return {"answer_score": self.counted, "first_token_clashes": self.clashes, "task_items": self.items}


def answer_ids(lm: LanguageModel, task: Task, items: Sequence[Item]) -> list[Ids]:
    """The tokens of each item's answer, as they are after its generator prompt.

    An answer is tokenised once for each word that a prompt before it ends in, with the space before that word if there
    is one, as no tokenizer looks further back.
    """
    # What stands before the filled-in template is the same for all.
    keys = [(_end(task.generator.filled(item)), item.answer) for item in items]
    first: dict[tuple[str, str], Item] = {}
    for key, item in zip(keys, items, strict=True):
        first.setdefault(key, item)
    queries = generator_queries(lm, task, list(first.values()))
    ids = {key: query.answers[0] for key, query in zip(first, queries, strict=True)}
    return [ids[key] for key in keys]


def _end(text: str) -> str:
    """The last word, with what stands right before it.

    >>> _end("A bee is a kind of")
    ' of'
    """
    word = (text.rsplit(maxsplit=1) or [""])[-1]
    return text[-len(word) - 1 :]


def clashing(ids: Sequence[Ids], gold: Sequence[bool]) -> list[bool]:
    """Of each answer, whether another one of the opposite gold and other tokens begins with the same token.

    >>> clashing([(1, 2), (1, 3), (4,)], [True, False, False])
    [True, True, False]
    """
    by_first: dict[int, dict[bool, set[Ids]]] = defaultdict(lambda: defaultdict(set))
    for answer, right in zip(ids, gold, strict=True):
        by_first[answer[0]][right].add(answer)
    return [
        any(others - {answer} for label, others in by_first[answer[0]].items() if label != right)
        for answer, right in zip(ids, gold, strict=True)
    ]
