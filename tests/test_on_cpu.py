"""The quicker ways give PyTorch's own numbers to float error, gradients too, and touch nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention

from accord import on_cpu

SIZES = st.tuples(st.integers(1, 80), st.integers(60, 200), st.integers(60, 200))


@pytest.fixture(autouse=True)
def _taken(monkeypatch):
    """As on a machine whose products it is for: any that has oneDNN can run them."""
    if not on_cpu._works():
        pytest.skip("of products by oneDNN (with a PyTorch that has it)")
    monkeypatch.setattr(on_cpu, "prefers_onednn", lambda: True)


@pytest.fixture
def calls(monkeypatch):
    """The shapes that went to oneDNN."""
    seen, product = [], on_cpu._product

    def counted(x, W, b):
        seen.append((*x.shape, len(W)))
        return product(x, W, b)

    monkeypatch.setattr(on_cpu, "_product", counted)
    return seen


def near(ours, theirs):
    return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(SIZES, st.booleans(), st.booleans(), st.integers(0, 1000))
def test_products_are_those_of_pytorch(sizes, strided, biased, seed):
    rows, width, out = sizes
    torch.manual_seed(seed)
    x, W = torch.randn(2, rows, width), torch.randn(out, width)
    W = W.T.contiguous().T if strided else W
    b = torch.randn(out) if biased else None
    with on_cpu.quick():
        ours = linear(x, W, b)
        assert near(linear(input=x, weight=W, bias=b), ours)
    assert near(ours, linear(x, W, b))


@pytest.mark.parametrize(
    "way",
    [
        lambda x, W, b: linear(x, W, bias=b),
        lambda x, W, b: x @ W.T,
        lambda x, W, b: x.matmul(W.T),
        lambda x, W, b: torch.matmul(x, W.T),
        lambda x, W, b: torch.mm(x.flatten(0, -2), W.T),
        lambda x, W, b: x.flatten(0, -2).mm(W.T),
        lambda x, W, b: torch.addmm(b, x.flatten(0, -2), W.T),
    ],
)
def test_every_way_to_write_a_product_is_taken(way, calls):
    x, W, b = torch.randn(4, 16, 96), torch.randn(128, 96), torch.randn(128)
    with on_cpu.quick():
        ours = way(x, W, b)
    assert len(calls) == 1
    assert near(ours, way(x, W, b))


@pytest.mark.parametrize("shape", [(64, 96), (4, 16, 96)])
def test_gradients_are_those_of_pytorch(shape, calls):
    x, W, b = torch.randn(shape), torch.randn(128, 96), torch.randn(128)
    weigh = torch.randn(*shape[:-1], 128)

    def gradients():
        leaves = [t.clone().requires_grad_() for t in (x, W, b)]
        return torch.autograd.grad((linear(*leaves).sin() * weigh).sum(), leaves)

    theirs = gradients()
    with on_cpu.quick():
        ours = gradients()
    assert len(calls) == 3  # forward, by x, by W
    assert all(near(a, b) for a, b in zip(ours, theirs, strict=True))


def test_gradients_can_be_differentiated_again():
    x, W, direction = torch.randn(64, 96), torch.randn(128, 96), torch.randn(64, 96)
    theirs = torch.autograd.functional.jvp(lambda x: linear(x, W).tanh(), x, direction)[1]
    with on_cpu.quick():
        ours = torch.autograd.functional.jvp(lambda x: linear(x, W).tanh(), x, direction)[1]
    assert near(ours, theirs)


def test_only_what_needs_a_gradient_gets_one(calls):
    x, layer = torch.randn(64, 96, requires_grad=True), nn.Linear(96, 128).requires_grad_(False)
    with on_cpu.quick():
        layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is None
    assert len(calls) == 2  # forward, by x


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(64, 96, dtype=torch.float64),
        torch.randn(64, 96).bfloat16(),
        torch.randn(96),
        torch.randn(2, 96),
        torch.empty(0, 96),
    ],
    ids=["float64", "bfloat16", "vector", "small", "empty"],
)
def test_what_it_is_not_for_is_left_alone(x, calls):
    W = torch.randn(128, 96, dtype=x.dtype)
    with on_cpu.quick():
        assert torch.equal(linear(x, W), x @ W.T if x.ndim > 1 else W @ x)
    assert calls == []


def test_errors_and_rare_arguments_are_those_of_pytorch(calls):
    x, W, b = torch.randn(64, 96), torch.randn(128, 96), torch.randn(128)
    out = torch.empty(64, 128)
    with on_cpu.quick():
        torch.mm(x, W.T, out=out)
        assert near(torch.addmm(b, x, W.T, beta=2.0), 2 * b + out)
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            linear(x, W.T)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert linear(x, W).dtype is torch.bfloat16
    assert calls == []


def test_it_ends_with_its_block_also_after_an_error_and_can_be_nested(calls):
    x, W = torch.randn(64, 96), torch.randn(128, 96)
    with on_cpu.quick(), on_cpu.quick(), pytest.raises(RuntimeError):
        linear(x, W.T)
    with pytest.raises(KeyError), on_cpu.quick():
        {}[linear(x, W)]
    linear(x, W)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("units", "said", "wanted"),
    [
        ({"avx512_f": True}, "vendor_id : AuthenticAMD", True),
        ({"avx512_f": True}, "vendor_id : GenuineIntel", False),
        ({"avx512_f": True}, "", False),
        ({"avx2": True}, "vendor_id : AuthenticAMD", False),
    ],
)
def test_it_is_for_512_bit_units_that_are_not_of_intel(units, said, wanted, monkeypatch, tmp_path):
    monkeypatch.undo()
    if not (torch.backends.mkl.is_available() and on_cpu._works()):
        pytest.skip("of the choice of oneDNN (with a PyTorch that has MKL too)")
    file = tmp_path / "cpuinfo"
    file.write_text(said)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    monkeypatch.setattr(on_cpu, "_CPU", file)
    assert on_cpu.prefers_onednn.__wrapped__() is wanted


def test_arguments_may_stand_in_their_places_and_sparse_matrices_stay_pytorch_s(monkeypatch, calls):
    monkeypatch.setattr(on_cpu, "multiplies_bfloat16", lambda: True)
    q, sparse, dense = torch.randn(1, 2, 5, 8), torch.eye(900).to_sparse(), torch.randn(900, 900)
    with on_cpu.quick():
        ours = scaled_dot_product_attention(q, q, q, None, 0.0, True)
        assert torch.equal(torch.mm(sparse, dense), dense)
    assert torch.equal(ours, scaled_dot_product_attention(q, q, q, None, 0.0, True))
    assert calls == []


@pytest.mark.parametrize("masked", [None, "bool", "added"])
@pytest.mark.parametrize("learns", [False, True])
def test_attention_in_bfloat16_is_that_of_pytorch(masked, learns, monkeypatch):
    monkeypatch.setattr(on_cpu, "multiplies_bfloat16", lambda: True)
    seen, attend = [], scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, *rest, **options: seen.append(q.dtype) or attend(q, *rest, **options),
    )
    leaves = [torch.randn(2, heads, 7, 16).bfloat16().requires_grad_(learns) for heads in (4, 2, 2)]
    allowed = torch.ones(7, 7).tril().bool()
    masks = {None: None, "bool": allowed, "added": torch.zeros(7, 7).masked_fill(~allowed, -1e9).bfloat16()}
    options = {"attn_mask": masks[masked], "is_causal": masked is None, "scale": 0.3, "enable_gqa": True}
    theirs = attend(*leaves, **options)
    with on_cpu.quick():
        ours = attend(*leaves, **options)
    assert seen == [torch.float32 if learns else torch.bfloat16]
    assert ours.dtype is torch.bfloat16
    assert torch.allclose(ours.float(), theirs.float(), atol=0.03)
    if learns:
        gradients = [torch.autograd.grad(y.float().square().sum(), leaves) for y in (ours, theirs)]
        assert all(torch.allclose(a.float(), b.float(), atol=0.1, rtol=0.05) for a, b in zip(*gradients, strict=True))
