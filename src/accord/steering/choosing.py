"""Which concepts an experiment steers: any live ones, or those that go with a label.

A concept goes with a label in two ways that need not agree. Its *strength* does: it is active in texts that have the
label, as a concept is that recognises a word of praise. Its *tokens* do: what it promotes are words of texts that have
the label. Only the second has reason to bring the label about (compare input and output features, Arad, Mueller and
Belinkov, arXiv 2505.20063).
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from accord.arguments import checked
from accord.steering.promotion import logit_changes
from accord.steering.target import Target
from accord.steering.typical import Typical
from accord.text.reader import Batch

LIVE = (0.002, 0.5)  # rates of the concepts that experiments choose from
_SEEN = 3  # times that a token must occur for its label to count
_SHRINK = 5.0  # tokens of the average label that every token is taken to have been seen with beside


@checked
def live(typical: Typical, low: float = LIVE[0], high: float = LIVE[1]) -> list[int]:
    """Concepts active often enough to be measured, and not nearly always.

    >>> nothing = torch.zeros(4)
    >>> typical = Typical(torch.tensor([0.0, 0.1, 0.3, 0.9]), nothing, nothing, nothing, nothing, nothing, tokens=1000)
    >>> live(typical)
    [1, 2]
    """
    concepts: list[int] = torch.nonzero((typical.rate >= low) & (typical.rate <= high)).flatten().tolist()
    return concepts


@checked
def pick(typical: Typical, n: int, seed: int) -> list[int]:
    """`n` live concepts at random, or all if there are fewer.

    >>> nothing = torch.zeros(4)
    >>> typical = Typical(torch.tensor([0.0, 0.1, 0.3, 0.9]), nothing, nothing, nothing, nothing, nothing, tokens=1000)
    >>> sorted(pick(typical, 5, seed=0))
    [1, 2]
    """
    concepts = live(typical)
    drawn = np.random.default_rng(seed).permutation(len(concepts))[:n]
    return [concepts[i] for i in sorted(drawn.tolist())]


@checked
def associated(scores: Tensor, typical: Typical, n: int) -> dict[int, float]:
    """The `n` live concepts of largest |score| [K] -> score, the largest first; NaN scores are left out.

    >>> nothing = torch.zeros(4)
    >>> typical = Typical(torch.tensor([0.0, 0.1, 0.3, 0.9]), nothing, nothing, nothing, nothing, nothing, tokens=1000)
    >>> associated(torch.tensor([0.9, 0.25, -0.5, 0.1]), typical, n=1)
    {2: -0.5}
    """
    known = [k for k in live(typical) if not bool(scores[k].isnan())]
    best = sorted(known, key=lambda k: -abs(float(scores[k])))[:n]
    return {k: float(scores[k]) for k in best}


@checked
def token_labels(batches: Iterable[Batch], label: Callable[[Tensor], Tensor], vocab: int) -> Tensor:
    """How far the label of the texts that a token stands in lies from the average label of tokens [vocab].

    Shrunk toward 0 as if every token had also been seen five times with the average; NaN where it was seen less than
    three times.

    Args:
        label: from numbers of texts [n] to their labels [n]; NaN where a text has none.
    """
    total, count = torch.zeros(vocab).double(), torch.zeros(vocab).double()
    for batch in batches:
        y = label(batch.text).double()
        known = ~y.isnan()
        total.index_add_(0, batch.token[known], y[known])
        count += torch.bincount(batch.token[known], minlength=vocab)
    average = total.sum() / count.sum()
    shrunk = (total - count * average) / (count + _SHRINK)
    return torch.where(count >= _SEEN, shrunk, torch.nan).float()


@checked
@torch.no_grad()
def promoted_labels(target: Target, typical: Typical, labels: Tensor, state: Tensor) -> Tensor:
    """Pearson's r, over tokens, of what each live concept does to their logits with their labels [K]; else NaN.

    Args:
        labels: of tokens [vocab], as `token_labels` gives them.
        state: a raw state [d] of the layer, such as the mean, that logits are read around.
    """
    scores = torch.full_like(typical.rate, torch.nan)
    for concept, change in logit_changes(target, typical, live(typical), state[None].to(target.lm.device)):
        known = ~labels.isnan() & change.isfinite()
        pair = torch.stack([change[known], labels[known]]).double()
        if pair.shape[1] > 2:
            scores[concept] = torch.corrcoef(pair)[0, 1].float()
    return scores
