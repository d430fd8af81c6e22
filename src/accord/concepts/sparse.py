"""Products with a sparse matrix of strengths, exact and with sparse gradients.

A row of a TopK autoencoder has k active latents of K. Everything but the choice of those k then needs only
n·k·d multiplications where the dense products need n·K·d: the decoder, its gradient, the gradient of the
strengths, and the gradient of the encoder. All four are `embedding_bag` (or its own gradient), or on a GPU kernels
of our own (`kernels.py`). Both read each weight row once per use and add in a fixed order, so that results do not
change from run to run as they would with atomic additions.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from accord.concepts import kernels


@dataclass(frozen=True)
class Pattern:
    """Which of K concepts are active in which of n rows, in compressed rows.

    Row i has the concepts `indices[offsets[i]:offsets[i + 1]]`, each at most once.
    """

    offsets: Tensor  # [n + 1] int64
    indices: Tensor  # [nnz] int64
    K: int

    @classmethod
    def of_rows(cls, indices: Tensor, K: int) -> "Pattern":
        """From `indices [n, k]`: the same number of active concepts in every row.

        >>> Pattern.of_rows(torch.tensor([[4, 0], [2, 1]]), K=5).rows
        tensor([0, 0, 1, 1])
        """
        n, k = indices.shape
        offsets = torch.arange(0, n * k + 1, k, device=indices.device) if k else indices.new_zeros(n + 1)
        return cls(offsets, indices.reshape(-1), K)

    @classmethod
    def of_flat(cls, flat: Tensor, n: int, K: int) -> "Pattern":
        """From sorted positions `flat [nnz]` in the dense matrix `[n, K]` read row by row.

        >>> Pattern.of_flat(torch.tensor([1, 3, 7]), n=2, K=5).indices
        tensor([1, 3, 2])
        """
        return cls(_offsets(flat // K, n), flat % K, K)

    def cut(self, ends: Tensor) -> "Pattern":
        """The same entries with every row cut in parts: the concepts below `ends[0]`, those below `ends[1]`, …

        Concepts of a row must stand in order, `ends [m]` must rise, and the last be K. Row i becomes the m rows from
        i·m on.

        >>> parts = Pattern.of_flat(torch.tensor([1, 3, 7]), n=2, K=5).cut(torch.tensor([2, 5]))
        >>> parts.rows, parts.indices
        (tensor([0, 1, 3]), tensor([1, 3, 2]))
        """
        part = self.rows * len(ends) + torch.bucketize(self.indices, ends, right=True)
        return Pattern.of_flat(part * self.K + self.indices, self.n * len(ends), self.K)

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.offsets) - 1

    @cached_property
    def rows(self) -> Tensor:
        """The row of every entry, `[nnz]`."""
        counts = self.offsets.diff()
        return torch.repeat_interleave(counts, output_size=len(self.indices))

    @cached_property
    def by_concept(self) -> tuple[Tensor, Tensor, Tensor]:
        """The transposed pattern: order of the entries `[nnz]`, their rows in it, offsets `[K + 1]`."""
        # 32 bits suffice for a concept's number and halve the time of the sort.
        concepts, order = torch.sort(self.indices.int(), stable=True)
        return order, self.rows[order], _offsets(concepts, self.K)


def _offsets(groups: Tensor, count: int) -> Tensor:
    """Where each of `count` groups begins among sorted `groups [nnz]`, and the end: `[count + 1]`."""
    # Counting them would make the program wait for a GPU, which looks for the largest first.
    return torch.searchsorted(groups, torch.arange(count + 1, dtype=groups.dtype, device=groups.device))


def _bags(indices: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    return F.embedding_bag(indices, rows, offsets, per_sample_weights=weights, mode="sum", include_last_offset=True)


def spmm(values: Tensor, pattern: Pattern, W: Tensor) -> Tensor:
    """S W `[n, d]` for S `[n, K]` with `values [nnz]` at `pattern`, W `[K, d]`. No gradient."""
    if kernels.use(values, W):
        return kernels.sum_rows(values, None, pattern.indices, pattern.offsets, W)
    return _bags(pattern.indices, W, pattern.offsets, values)


def spmm_t(values: Tensor, pattern: Pattern, X: Tensor) -> Tensor:
    """Sᵀ X `[K, d]` for S `[n, K]` with `values [nnz]` at `pattern`, X `[n, d]`. No gradient."""
    order, rows, offsets = pattern.by_concept
    if kernels.use(values, X):
        return kernels.sum_rows(values, order, rows, offsets, X)
    return _bags(rows, X, offsets, values[order])


def sddmm(X: Tensor, W: Tensor, pattern: Pattern) -> Tensor:
    """The entries of X Wᵀ at `pattern`, `[nnz]`, for X `[n, d]`, W `[K, d]`. No gradient."""
    if kernels.use(X, W) and X.shape[1] <= kernels.WIDEST:
        return kernels.dots(X, W, pattern.offsets, pattern.indices)
    # The gradient that embedding_bag itself uses for its weights: a dot product an entry, nothing gathered.
    dots: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        X.contiguous(), W, pattern.indices, pattern.offsets, pattern.rows, 0
    )
    return dots


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, W: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(values, W)
        return spmm(values, pattern, W)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, W = ctx.saved_tensors
        d_values = sddmm(grad, W, ctx.pattern) if ctx.needs_input_grad[0] else None
        d_W = spmm_t(values, ctx.pattern, grad) if ctx.needs_input_grad[1] else None
        return d_values, d_W, None


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, b_dec: Tensor, W: Tensor, b_enc: Tensor, pattern: Pattern, values: Tensor
    ) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(x, b_dec, W)
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None, None]:
        x, b_dec, W = ctx.saved_tensors
        d_x = spmm(grad, ctx.pattern, W) if ctx.needs_input_grad[0] else None
        d_W = spmm_t(grad, ctx.pattern, x - b_dec)
        d_b_enc = torch.zeros_like(W[:, 0]).index_add_(0, ctx.pattern.indices, grad)
        # Every row's share of b_dec's gradient is −(its gradients) W: summed over rows first, one small product.
        return d_x, -(d_b_enc @ W), d_W, d_b_enc, None, None


def sparse_decode(values: Tensor, pattern: Pattern, W_dec: Tensor) -> Tensor:
    """Σ_j values_ij · W_dec[j] over the active j of every row: `[n, d]`, with sparse gradients of both."""
    out: Tensor = _Decode.apply(values, W_dec, pattern)  # type: ignore[no-untyped-call]
    return out


def sparse_encode(
    x: Tensor, b_dec: Tensor, W_enc: Tensor, b_enc: Tensor, pattern: Pattern, values: Tensor | None = None
) -> Tensor:
    """W_enc (x − b_dec) + b_enc at `pattern` only: `[nnz]`, with gradients through those entries alone.

    `values [nnz]` are the entries where the caller has them already, from the dense product that chose the
    pattern.
    """
    if values is None:
        with torch.no_grad():
            values = sddmm(x - b_dec, W_enc, pattern) + b_enc[pattern.indices]
    out: Tensor = _Encode.apply(x, b_dec, W_enc, b_enc, pattern, values)  # type: ignore[no-untyped-call]
    return out
