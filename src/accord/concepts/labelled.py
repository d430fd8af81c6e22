"""Labels of texts as concepts learn them, and who tells them: labelled concepts, the rest, embeddings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from accord.concepts.logistic import logistic_weights
from accord.concepts.supervised import Supervised
from accord.errors import AccordError
from accord.text.reader import Batch

Numbers = NDArray[np.int64]
_PROBED = 5000  # texts that a probe learns from, at most: more move it by less than its interval


def label_numbers(column: pd.Series, labels: Sequence[str]) -> Numbers:
    """Of each text the number of its label among `labels`, −1 where it has none of them.

    Labels that are numbers go by sign where two names are given that are none of them: below 0 the first, above the
    second.

    >>> label_numbers(pd.Series(["b", None, "a"]), ["a", "b"]).tolist()
    [1, -1, 0]
    >>> label_numbers(pd.Series([-1.5, 0.0, 3.0]), ["negative", "positive"]).tolist()
    [0, -1, 1]

    Raises:
        AccordError: a label that no text has.
    """
    words = [_word(value) for value in column]
    there = {word for word in words if word is not None}
    if pd.api.types.is_numeric_dtype(column) and len(labels) == 2 and not there & set(labels):
        values = column.to_numpy(dtype=float)
        numbers = np.where(values < 0, 0, np.where(values > 0, 1, -1))  # what is not known is neither
        there = {labels[k] for k in np.unique(numbers[numbers >= 0])}
    else:
        known = {label: k for k, label in enumerate(labels)}
        numbers = np.array([-1 if word is None else known.get(word, -1) for word in words])
    if missing := [label for label in labels if label not in there]:
        shown = ", ".join(sorted(there)[:10])
        raise AccordError("No text has this label.", where="labels", got=", ".join(missing), wanted=shown)
    return numbers.astype(np.int64)


def _word(value: object) -> str | None:
    """A label as a study file names it: 1.0 is "1"."""
    if value is None or value != value:
        return None
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def numbers_by_side(train: pd.Series, held_out: pd.Series, labels: Sequence[str]) -> tuple[Numbers, Numbers]:
    """The same of the texts of two sides, whose labels are told in one way.

    Raises:
        AccordError: a label that no training text has, or no text held out with any of them to judge on.
    """
    both = label_numbers(pd.concat([train, held_out], ignore_index=True), labels)
    learnt, judged = both[: len(train)], both[len(train) :]
    if missing := [label for k, label in enumerate(labels) if k not in learnt]:
        raise AccordError("No training text has this label.", where="labels", got=", ".join(missing))
    if not (judged >= 0).any():
        raise AccordError("No text held out has a label to be judged on.", where="labels", got=", ".join(labels))
    return learnt, judged


@torch.no_grad()
def judge_labels(
    model: Supervised,
    train: tuple[Iterable[Batch], Numbers],
    held_out: tuple[Iterable[Batch], Numbers],
) -> dict[str, float]:
    """How often labels of held-out texts are told rightly, chance among them; of each side batches and labels by text.

    Returns:
        `accuracy`: by the label whose concept is strongest, mean over a text's tokens (as CB-LLM is judged);
        `accuracy_tokens`, of single tokens; `accuracy_rest` and `accuracy_states`: by logistic regression on a text's
        mean strengths of all other concepts, and on its mean embedding, learnt on the training texts;
        `largest_label`, the share of the commonest label, which is chance.
    """
    C = len(model.labels)
    learnt, judged = _read(model, *train, most=_PROBED), _read(model, *held_out)
    return {
        "accuracy": float((judged.told.argmax(1) == judged.label).double().mean()),
        "accuracy_tokens": judged.tokens,
        "accuracy_rest": _probed(learnt.rest, learnt.label, judged.rest, judged.label, C),
        "accuracy_states": _probed(learnt.states, learnt.label, judged.states, judged.label, C),
        "largest_label": float(judged.label.bincount().max()) / len(judged.label),
    }


@dataclass(frozen=True)
class _Read:
    """Of each labelled text its label, and means over its tokens; of its tokens, how many tell the label."""

    told: Tensor
    rest: Tensor
    states: Tensor
    label: Tensor
    tokens: float


def _read(model: Supervised, batches: Iterable[Batch], numbers: Numbers, *, most: int | None = None) -> _Read:
    """Read the first `most` texts with a label, or all; batches come in the order of the texts."""
    chosen = np.flatnonzero(numbers >= 0)[:most]
    place = torch.full((len(numbers),), -1)  # of each text its row here
    place[torch.from_numpy(chosen)] = torch.arange(len(chosen))
    label, C = torch.from_numpy(numbers[chosen]), len(model.labels)
    sums, count = torch.zeros(len(chosen), model.K + model.d), torch.zeros(len(chosen))
    right = 0
    for batch in batches:
        row = place[batch.text]
        known = row >= 0
        if not bool(known.any()):
            if len(chosen) == 0 or int(batch.text.min()) > chosen[-1]:
                break
            continue
        x, row = batch.x[known].to(model.mean), row[known]
        strength = model.encode(x).strength
        right += int((strength[:, :C].argmax(1).cpu() == label[row]).sum())
        sums.index_add_(0, row, torch.cat([strength, model.standardise(x)], 1).cpu())
        count += torch.bincount(row, minlength=len(chosen))
    some = count > 0
    if not bool(some.any()):
        raise AccordError("no text with a label is there to be judged on", got=f"{len(numbers)} texts")
    means = sums[some] / count[some, None]
    told, rest, states = means[:, :C], means[:, C : model.K], means[:, model.K :]
    return _Read(told, rest, states, label[some], right / int(count.sum()))


def _probed(x: Tensor, y: Tensor, x_new: Tensor, y_new: Tensor, labels: int) -> float:
    """Accuracy of logistic regression, all labels weighing as they come, with a ridge of 1 on standardised columns."""
    x = x.double()
    mean, scale = x.mean(0), x.std(0, correction=0).clamp_min(1e-6)
    x, x_new = (x - mean) / scale, (x_new.double() - mean) / scale
    weight = logistic_weights(x, labels, lambda logits: F.cross_entropy(logits, y))
    return float(((x_new @ weight[:-1] + weight[-1]).argmax(1) == y_new).double().mean())
