"""Mean and spread of embeddings that come in batches."""

import torch
from torch import Tensor

from accord.errors import AccordError


class Moments:
    """Mean and standard deviation per dimension of rows `[n, d]` that come in batches, in float64 and in one pass."""

    def __init__(self, d: int, device: torch.device) -> None:
        self.n, self.shift = 0, torch.zeros(d, dtype=torch.float64, device=device)
        self.total, self.square = self.shift.clone(), self.shift.clone()

    def add(self, batch: Tensor) -> None:
        """Take these rows in."""
        rows = batch.to(self.shift)
        # Sums around the first batch's mean: without it, dimensions far from 0 lose their digits.
        self.shift = rows.mean(0) if self.n == 0 else self.shift
        self.n += len(rows)
        self.total += (rows - self.shift).sum(0)
        self.square += (rows - self.shift).square().sum(0)

    @property
    def variation(self) -> Tensor:
        """Σ‖x − mean‖² over the rows, a scalar."""
        return (self.square - self.total.square() / self.n).sum()

    def give(self, mean: Tensor, scale: Tensor) -> None:
        """Fill `mean [d]`, and `scale [d]` with the standard deviation, or 1 where nothing varies.

        Raises AccordError on no rows.
        """
        if self.n == 0:
            raise AccordError("no training embeddings to standardise with", wanted="at least one batch [n, d]")
        std = (self.square / self.n - (self.total / self.n).square()).clamp_min(0).sqrt()
        mean.copy_(self.shift + self.total / self.n)
        scale.copy_(torch.where(std > 1e-6 * (1 + mean.abs()), std, 1.0))
