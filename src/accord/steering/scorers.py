"""Who says whether a written text has a property: sentiment by a lexicon, or a label by a classifier of texts.

Both are independent of the concepts that are steered: neither reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from accord.arguments import checked
from accord.concepts.logistic import logistic_weights
from accord.errors import AccordError
from accord.lm.batching import in_batches
from accord.lm.marked import backbone_states
from accord.lm.model import LanguageModel
from accord.lm.windows import tokenize
from accord.steering.config import check_sentiment
from accord.text.reader import in_order
from accord.text.store import EmbeddingStore

Floats = NDArray[np.float64]
_ROWS = 4096


class Scorer(Protocol):
    """A property of texts as a number."""

    @property
    def name(self) -> str:
        """What the property is called."""
        ...

    @property
    def low(self) -> float:
        """Up to here a text has the opposite."""
        ...

    @property
    def high(self) -> float:
        """From here on a text has the property."""
        ...

    def __call__(self, texts: Sequence[str]) -> Floats:
        """A number for each text; NaN for one that cannot be scored."""
        ...


class Sentiment:
    """VADER's compound score from −1 to 1 (Hutto and Gilbert, ICWSM 2014): a lexicon and rules, no language model.

    Positive from 0.05 on, negative up to −0.05, as its authors advise.

    Raises MissingLibrary if the package is not installed.
    """

    name, low, high = "sentiment", -0.05, 0.05

    def __init__(self) -> None:
        check_sentiment()
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self._analyzer: Any = SentimentIntensityAnalyzer()

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The compound score of each text."""
        return np.array([self._analyzer.polarity_scores(text)["compound"] for text in texts], dtype=np.float64)


@dataclass(frozen=True)
class Classifier:
    """Probability that a text has a label: logistic regression on the mean of a layer's states.

    Attributes:
        lm: whose states are read; the untouched backbone, not what is steered.
        mean, scale, weight: [d].
        accuracy: balanced accuracy on the texts held out from it; what its verdicts are worth.
    """

    name: str
    lm: LanguageModel
    layer: int
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: float
    accuracy: float
    low: float = 0.5
    high: float = 0.5

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The probability for each text."""
        return np.asarray(self.read(text_means(self.lm, texts, self.layer)).double().numpy())

    def read(self, means: Tensor) -> Tensor:
        """The probability [n] from means of states [n, d]."""
        return (((means - self.mean) / self.scale) @ self.weight + self.bias).sigmoid()


@checked
def fit_classifier(
    name: str, lm: LanguageModel, layer: int, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]
) -> Classifier:
    """Fit on means of states [n, d] and whether their texts have the label [n] (bool), both classes weighing the same.

    Raises AccordError if a side lacks one of the classes.
    """
    for which, (_, has) in (("train", train), ("held-out", held_out)):
        if not 0 < int(has.sum()) < len(has):
            raise AccordError(f"the {which} texts all are of one class", where=name, got=f"{len(has)} texts")
    x, has = train
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x = ((x - mean) / scale).double()
    balance = torch.where(has, 0.5 / has.double().mean(), 0.5 / (~has).double().mean())
    fitted = logistic_weights(
        x, 1, lambda logits: F.binary_cross_entropy_with_logits(logits[:, 0], has.double(), balance)
    )[:, 0].float()
    classifier = Classifier(name, lm, layer, mean, scale, fitted[:-1], float(fitted[-1]), accuracy=0.0)
    right = (classifier.read(held_out[0]) > 0.5) == held_out[1]
    accuracy = (right[held_out[1]].double().mean() + right[~held_out[1]].double().mean()) / 2
    return replace(classifier, accuracy=float(accuracy))


@checked
@torch.no_grad()
def text_means(lm: LanguageModel, texts: Sequence[str], layer: int, *, max_length: int = 512) -> Tensor:
    """Mean state [n, d] of the tokens of each text, as an embedding store has them; NaN for a text without tokens."""
    tokens = tokenize(lm, texts, max_length=max_length)
    windows = list(tokens.windows(None))
    means = torch.full((len(texts), lm.d_model), torch.nan)

    def compute(batch: list[int]) -> None:
        some = [windows[i] for i in batch]
        states = backbone_states(lm.hidden(tokens.rows(some), layers=[layer])[layer])
        for row, window in zip(states, some, strict=True):
            means[window.text] = row[tokens.lead : tokens.lead + window.end - window.begin].float().mean(0).cpu()

    in_batches(lm, [tokens.lead + window.end - window.begin for window in windows], compute)
    return means


@checked
def store_means(store: EmbeddingStore, layer: int, texts: int) -> Tensor:
    """Mean state [texts, d] of the tokens of each text of a store, in one pass; NaN for a text without tokens."""
    total, count = torch.zeros(texts, store.d_model).double(), torch.zeros(texts).double()
    for batch in in_order(store, layer, _ROWS):
        total.index_add_(0, batch.text, batch.x.double())
        count += torch.bincount(batch.text, minlength=texts)
    return (total / count[:, None]).float()
