"""Sparse products and their gradients against dense ones."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.concepts import Pattern, sparse_decode, sparse_encode
from accord.concepts.sparse import sddmm, spmm, spmm_t


def random_case(n: int, K: int, d: int, density: float, seed: int) -> tuple[Tensor, Pattern, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, K, generator=g) < density
    pattern = Pattern.of_flat(mask.flatten().nonzero().squeeze(1), n, K)
    W = torch.randn(K, d, generator=g, dtype=torch.float64)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    return mask, pattern, W, x


def dense(values: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter(mask, values)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 7),
    K=st.integers(1, 9),
    d=st.integers(1, 5),
    density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    seed=st.integers(0, 999),
)
def test_products_equal_dense_ones(n: int, K: int, d: int, density: float, seed: int) -> None:
    mask, pattern, W, x = random_case(n, K, d, density, seed)
    values = torch.randn(int(mask.sum()), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    S = dense(values, mask)
    torch.testing.assert_close(spmm(values, pattern, W), S @ W)
    torch.testing.assert_close(spmm_t(values, pattern, x), S.T @ x)
    torch.testing.assert_close(sddmm(x, W, pattern), (x @ W.T)[mask])
    assert pattern.rows.tolist() == mask.nonzero()[:, 0].tolist()


def test_gradients_by_finite_differences() -> None:
    mask, pattern, W, x = random_case(4, 6, 3, 0.5, 1)
    values = torch.randn(int(mask.sum()), dtype=torch.float64).requires_grad_()
    b_dec, b_enc = torch.randn(3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    W.requires_grad_()
    assert torch.autograd.gradcheck(lambda v, w: sparse_decode(v, pattern, w), (values, W))
    inputs = [t.detach().requires_grad_() for t in (x, b_dec, W, b_enc)]
    assert torch.autograd.gradcheck(lambda *t: sparse_encode(*t, pattern), inputs)


def test_matches_dense_in_float32_at_a_real_size() -> None:
    g = torch.Generator().manual_seed(0)
    n, K, d, k = 64, 512, 48, 8
    x, W_enc, W_dec = (torch.randn(s, d, generator=g) for s in (n, K, K))
    b_dec, b_enc = torch.randn(d, generator=g), torch.randn(K, generator=g)
    leaves = [t.requires_grad_() for t in (x, b_dec, W_enc / d**0.5, b_enc, W_dec / d**0.5)]
    leaves = [t.detach().requires_grad_() for t in leaves]
    pre = (leaves[0] - leaves[1]) @ leaves[2].T + leaves[3]
    top = pre.topk(k)
    want = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu()) @ leaves[4]
    weights = torch.randn(n, d, generator=g)
    want_grads = torch.autograd.grad((want * weights).sum(), leaves)
    pattern = Pattern.of_rows(top.indices, K)
    got = sparse_decode(sparse_encode(*leaves[:4], pattern).relu(), pattern, leaves[4])
    got_grads = torch.autograd.grad((got * weights).sum(), leaves)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    for got_grad, want_grad in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(got_grad, want_grad, atol=2e-5, rtol=1e-5)


def test_no_rows_and_no_entries() -> None:
    W = torch.randn(4, 3)
    nothing = Pattern.of_flat(torch.empty(0, dtype=torch.int64), 2, 4)
    assert spmm(torch.empty(0), nothing, W).tolist() == [[0.0] * 3] * 2
    assert spmm_t(torch.empty(0), nothing, torch.randn(2, 3)).abs().sum() == 0
    empty = Pattern.of_rows(torch.empty(0, 2, dtype=torch.int64), 4)
    assert spmm(torch.empty(0), empty, W).shape == (0, 3)
