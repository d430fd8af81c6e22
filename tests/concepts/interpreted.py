"""Kernels beside plain PyTorch in Triton's interpreter, on a CPU; `test_interpreted.py` runs this by itself.

The interpreter must be chosen before Triton is first imported, and interprets for the whole process.
"""

import math

import torch
import triton.runtime.interpreter as interpreter
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import normalize

from accord.concepts import kernels
from accord.concepts.adam import Adam
from accord.concepts.sparse import Pattern, sddmm, spmm, spmm_t


def as_whole_numbers() -> None:
    """Let a loop's bounds be tensors of one number, which NumPy no longer turns into a whole number by itself."""
    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, *rest: object) -> None:
        patch(tensor, *rest)
        tensor.__index__ = lambda self: int(self.handle.data.item())  # type: ignore[attr-defined]

    interpreter._patch_lang_tensor = patched


def sparse_products() -> None:
    for n, K, d, k in ((7, 20, 12, 3), (5, 30, 65, 4), (3, 9, 2049, 2)):
        pattern = Pattern.of_rows(torch.stack([torch.randperm(K)[:k] for _ in range(n)]), K)
        values, W, X = torch.randn(n * k), torch.randn(K, d), torch.randn(n, d)
        order, rows, offsets = pattern.by_concept
        by_row = kernels.sum_rows(values, None, pattern.indices, pattern.offsets, W)
        torch.testing.assert_close(by_row, spmm(values, pattern, W))
        torch.testing.assert_close(kernels.sum_rows(values, order, rows, offsets, X), spmm_t(values, pattern, X))
        dots = kernels.dots(X, W, pattern.offsets, pattern.indices)
        torch.testing.assert_close(dots, sddmm(X, W, pattern), rtol=1e-4, atol=1e-4)


def updates() -> None:
    for decay, clip in ((0.0, 1.0), (0.1, math.inf), (0.01, 0.5)):
        one = [Parameter(torch.randn(shape)) for shape in ((9, 70), (9, 70), (1500,), (), (3, 4, 5))]
        one[1].data = normalize(one[1].data, dim=1)
        other = [Parameter(weight.detach().clone()) for weight in one]
        adams = [Adam(weights, [weights[1]], weight_decay=decay, clip=clip) for weights in (one, other)]
        adams[0].in_one = True
        for step in range(4):
            for here, there in zip(one, other, strict=True):
                here.grad = torch.randn_like(here)
                there.grad = here.grad.clone()
            if step == 2:
                one[4].grad = other[4].grad = None
            for adam in adams:
                adam.set_lr(0.01 * (step + 1))
            torch.testing.assert_close(adams[0].clip(), adams[1].clip())
            for adam in adams:
                adam.move()
            for here, there in zip(one, other, strict=True):
                torch.testing.assert_close(here, there)


def gates() -> None:
    for n, K, E in ((5, 7, 3), (9, 4, 32), (3, 130, 5)):
        for free, noise in ((1.0, 0.0), (0.3, 0.0), (0.0, 0.0), (1.0, 0.1)):
            e, h, c = (torch.randn(shape, requires_grad=True) for shape in ((n, K, E), (K, E), (n, K)))
            seed, eps = torch.tensor([17]), torch.zeros(n, K, E)
            if noise:
                alone = torch.zeros(n, K, E), torch.ones(n, K), torch.zeros(K, E)
                eps = kernels.gated(*alone, seed=seed, free=1.0, noise=1.0)
                assert 0.8 < float(eps.std()) < 1.2
            z = kernels.gated(e, c, h, seed=seed, free=free, noise=noise)
            got = [*kernels.moments(e, h), z]
            wanted = [(e * h).sum(-1), (e * e).sum(-1), c[:, :, None] * ((1 - free) * h + free * e + noise * eps)]
            weights = [torch.randn_like(each) for each in got]
            got += _back(got, weights, e, h, c)
            wanted += _back(wanted, weights, e, h, c)
            for one, other in zip(got, wanted, strict=True):
                torch.testing.assert_close(one, other)


def _back(values: list[Tensor], weights: list[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    total = torch.stack([(value * weight).sum() for value, weight in zip(values, weights, strict=True)]).sum()
    return torch.autograd.grad(total, inputs, retain_graph=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    as_whole_numbers()
    for each in (sparse_products, updates, gates):
        each()
    print("all alike")
