"""Do the names say what the concepts do? Scores on held-out examples, against the names of other concepts.

Two tasks (Bills et al. 2023; Paulo et al., arXiv 2410.13928, whose delphi library names them):

- *detection*: half of the contexts have a token on which the concept fires, in the other half none does. Which ones
  show what the name says?
- *fuzzing*: the same contexts twice, once with the token marked on which the concept fires, once with another one, on
  which it is off. Where does the mark stand on what the name says?

Both are balanced, so that "none" scores one half. The control asks the same of the same examples under the name of
another concept: what a name scores there is what any name would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from accord.arguments import checked
from accord.intervals import auc, mean_change, mean_estimate
from accord.names.answers import Answer
from accord.names.entries import Floats
from accord.names.judges import Judge, Quiz
from accord.names.prompts import Shown

TASKS = {"detection": "negative", "fuzzing": "off"}
"""Task -> the kind of example that the name should not fit; it should fit those of kind `on`."""

_FEWEST = 3  # examples of each side, below which a concept is not scored


@dataclass(frozen=True)
class Scores:
    """How good names are.

    Attributes:
        table: a row a named concept: `concept`, and for each task its balanced accuracy (`detection`), AUC
            (`detection_auc`), and both of another concept's name (`detection_shuffled`, `detection_auc_shuffled`);
            NaN where there are too few examples or the judge gave no answer.
        summary: measure -> {value, low, high, n}: mean over concepts with a 95 % interval over concepts;
            `detection_gain` and the like are the mean of own less shuffled name, concept by concept.
    """

    table: pd.DataFrame
    summary: dict[str, dict[str, float]]


@checked
def score_names(judge: Judge, names: Mapping[int, Answer], examples: pd.DataFrame, *, seed: int = 0) -> Scores:
    """Score names on the held-out examples of a dictionary.

    Args:
        names: concept -> its name.
        examples: of a `Dictionary`; only the held-out ones are looked at.
        seed: fixes whose name each concept gets in the control.

    Raises AccordError as the judge does.
    """
    held_out = examples[examples["side"] == "held_out"]
    contexts = {kind: _contexts(held_out[held_out["kind"] == kind]) for kind in ("on", *TASKS.values())}
    scored = sorted(names.keys() & set(held_out["concept"].tolist()))
    other = _others(scored, seed)
    quizzes = []
    for task, kind in TASKS.items():
        for concept in scored:
            on, off = (contexts[which].get(concept, []) for which in ("on", kind))
            count = min(len(on), len(off))
            both = on[:count] + off[:count]
            for control, named in ((False, concept), (True, other[concept])):
                if count >= _FEWEST and not (control and named == concept):
                    quizzes.append(Quiz(task, concept, names[named], control, both, count))
    columns = {
        task + end: np.full(len(names), np.nan) for task in TASKS for end in ("", "_auc", "_shuffled", "_auc_shuffled")
    }
    place = {concept: i for i, concept in enumerate(sorted(names))}
    alike: dict[tuple[str, bool, int], list[tuple[int, Floats]]] = {}  # those with as many contexts are scored together
    for quiz, values in zip(quizzes, judge.judge(quizzes), strict=True):
        if values is not None:
            alike.setdefault((quiz.task, quiz.control, quiz.positives), []).append((place[quiz.concept], values))
    for (task, control, positives), judged in alike.items():
        rows, table = [row for row, _ in judged], np.stack([values for _, values in judged])
        end = "_shuffled" if control else ""
        columns[task + end][rows] = balanced_accuracy(table, positives, judge.threshold)
        columns[task + "_auc" + end][rows] = auc(table, positives)
    whole = pd.DataFrame({"concept": sorted(names), **columns})
    return Scores(whole, summarise(whole.set_index("concept")))


def balanced_accuracy(values: Floats, positives: int, threshold: float | None) -> Floats:
    """Mean of the shares of positives (which come first) above the threshold and of negatives not above it, [...].

    Of values [..., context].

    Without a threshold it is the median of the values: the classes are equally large, and the one that has the higher
    values is found without looking at a label.

    >>> float(balanced_accuracy(np.array([0.9, 0.2, 0.1, 0.3]), positives=2, threshold=0.5))
    0.75
    """
    above = values > (np.median(values, axis=-1, keepdims=True) if threshold is None else threshold)
    return np.asarray((above[..., :positives].mean(-1) + 1 - above[..., positives:].mean(-1)) / 2)


def summarise(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Means over concepts with intervals; see `Scores.summary`."""
    columns = {str(name): table[name].to_numpy() for name in table}
    for name in [name for name in columns if not name.endswith("shuffled")]:
        columns[f"{name}_gain"] = columns[name] - columns[f"{name}_shuffled"]
    summary = {}
    for name, column in columns.items():
        known = column[np.isfinite(column)]
        # Of a gain on which all concepts agree, that of paired shares has a width too.
        gain = name.endswith("gain")
        mean = mean_change(np.zeros_like(known), known, unit=True) if gain else mean_estimate(known, unit=True)
        summary[name] = {"value": mean.value, "low": mean.low, "high": mean.high, "n": len(known)}
    return summary


def _others(concepts: Sequence[int], seed: int) -> dict[int, int]:
    """For each concept another one: one step around a random circle."""
    circle = np.random.default_rng(seed).permutation(np.array(concepts, dtype=np.int64)).tolist()
    return dict(zip(circle, circle[1:] + circle[:1], strict=True))


def _contexts(examples: pd.DataFrame) -> dict[int, list[Shown]]:
    """Concept -> its contexts."""
    by_concept: dict[int, list[Shown]] = {}
    columns = (examples[name].tolist() for name in ("concept", "before", "token", "after"))
    for concept, before, token, after in zip(*columns, strict=True):
        by_concept.setdefault(concept, []).append((before, token, after))
    return by_concept
