"""A step of training, as a loss sees it: where in training it is, its noise, and the whole batch behind its rows.

Several ranks (`accord.ranks`) share a batch: a loss is given this rank's rows. Whatever is of the whole batch it asks
of the step: means and sums over rows, which concepts fired, the largest latents, noise. Then every rank computes the
same loss, that of the whole batch, and the sum of the ranks' gradients is its gradient. Without ranks these are the
plain operations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.ranks import Ranks


@dataclass(frozen=True)
class Step:
    """Where in training a loss is taken: step `index` of `total`, and the noise source of this step.

    Attributes:
        ranks: that share the batch; None where all its rows are here.
        rows: of the whole batch; counted where `ranks` is given.
    """

    index: int
    total: int
    generator: torch.Generator | None = None
    ranks: Ranks | None = None
    rows: int = 0

    def ramp(self, share: float) -> float:
        """A weight's warm-up: from 0 at the start to 1 after `share` of training.

        >>> Step(index=50, total=1000).ramp(0.1)
        0.5
        """
        return min(1.0, self.index / (share * self.total)) if share > 0 else 1.0

    def sum(self, value: Tensor) -> Tensor:
        """A sum over rows of the whole batch, from this rank's `value` of it; with gradient."""
        return value if self.ranks is None else self.ranks.sum(value)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values [n, ...]` over all rows of the batch, and all else; with gradient.

        >>> Step(0, 1).mean(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        tensor(3.)
        """
        full = _full(values)
        if self.ranks is None:
            return values.mean(dtype=full)
        return self.ranks.sum(values.sum(dtype=full)) / (self.rows * math.prod(values.shape[1:]))

    def mean_row(self, values: Tensor) -> Tensor:
        """The mean of `values [n, K]` over all rows of the batch, `[K]`; with gradient.

        >>> Step(0, 1).mean_row(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        tensor([2., 4.])
        """
        full = _full(values)
        if self.ranks is None:
            return values.mean(0, dtype=full)
        return self.ranks.sum(values.sum(0, dtype=full)) / self.rows

    def once(self, term: Tensor) -> Tensor:
        """A term that no row enters, such as one of weights alone: its gradient is not to be counted on every rank."""
        return term if self.ranks is None or self.ranks.rank == 0 else term.detach()

    def any(self, fired: Tensor) -> Tensor:
        """Which of `fired [K]` (bool) are true on any rank."""
        return fired if self.ranks is None else self.ranks.most(fired.byte()).bool()

    def least(self, values: Tensor) -> Tensor:
        """The least of the batch's `values [n]`, of which this rank has some or none; ∞ where there are none at all."""
        least = values.detach().min() if len(values) else values.new_tensor(math.inf)
        return least if self.ranks is None else -self.ranks.most(-least)

    def count(self, rows: int) -> int:
        """Rows of the whole batch, of which this rank has so many."""
        return rows if self.ranks is None else self.rows

    def largest(self, values: Tensor, each: int) -> Tensor:
        """Which of `values [n, K]`, none below 0, are among the `each` times n largest of the whole batch.

        Returns their positions `[nnz]` in the flat `values`, in order. With several ranks zeros are left out.
        """
        flat = values.flatten()
        if self.ranks is None:
            return flat.topk(len(values) * each, sorted=False).indices.sort().values
        count = self.rows * each
        top = flat.new_zeros(count)
        own = flat.topk(min(count, len(flat)), sorted=False).values
        top[: len(own)] = own
        all_tops = self.ranks.gather(top)
        last = all_tops.flatten().topk(count).values[-1]
        # Equal rows tie: those before it in the batch count first, so that there are never more than `count`.
        ties = (all_tops == last).sum(1)
        room = count - (all_tops > last).sum() - ties[: self.ranks.rank].sum()
        equal = (flat == last) & (flat > 0)
        taken = (flat > last) | (equal & (equal.cumsum(0) <= room))
        return taken.nonzero().squeeze(1)

    def uniform_like(self, x: Tensor) -> Tensor:
        """Noise of x's shape `[n, ...]`, uniform in [0, 1): this rank's rows of that of the whole batch."""
        return self._noise(torch.rand, x)

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal noise of x's shape `[n, ...]`: this rank's rows of that of the whole batch."""
        return self._noise(torch.randn, x)

    def _noise(self, draw: Callable[..., Tensor], x: Tensor) -> Tensor:
        device = x.device if self.generator is None else self.generator.device
        noise = draw((self.count(len(x)), *x.shape[1:]), generator=self.generator, dtype=x.dtype, device=device)
        return (noise if self.ranks is None else noise[self.ranks.slice(self.rows)]).to(x.device)


def _full(values: Tensor) -> torch.dtype:
    """What means are taken in: a product that was made in half precision is not averaged in it."""
    return torch.promote_types(values.dtype, torch.float32)
