"""The products of `sparse.py` on an NVIDIA GPU, in Triton: every row of weights is read once a use, and nothing else.

A program computes one row of the result (or one row's entries) and keeps it in registers. Sums run in a fixed order, so
results are the same from run to run. Where Triton does not run (`use`), `sparse.py` has the same products without it.
"""

import functools
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch brings it where it serves
    triton = None

WIDEST = 16_384  # numbers of a row that a program can hold


@functools.cache
def _runs(index: int) -> bool:
    return triton is not None and torch.cuda.get_device_capability(index) >= (7, 0)


def use(*tensors: Tensor) -> bool:
    """Do these kernels serve for these tensors? All must be float32, on a GPU that Triton knows."""
    floats = all(t.is_cuda and t.dtype == torch.float32 for t in tensors)
    return floats and all(_runs(t.get_device()) for t in tensors)


if triton is not None:

    @triton.jit
    def _sum_rows(
        out, values, order, rows, offsets, X, d, ORDERED: tl.constexpr, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr
    ):
        """Row i of `out`: Σ_e values[e] · X[rows[e]] over its entries e."""
        i = tl.program_id(0).to(tl.int64)
        columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        within = columns < d
        begin, end = tl.load(offsets + i), tl.load(offsets + i + 1)
        total = tl.zeros([BLOCK], tl.float32)
        for first in range(begin, end, AT_ONCE):
            entries = first + tl.arange(0, AT_ONCE)
            there = entries < end
            row = tl.load(rows + entries, mask=there, other=0)
            which = tl.load(order + entries, mask=there, other=0) if ORDERED else entries
            value = tl.load(values + which, mask=there, other=0.0)
            at = X + row[:, None] * d + columns[None, :]
            x = tl.load(at, mask=there[:, None] & within[None, :], other=0.0)
            total += tl.sum(value[:, None] * x, 0)
        tl.store(out + i * d + columns, total, mask=within)

    @triton.jit
    def _dots(out, offsets, indices, X, W, d, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr):
        """`out[e]`: X[i] · W[indices[e]] for the entries e of row i."""
        i = tl.program_id(0).to(tl.int64)
        columns = tl.arange(0, BLOCK)
        within = columns < d
        begin, end = tl.load(offsets + i), tl.load(offsets + i + 1)
        x = tl.load(X + i * d + columns, mask=within, other=0.0)
        for first in range(begin, end, AT_ONCE):
            entries = first + tl.arange(0, AT_ONCE)
            there = entries < end
            row = tl.load(indices + entries, mask=there, other=0)
            w = tl.load(W + row[:, None] * d + columns[None, :], mask=there[:, None] & within[None, :], other=0.0)
            tl.store(out + entries, tl.sum(w * x[None, :], 1), mask=there)

    @triton.jit
    def _row_squares(squares, slopes, G, W, d, count, UNIT: tl.constexpr, BLOCK: tl.constexpr):
        """Of row i of G: the sum of squares of what is at right angles to row i of W, and G·W / W·W."""
        i = tl.program_id(0).to(tl.int64)
        columns = tl.arange(0, BLOCK)
        within = (columns < d) & (i * d + columns < count)
        g = tl.load(G + i * d + columns, mask=within, other=0.0)
        square = tl.sum(g * g, 0)
        if UNIT:
            w = tl.load(W + i * d + columns, mask=within, other=0.0)
            along, size = tl.sum(g * w, 0), tl.sum(w * w, 0)
            tl.store(slopes + i, along)
            square += along * along * (size - 2)
        tl.store(squares + i, square)

    @triton.jit
    def _adam_rows(
        W, G, M, V, slopes, pace, beta1, beta2, eps, decay, d, count, UNIT: tl.constexpr, BLOCK: tl.constexpr
    ):
        """AdamW on row i; `pace` has the clipping factor, lr, lr / (1 − β₁ᵗ) and √(1 − β₂ᵗ)."""
        i = tl.program_id(0).to(tl.int64)
        columns = tl.arange(0, BLOCK)
        at = i * d + columns
        within = (columns < d) & (at < count)
        clip, lr = tl.load(pace), tl.load(pace + 1)
        rate, root = tl.load(pace + 2), tl.load(pace + 3)
        w = tl.load(W + at, mask=within, other=0.0)
        g = tl.load(G + at, mask=within, other=0.0)
        m = tl.load(M + at, mask=within, other=0.0)
        v = tl.load(V + at, mask=within, other=0.0)
        if UNIT:
            g -= tl.load(slopes + i) * w
        g *= clip
        w -= lr * decay * w
        m += (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g * g
        w -= rate * m / (tl.sqrt(v) / root + eps)
        if UNIT:
            w /= tl.maximum(tl.sqrt(tl.sum(w * w, 0)), 1e-12)
        tl.store(W + at, w, mask=within)
        tl.store(M + at, m, mask=within)
        tl.store(V + at, v, mask=within)

    @triton.jit
    def _moments(inner, square, e, h, K, E, count, ROWS: tl.constexpr, BLOCK: tl.constexpr):
        """Of rows r = (token, concept): e·h and e·e."""
        r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        columns = tl.arange(0, BLOCK)
        within = (r < count)[:, None] & (columns < E)[None, :]
        x = tl.load(e + r[:, None] * E + columns, mask=within, other=0.0).to(tl.float32)
        y = tl.load(h + (r % K)[:, None] * E + columns, mask=within, other=0.0)
        tl.store(inner + r, tl.sum(x * y, 1), mask=r < count)
        tl.store(square + r, tl.sum(x * x, 1), mask=r < count)

    @triton.jit
    def _moments_back(d_e, d_inner, d_square, e, h, K, E, count, ROWS: tl.constexpr, BLOCK: tl.constexpr):
        """What e·h and e·e pass on to e."""
        r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        columns = tl.arange(0, BLOCK)
        within = (r < count)[:, None] & (columns < E)[None, :]
        at = r[:, None] * E + columns
        x = tl.load(e + at, mask=within, other=0.0).to(tl.float32)
        y = tl.load(h + (r % K)[:, None] * E + columns, mask=within, other=0.0)
        by_inner = tl.load(d_inner + r, mask=r < count, other=0.0)[:, None]
        by_square = tl.load(d_square + r, mask=r < count, other=0.0)[:, None]
        tl.store(d_e + at, (by_inner * y + 2 * by_square * x).to(d_e.dtype.element_ty), mask=within)

    @triton.jit
    def _content(e, h, seed, r, columns, within, K, E, free, noise, NOISY: tl.constexpr):
        """What concepts would write: between h and e, with noise; also its places."""
        at = r[:, None] * E + columns
        content = (1 - free) * tl.load(h + (r % K)[:, None] * E + columns, mask=within, other=0.0)
        content += free * tl.load(e + at, mask=within, other=0.0).to(tl.float32)
        if NOISY:
            content += noise * tl.randn(tl.load(seed), at.to(tl.int32))
        return content, at

    @triton.jit
    def _gated(
        z, e, c, h, seed, K, E, count, free, noise, NOISY: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
    ):
        """z = c · content."""
        r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        columns = tl.arange(0, BLOCK)
        within = (r < count)[:, None] & (columns < E)[None, :]
        content, at = _content(e, h, seed, r, columns, within, K, E, free, noise, NOISY)
        gate = tl.load(c + r, mask=r < count, other=0.0)[:, None]
        tl.store(z + at, (gate * content).to(z.dtype.element_ty), mask=within)

    @triton.jit
    def _gated_back(
        d_e, d_c, d_z, e, c, h, seed, K, E, count, free, noise,
        NOISY: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """What z passes on to e and to c."""
        r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        columns = tl.arange(0, BLOCK)
        within = (r < count)[:, None] & (columns < E)[None, :]
        content, at = _content(e, h, seed, r, columns, within, K, E, free, noise, NOISY)
        gate = tl.load(c + r, mask=r < count, other=0.0)[:, None]
        by_z = tl.load(d_z + at, mask=within, other=0.0).to(tl.float32)
        tl.store(d_e + at, (free * gate * by_z).to(d_e.dtype.element_ty), mask=within)
        tl.store(d_c + r, tl.sum(tl.where(within, by_z * content, 0.0), 1), mask=r < count)


def _block(d: int) -> int:
    return min(int(triton.next_power_of_2(d)), WIDEST)


def _warps(block: int) -> int:
    return 4 if block <= 1024 else 8


def sum_rows(values: Tensor, order: Tensor | None, rows: Tensor, offsets: Tensor, X: Tensor) -> Tensor:
    """Row i: Σ_e values[order[e]] · X[rows[e]] over the entries e from `offsets[i]` to `offsets[i + 1]`, `[n, d]`."""
    X, values = X.contiguous(), values.contiguous()
    n, d = len(offsets) - 1, X.shape[1]
    out = X.new_empty(n, d)
    if n and d:
        # The fastest of a dozen on an H200 for d = 576, 2,048 and 4,096: rows of weights come from memory, in smaller
        # pieces, and rows of a batch from the cache.
        ordered = order is not None
        block = min(_block(d), 1024 if ordered or d <= 1024 else 512)
        at_once = max(1, (4096 if d <= 1024 else 2048) // block)
        grid = (n, triton.cdiv(d, block))
        _sum_rows[grid](
            out, values, order if ordered else rows, rows, offsets, X, d, ordered, block, at_once, num_warps=4
        )
    return out


def dots(X: Tensor, W: Tensor, offsets: Tensor, indices: Tensor) -> Tensor:
    """X[i] · W[indices[e]] for the entries e of each row i, `[nnz]`."""
    X, W = X.contiguous(), W.contiguous()
    out = X.new_empty(len(indices))
    if len(indices):
        block = _block(X.shape[1])
        at_once, warps = max(1, 4096 // block) if block <= 1024 else 1, _warps(block)
        _dots[(len(offsets) - 1,)](out, offsets, indices, X, W, X.shape[1], block, at_once, num_warps=warps)
    return out


def _rows(parameter: Tensor) -> tuple[int, int]:
    """How many rows of how many numbers a parameter is taken as: as they are, or as pieces of what has none."""
    d = parameter.shape[-1] if parameter.ndim > 1 and 0 < parameter.shape[-1] <= WIDEST else 1024
    return triton.cdiv(parameter.numel(), d), d


def row_squares(gradient: Tensor, unit: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sums of squares of each row of a gradient, and its product with that row of `unit`.

    Where `unit [n, d]` is given, its rows have norm 1, and the squares are those of gradient − (gradient · unit) unit.
    """
    rows, d = _rows(gradient)
    squares, slopes = gradient.new_empty(rows), gradient.new_empty(rows if unit is not None else 0)
    if rows:
        block, weights = _block(d), gradient if unit is None else unit
        rest = d, gradient.numel(), unit is not None, block
        _row_squares[(rows,)](squares, slopes, gradient, weights, *rest, num_warps=_warps(block))
    return squares, slopes


def adam_rows(
    parameter: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    slopes: Tensor,
    pace: Tensor,
    group: dict[str, Any],
) -> None:
    """One step of AdamW, in place; rows with `slopes [n]`, from `row_squares`, are kept at norm 1.

    `pace [4]`: the factor by which gradients are clipped, lr, lr / (1 − β₁ᵗ), √(1 − β₂ᵗ); `group` has the rest.
    """
    rows, d = _rows(parameter)
    if rows:
        block = _block(d)
        (beta1, beta2), eps, decay = group["betas"], group["eps"], group["weight_decay"]
        rest = d, parameter.numel(), len(slopes) > 0, block
        _adam_rows[(rows,)](
            parameter, gradient, *moments, slopes, pace, beta1, beta2, eps, decay, *rest, num_warps=_warps(block)
        )


def _pairs(e: Tensor) -> tuple[tuple[int], dict[str, int]]:
    """The grid over (token, concept) pairs of `e [n, K, E]`, and the numbers that its programs need."""
    n, K, E = e.shape
    block = triton.next_power_of_2(E)
    rows = max(1, 2048 // block)
    return (triton.cdiv(n * K, rows),), {"K": K, "E": E, "count": n * K, "ROWS": rows, "BLOCK": block}


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(e, h)
        inner, square = (torch.empty(e.shape[:2], device=e.device) for _ in range(2))
        grid, sizes = _pairs(e)
        _moments[grid](inner, square, e, h, **sizes)
        return inner, square

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *by: Tensor) -> tuple[Tensor, Tensor]:
        e, h = ctx.saved_tensors
        d_inner, d_square = (each.contiguous() for each in by)
        d_e = torch.empty_like(e)
        grid, sizes = _pairs(e)
        _moments_back[grid](d_e, d_inner, d_square, e, h, **sizes)
        return d_e, torch.einsum("nk,nke->ke", d_inner.to(e.dtype), e).to(h.dtype)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor, c: Tensor, h: Tensor, seed: Tensor, free: float, noise: float) -> Tensor:
        c = c.contiguous()
        ctx.save_for_backward(e, c, h, seed)
        ctx.rest = {"free": free, "noise": noise, "NOISY": noise > 0}
        z = torch.empty_like(e)
        grid, sizes = _pairs(e)
        _gated[grid](z, e, c, h, seed, **ctx.rest, **sizes)
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_z: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None, None]:
        e, c, h, seed = ctx.saved_tensors
        d_z, d_e, d_c = d_z.contiguous(), torch.empty_like(e), torch.empty_like(c)
        grid, sizes = _pairs(e)
        _gated_back[grid](d_e, d_c, d_z, e, c, h, seed, **ctx.rest, **sizes)
        share, d_h = 1 - ctx.rest["free"], None
        if share:
            d_h = share * torch.einsum("nk,nke->ke", c.to(d_z.dtype), d_z).to(h.dtype)
        return d_e, d_c, d_h, None, None, None


def moments(e: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """e·h and e·e of every token and concept, `[n, K]` float32, for `e [n, K, E]` in any precision and `h [K, E]`."""
    inner: Tensor
    inner, square = _Moments.apply(e.contiguous(), h)  # type: ignore[no-untyped-call]
    return inner, square


def gated(e: Tensor, c: Tensor, h: Tensor, *, seed: Tensor, free: float, noise: float) -> Tensor:
    """c · ((1 − free) h + free e + noise · ε), `[n, K, E]` in e's precision, for `e [n, K, E]`, `c [n, K]`, `h [K, E]`.

    ε is standard normal, of the Philox generator begun at `seed [1]`: it is drawn again on the way back, not kept.
    """
    z: Tensor = _Gated.apply(e.contiguous(), c, h, seed, free, noise)  # type: ignore[no-untyped-call]
    return z
