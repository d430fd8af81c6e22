"""How repetitive the texts of two models are, and whether the difference is more than chance.

Shares of different words are of all texts together, and fall as texts get more: a bootstrap's duplicates look like
repetition, and leaving texts out changes what is measured. What holds for any number of texts is an exchange: were both
models alike, each prompt's two texts might as well have come from the other one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accord.intervals import Estimate, Floats
from accord.intervals.estimate import FEWEST, too_few, unchanged
from accord.text.diversity import measure_diversity

_BLOCK = 100


def diversity_changes(
    before: Sequence[str], after: Sequence[str], seed: int, exchanges: int
) -> dict[str, tuple[tuple[float, float], Estimate]]:
    """Measure -> the shares of both models' texts (see `accord.text.measure_diversity`), and the change.

    The interval is change ± what it stays below in 95 % of random exchanges of the two texts of a prompt: it excludes 0
    where the permutation test has p ≤ .05, exactly; as an interval it holds as far as a change leaves that spread as it
    is (Fisher 1935; Ernst 2004, Statist. Sci. 19, 676).
    """
    sides, n = (measure_diversity(before), measure_diversity(after)), len(before)
    rng = np.random.default_rng(seed)
    swaps = rng.integers(0, 2, (exchanges, n)).astype(np.float64)
    changes = {}
    for name in sides[0]:
        values = sides[0][name], sides[1][name]
        change = values[1] - values[0]
        if list(before) == list(after) and not np.isnan(change):
            estimate = unchanged()
        elif n < FEWEST:
            estimate = Estimate(change, reason=too_few(n, "text"))
        else:
            half = _half(_Counts.of(before, after, name), swaps, change)
            defined = not np.isnan(half)
            estimate = Estimate(change, change - half, change + half, "" if defined else "texts are too short")
        changes[name] = (values, estimate)
    return changes


@dataclass(frozen=True)
class _Counts:
    """What makes up a share, for texts [2 · text], first those of one model: numerator and denominator.

    `present` [2 · text, gram] counts grams once however many texts have them, else `top` [2 · text] is summed.
    """

    bottom: Floats
    present: Floats
    top: Floats | None = None

    @classmethod
    def of(cls, before: Sequence[str], after: Sequence[str], name: str) -> "_Counts":
        size = int(name[-1])
        grams = [_grams(text.split(), size) for text in (*before, *after)]
        counts = np.array([float(len(own)) for own in grams])
        if name.startswith("repeated"):
            repeated = [1 - len(set(own)) / len(own) if own else 0.0 for own in grams]
            return cls((counts > 0).astype(np.float64), np.empty(0), np.array(repeated))
        place = {gram: i for i, gram in enumerate(dict.fromkeys(gram for own in grams for gram in own))}
        present = np.zeros((len(grams), len(place)))
        for text, own in enumerate(grams):
            present[text, [place[gram] for gram in own]] = 1.0
        return cls(counts, present)

    def share(self, weights: Floats) -> Floats:
        """The share of the texts of weight 1 in `weights` [draw, 2 · text], by draw."""
        top = weights @ self.top if self.top is not None else (weights @ self.present > 0.5).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(top / (weights @ self.bottom))


def _half(counts: _Counts, swaps: Floats, change: float) -> float:
    """The 95 % quantile of |change| over exchanges `swaps` [draw, text], what was measured being one of them."""
    sizes = [np.array([abs(change)])]
    for start in range(0, len(swaps), _BLOCK):
        own = swaps[start : start + _BLOCK]
        first, second = np.concatenate([1 - own, own], 1), np.concatenate([own, 1 - own], 1)
        sizes.append(np.abs(counts.share(second) - counts.share(first)))
    ordered = np.sort(np.concatenate(sizes))
    # Rounding aside, an exchange that gives the same change again counts as large as it.
    quantile = float(ordered[int(np.ceil(0.95 * len(ordered))) - 1])
    return float("nan") if np.isnan(ordered).any() else quantile * (1 + 1e-9)


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))
