"""An adapter's dropout on a CPU: a Bernoulli mask of the stated probability, scaled, the same after the same seed."""

import pytest
import torch

from accord.repair.lora import _Dropout


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 0.999999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_dropped_is_zero_and_the_rest_scaled(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(333, 301, dtype=dtype, requires_grad=True)
    y = _Dropout(p)(x)
    y.sum().backward()
    kept = y != 0
    assert y.dtype == dtype and torch.equal(y, x.grad)
    dropped = min(round(p * 2**16), 2**16 - 1) / 2**16
    assert torch.equal(y[kept], torch.full_like(y[kept], 1 / (1 - dropped)))
    n = x.numel()
    assert abs(int(kept.sum()) - n * (1 - dropped)) <= 5 * (n * dropped * (1 - dropped)) ** 0.5 + 1e-9
    for place in range(4):  # of the numbers that share a draw
        share = kept.flatten()[place::4].float().mean()
        assert abs(float(share) - (1 - dropped)) <= 5 * (4 / n * dropped * (1 - dropped)) ** 0.5 + 1e-9


def test_neighbours_are_independent_and_a_seed_fixes_them() -> None:
    torch.manual_seed(1)
    first = _Dropout(0.5)(torch.ones(100_003)) != 0
    torch.manual_seed(1)
    assert torch.equal(first, _Dropout(0.5)(torch.ones(100_003)) != 0)
    for apart in range(1, 9):
        agree = (first[apart:] == first[:-apart]).float().mean()
        assert abs(float(agree) - 0.5) < 5 * 0.5 / 100_000**0.5


def test_in_evaluation_nothing_is_dropped() -> None:
    x = torch.randn(7, 5)
    assert torch.equal(_Dropout(0.5).eval()(x), x)
