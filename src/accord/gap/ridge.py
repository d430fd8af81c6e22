"""How well a number can be read off states: ridge regression, closed form."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import AccordError

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Of `Ridge`, tried on parts of the training items."""
FOLDS = 4
"""How many such parts there are."""


@dataclass(frozen=True)
class Probe:
    """An affine map from states [n, d] to numbers [n]: x·weight + bias, in float64.

    >>> Probe(torch.tensor([1.0, 2.0]).double(), 0.5)(torch.tensor([[3.0, 4.0]])).tolist()
    [11.5]
    """

    weight: Tensor
    bias: float

    def __call__(self, states: Tensor) -> Tensor:
        """The numbers [n] read off states [n, d]."""
        return states.double() @ self.weight + self.bias


@dataclass
class Ridge:
    """Ridge regressions of the same states on the same targets, for many penalties, in float64.

    >>> states, target = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0]]), torch.tensor([1.0, 2.0, 3.0])
    >>> probe = Ridge(states, target).fit(1e-9)
    >>> probe(states).round(decimals=3).tolist()
    [1.0, 2.0, 3.0]

    Minimises mean (w·z + c − target)² + quiet_weight · mean over quiet states of (w·z + c)² + penalty · ‖w‖², z being
    states standardised by the mean and deviation [d] of `states`: a penalty of 1 weighs as much as the error of a
    constant guess of deviation 1. What the penalties share is computed once. Where states are wider than there are
    rows, the rows' own products are solved instead: with rows centred by their weighted mean,
    w = Zᵀ (Z Zᵀ + penalty)⁻¹ y.

    Args:
        states: [n, d].
        target: [n].
        quiet: [m, d] states on which the map should give 0, such as those of ordinary text.

    Raises:
        AccordError: no states, or not as many as targets.
    """

    states: Tensor
    target: Tensor
    quiet: Tensor | None = None
    _grams: dict[float, tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.states) == 0 or len(self.states) != len(self.target):
            raise AccordError("a regression needs as many states as targets", got=(len(self.states), len(self.target)))
        x = self.states.double()
        self._mean, self._deviation = x.mean(0), x.std(0, correction=0).clamp_min(1e-6)
        self._x = (x - self._mean) / self._deviation
        quiet = x[:0] if self.quiet is None else self.quiet.double()
        self._q = (quiet - self._mean) / self._deviation
        self._y = self.target.double()
        self.wide = x.shape[1] > len(self._x) + len(self._q)
        if not self.wide:
            self._xx, self._qq = self._x.T @ self._x / len(self._x), self._q.T @ self._q / max(1, len(self._q))

    def fit(self, penalty: float, quiet_weight: float = 0.0) -> Probe:
        """The map of raw states that minimises this."""
        gram, goal, center, offset = self._gram(quiet_weight)
        factor = torch.linalg.cholesky(gram + penalty * torch.eye(len(gram), dtype=torch.float64))
        solution = torch.cholesky_solve(goal[:, None], factor)[:, 0]
        w = self._rows(quiet_weight, center).T @ solution if self.wide else solution
        weight = w / self._deviation
        return Probe(weight, float(offset - center @ w - self._mean @ weight))

    def _gram(self, quiet_weight: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Products of the centred rows, their products with the target, the rows' mean [d], the target's mean."""
        if quiet_weight not in self._grams:
            total = 1 + quiet_weight  # items weigh 1 together, quiet states quiet_weight
            center = (self._x.mean(0) + quiet_weight * self._quiet_mean()) / total
            offset = self._y.mean() / total
            if self.wide:
                rows = self._rows(quiet_weight, center)
                goals = torch.cat([self._y - offset, -offset * torch.ones(len(self._q), dtype=torch.float64)])
                goal = goals * self._roots(quiet_weight)
                self._grams[quiet_weight] = (rows @ rows.T, goal, center, offset)
            else:
                gram = self._xx + quiet_weight * self._qq - total * torch.outer(center, center)
                goal = self._x.T @ self._y / len(self._x) - total * center * offset
                self._grams[quiet_weight] = (gram, goal, center, offset)
        return self._grams[quiet_weight]

    def _quiet_mean(self) -> Tensor:
        return self._q.sum(0) / max(1, len(self._q))

    def _roots(self, quiet_weight: float) -> Tensor:
        """Square roots of the rows' weights."""
        n, m = len(self._x), len(self._q)
        weights = torch.cat([torch.full((n,), 1 / n), torch.full((m,), quiet_weight / max(1, m))])
        return weights.double().sqrt()

    def _rows(self, quiet_weight: float, center: Tensor) -> Tensor:
        return (torch.cat([self._x, self._q]) - center) * self._roots(quiet_weight)[:, None]


def folds(groups: Sequence[str | None], seed: int) -> NDArray[np.int64]:
    """Which of 4 parts each item is in: whole groups where there are enough of them, else at random."""
    draw = np.random.default_rng(seed)
    names = sorted({str(group) for group in groups})
    if len(names) < FOLDS:
        return np.asarray(draw.permutation(len(groups)) % FOLDS, dtype=np.int64)
    place = {names[k]: i % FOLDS for i, k in enumerate(draw.permutation(len(names)).tolist())}
    return np.array([place[str(group)] for group in groups], dtype=np.int64)


def choose_penalty(states: Tensor, target: Tensor, fold: NDArray[np.int64]) -> tuple[float, float]:
    """The penalty with the least squared error on parts that a fit left out, and the share of variance read there."""
    errors = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for part in np.unique(fold):
        out = torch.from_numpy(fold == part)
        ridge = Ridge(states[~out], target[~out])
        guesses = torch.stack([ridge.fit(penalty)(states[out]) for penalty in PENALTIES])
        errors += (guesses - target[out].double()).square().sum(1)
    spread = (target.double() - target.double().mean()).square().sum().clamp_min(1e-12)
    return PENALTIES[int(errors.argmin())], float(1 - errors.min() / spread)
