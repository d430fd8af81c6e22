"""What labels the texts have that excite a concept, against those that do not."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.names.entries import Floats, Ints

_CLASSES = 50  # of labels that are words; with more there is nothing to compare


class TextLabels:
    """Sums of the labels of texts, over all texts and over those in which each of K concepts fires.

    Numbers give means: `on` and `off` texts are compared by Welch's t = (m₁ − m₀)/√(s₁²/n₁ + s₀²/n₀). Words give
    the class that is over-represented most among the texts that are on, by z = (x − n₁p)/√(n₁p(1 − p)(N − n₁)/(N − 1))
    (hypergeometric). Neither is corrected for the number of concepts: among 1,000 without any link to the label, one
    has |t| > 3.3. Texts without a label do not count.
    """

    def __init__(self, K: int, labels: list[Any]) -> None:
        values = pd.Series(labels)
        self.numeric = pd.api.types.is_numeric_dtype(values)
        self.classes: list[str] = [] if self.numeric else sorted(map(str, values.dropna().unique()))
        if self.numeric:
            numbers = values.to_numpy(dtype=np.float64)
            self._there: NDArray[np.bool_] = np.isfinite(numbers)
            self._weights = np.stack([np.ones_like(numbers), numbers, numbers**2], axis=1)  # [text, 3]
        else:
            self._there = values.notna().to_numpy() & (len(self.classes) <= _CLASSES)
            code = pd.Categorical(values.map(str, na_action="ignore"), self.classes).codes
            self._weights = np.eye(len(self.classes))[code] if self.classes else np.zeros((len(values), 0))
        self.all = np.zeros(self._weights.shape[1])
        self.on = np.zeros((K, self._weights.shape[1]))

    def see(self, texts: Ints) -> None:
        """Count texts that were read."""
        self.all += self._weights[texts[self._there[texts]]].sum(0)

    def add(self, texts: Ints, concepts: Ints) -> None:
        """Count texts in which concepts fire; each pair once."""
        there = self._there[texts]
        np.add.at(self.on, concepts[there], self._weights[texts[there]])

    def table(self) -> pd.DataFrame:
        """A row a concept; NaN or None where there are too few texts to say."""
        return self._means() if self.numeric else self._shares()

    def _means(self) -> pd.DataFrame:
        on, off = _moments(self.on), _moments(self.all - self.on)
        with np.errstate(invalid="ignore", divide="ignore"):
            t = (on[1] - off[1]) / np.sqrt(on[2] / on[0] + off[2] / off[0])
        t[~np.isfinite(t)] = np.nan
        return pd.DataFrame({"label_on": on[1], "label_off": off[1], "label_t": t, "label_texts": on[0].astype(int)})

    def _shares(self) -> pd.DataFrame:
        n, N = self.on.sum(1, keepdims=True), self.all.sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            p = self.all / N
            z = (self.on - n * p) / np.sqrt(n * p * (1 - p) * (N - n) / (N - 1))
            share = self.on / n
        z = np.where(np.isfinite(z), z, -np.inf)
        best = z.argmax(1) if self.classes else np.zeros(len(z), dtype=int)
        rows = np.arange(len(z))
        known = np.isfinite(z[rows, best]) if self.classes else np.zeros(len(z), dtype=bool)
        pick = [self.classes[b] if k else None for b, k in zip(best, known, strict=True)]
        base = p[best] if self.classes else np.full(len(z), np.nan)
        numbers = {"label_on": share[rows, best], "label_off": base, "label_t": z[rows, best]} if self.classes else {}
        table = pd.DataFrame({"label": pick, **{k: np.where(known, v, np.nan) for k, v in numbers.items()}})
        table["label_texts"] = n[:, 0].astype(int)
        return table


def _moments(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Count, mean and unbiased variance from sums of 1, x and x², [K, 3]."""
    n, total, square = sums[:, 0], sums[:, 1], sums[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = np.where(n > 1, np.maximum(square - n * mean**2, 0) / (n - 1), np.nan)
    return n, mean, variance
