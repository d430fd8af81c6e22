"""Cross-entropy over a large vocabulary without its logits: they exist for a chunk of rows at a time.

A batch's logits [n, vocab] and their gradients would take more memory than everything else together. As the loss is
a sum over rows, each chunk's gradient can be taken at once and added up, and its logits dropped; nothing is computed
twice, as it would be if chunks were recomputed in the backward pass (the idea of Liger's fused linear cross-entropy,
Hsu et al. 2024, arXiv 2410.10989, for any head).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Logits of one chunk: 64 MB in float32, whatever the vocabulary.
LOGIT_CHUNK = 2**24


def chunks(n: int, columns: int) -> list[slice]:
    """Rows 0 to n in pieces of at most LOGIT_CHUNK logits, one row at least.

    >>> chunks(5, columns=LOGIT_CHUNK // 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, LOGIT_CHUNK // max(columns, 1))
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def mean_over_chunks(
    nll: Callable[[slice], Tensor], parts: Sequence[slice], parameters: Sequence[Tensor], rows: int | None = None
) -> Tensor:
    """The mean of `nll(part)` [rows of the part] over all rows, with its gradient of `parameters`.

    The gradient reaches `parameters` alone, each of which `nll` must use; it costs one backward pass as usual, but
    is computed here, chunk by chunk. With `rows`, the parts are some of so many, or none, and the result is their share
    of the mean.
    """
    n = rows or sum(part.stop - part.start for part in parts)
    leaves = list(parameters) if torch.is_grad_enabled() else []
    total: Tensor | None = None
    sums: list[Tensor] = []
    for part in parts:
        loss = nll(part).sum() / n
        if leaves:
            gradients = torch.autograd.grad(loss, leaves)
            sums = [a.add_(b) for a, b in zip(sums, gradients, strict=True)] if sums else list(gradients)
        total = loss.detach() if total is None else total + loss.detach()
    if total is None and rows:
        total, sums = parameters[0].new_zeros(()), [torch.zeros_like(leaf) for leaf in leaves]
    if total is None:
        raise ValueError("no rows")
    if not leaves:
        return total
    mean: Tensor = _WithGradients.apply(total, sums, *leaves)  # type: ignore[no-untyped-call]
    return mean


class _WithGradients(torch.autograd.Function):
    """A value whose gradients have been computed already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, []  # they are changed in place: once
        return None, None, *(gradient.mul_(grad) for gradient in gradients)
